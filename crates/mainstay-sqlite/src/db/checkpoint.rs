//! Copies the log of a file into the file, beside the writer.
//!
//! SQLite would do so within a commit, and hold up every write while the disk takes it. Here a
//! thread of its own copies what is committed while the writer goes on; what was added meanwhile is
//! little, and the writer copies only that when it starts the log anew.

use std::{sync::mpsc, thread};

use rusqlite::Connection;

/// Commits between two looks at the length of the log.
const LOOK_EVERY: u32 = 32;
/// Pages that were added since the last copy and are worth another: 8 MiB.
const COPY_PAGES: i64 = 2000;
/// Pages in the log after which the writer starts it anew: 32 MiB. Copying less often saves pages
/// that many commits change; a longer log was measured to be slower all the same.
const RESTART_PAGES: i64 = 8000;

/// The writer's side.
pub(crate) struct Checkpoints {
    /// Holds one wish; the thread ends when this is dropped.
    wishes: mpsc::SyncSender<()>,
    commits: u32,
    asked_at: i64,
}

impl Checkpoints {
    /// Begins with `connection` for the thread's own use.
    pub(crate) fn start(
        name: &str,
        connection: Connection,
    ) -> std::io::Result<(Self, thread::JoinHandle<()>)> {
        let (wishes, wished) = mpsc::sync_channel(1);
        let thread =
            thread::Builder::new().name(format!("{name}-copy")).stack_size(256 * 1024).spawn(move || {
                while wished.recv().is_ok() {
                    // A failure leaves the log as it was; the next look tries again.
                    let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
                }
            })?;
        Ok((Self { wishes, commits: 0, asked_at: 0 }, thread))
    }

    /// To be called by the writer after each commit.
    pub(crate) fn after_commit(&mut self, writer: &Connection) {
        self.commits += 1;
        if !self.commits.is_multiple_of(LOOK_EVERY) {
            return;
        }
        // A failure to copy is no failure to commit: the log is whole.
        let Ok(pages) = log_pages(writer) else { return };
        // The log may have been started anew without us.
        self.asked_at = self.asked_at.min(pages);
        if pages >= RESTART_PAGES {
            // Waits for the thread and for reads that need the old log, as long as the connection
            // lets it; what cannot be done now is left to the next look.
            let _ = writer.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()));
        } else if pages - self.asked_at >= COPY_PAGES && self.wishes.try_send(()).is_ok() {
            self.asked_at = pages;
        }
    }
}

/// Pages in the log, those included that are copied already.
fn log_pages(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?.query_row([], |row| row.get(1))
}
