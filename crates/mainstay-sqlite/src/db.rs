//! One SQLite file: a writer thread with group commit, and reader threads.
//!
//! Writes queue up for one thread. It takes everything that arrived while the last commit ran,
//! runs it in one transaction, commits, and only then answers. There is no timer: under load a
//! commit is shared, without load nobody waits.
//!
//! A write that is refused is refused before it changes anything, and fails alone. One that fails
//! halfway, which only a failure of the store or a panic can bring about, takes the whole batch
//! with it: all of it is rolled back and answered as unavailable. A savepoint around each write
//! would spare the others, and was measured to halve the rate of all: it copies every page that a
//! write changes.
//!
//! Reads queue up for a few threads with a connection each, which answer all that waits from one
//! snapshot. A read that was queued after a write was answered sees that write.

mod checkpoint;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Instant,
};

use mainstay_core::{Error, Result, changes::Seq, planted::planted, store::StoreStats};
use rusqlite::{Connection, OpenFlags, TransactionBehavior, TransactionState};
use tokio::sync::{oneshot, watch};

use self::checkpoint::Checkpoints;
use crate::{queue::Queue, stats::Stats, tx::Tx};

/// The oldest SQLite library that may touch a file: earlier ones can corrupt a WAL.
pub(crate) const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// Marks our files, so that another program's database is refused. "Mnst" in ASCII.
const APPLICATION_ID: i32 = 0x4d6e_7374;

/// The most writes that share one commit, so that the first of them does not wait for ever.
const BATCH_MAX: usize = 2048;
/// The most requests that may wait; more are refused as unavailable.
const QUEUE_MAX: usize = 200_000;

/// When a write counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When it is on the disk: it survives the loss of power.
    Full,
    /// When the system has it: it survives the end of the process, and may be rolled back by the
    /// loss of power.
    Normal,
    /// Never. For files that are thrown away.
    Off,
}

impl Durability {
    fn pragma(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
            Self::Off => "OFF",
        }
    }
}

/// What a file is and how it is kept.
pub(crate) struct Layout {
    /// The name that errors carry.
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) durability: Durability,
    /// Forward only; the position of one is the version of the file after it.
    pub(crate) migrations: &'static [&'static str],
    pub(crate) readers: usize,
}

/// An open file.
pub(crate) struct Db {
    name: &'static str,
    writes: Arc<Queue<Box<dyn Write>>>,
    reads: Arc<Queue<Box<dyn Read>>>,
    threads: Vec<thread::JoinHandle<()>>,
    stats: Arc<Stats>,
    head: watch::Receiver<Seq>,
    path: PathBuf,
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Db {
    /// Opens the file, makes it if it is not there, and brings it to the newest version.
    pub(crate) fn open(layout: &Layout) -> Result<Self> {
        let fail = |e: rusqlite::Error| failed(layout.name, e);
        let version = rusqlite::version_number();
        if version < SQLITE_VERSION_MIN {
            return Err(Error::Store {
                store: layout.name,
                source: format!("SQLite {version} can corrupt a file; 3.51.3 or newer is needed").into(),
            });
        }
        let mut writer = connect(&layout.path, layout.durability).map_err(fail)?;
        migrate(&mut writer, layout)?;

        let stats = Arc::new(Stats::default());
        let (head_tx, head) = watch::channel(0);
        let writes = Arc::new(Queue::new(QUEUE_MAX));
        let reads = Arc::new(Queue::new(QUEUE_MAX));
        let mut threads = Vec::new();
        for i in 0..layout.readers {
            let connection = connect_reader(&layout.path).map_err(fail)?;
            let (queue, stats, name) = (Arc::clone(&reads), Arc::clone(&stats), layout.name);
            threads.push(spawn(&format!("{name}-read-{i}"), move || {
                read_loop(name, &queue, &connection, &stats);
            })?);
        }
        let copier = connect(&layout.path, layout.durability).map_err(fail)?;
        let (checkpoints, copying) = Checkpoints::start(layout.name, copier)
            .map_err(|e| Error::Unavailable { store: layout.name, source: e.into() })?;
        threads.push(copying);
        let worker = Writer {
            name: layout.name,
            path: layout.path.clone(),
            durability: layout.durability,
            connection: writer,
            stats: Arc::clone(&stats),
            head: head_tx,
            checkpoints,
        };
        let queue = Arc::clone(&writes);
        threads.push(spawn(&format!("{}-write", layout.name), move || worker.run(&queue))?);
        Ok(Self { name: layout.name, writes, reads, threads, stats, head, path: layout.path.clone() })
    }

    /// Runs `op` in the next transaction. It has happened when this returns `Ok`, and has left
    /// nothing behind when `op` returned an error. What `op` refuses, it must refuse before its
    /// first change; see the head of this file.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        op: impl FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let write = WriteJob { op: Some(op), outcome: None, reply: Some(reply), asked: Instant::now() };
        if self.writes.push(Box::new(write)).is_err() {
            return Err(busy(self.name));
        }
        answer.await.unwrap_or_else(|_| Err(closed(self.name)))
    }

    /// Runs `op` on a snapshot that holds every write that was answered before this call.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        op: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let read = ReadJob { op: Some(op), reply: Some(reply), asked: Instant::now() };
        if self.reads.push(Box::new(read)).is_err() {
            return Err(busy(self.name));
        }
        answer.await.unwrap_or_else(|_| Err(closed(self.name)))
    }

    /// The newest position that a committed write of this process logged; 0 before the first.
    pub(crate) fn head(&self) -> watch::Receiver<Seq> {
        self.head.clone()
    }

    /// Figures since the file was opened.
    pub(crate) fn stats(&self) -> StoreStats {
        let size = |path: &Path| path.metadata().map_or(0, |meta| meta.len());
        let mut wal = self.path.as_os_str().to_owned();
        wal.push("-wal");
        StoreStats {
            version: format!("SQLite {}", rusqlite::version()),
            size_bytes: size(&self.path) + size(Path::new(&wal)),
            connections: u32::try_from(self.threads.len()).unwrap_or(u32::MAX),
            ..self.stats.snapshot()
        }
    }
}

impl Drop for Db {
    /// Finishes what was queued, then closes the file.
    fn drop(&mut self) {
        self.reads.close();
        self.writes.close();
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to finish.
            let _ = thread.join();
        }
    }
}

/// A queued write, its result type forgotten.
trait Write: Send {
    /// Runs it; `true` if it wants to be kept.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Answers: the outcome of `run`, or `lost` when the transaction could not be committed.
    fn answer(&mut self, lost: Option<Error>);
    fn asked(&self) -> Instant;
}

struct WriteJob<F, T> {
    op: Option<F>,
    outcome: Option<Result<T>>,
    reply: Option<oneshot::Sender<Result<T>>>,
    asked: Instant,
}

impl<F, T> Write for WriteJob<F, T>
where
    F: FnOnce(&mut Tx<'_>) -> Result<T> + Send,
    T: Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        let name = tx.name();
        let outcome = self.op.take().map(|op| {
            catch_unwind(AssertUnwindSafe(|| op(tx)))
                .unwrap_or_else(|_| Err(Error::Store { store: name, source: "a write panicked".into() }))
        });
        self.outcome = outcome;
        let keep = matches!(self.outcome, Some(Ok(_)));
        if planted("ack_before_commit") {
            self.answer(None);
        }
        keep
    }

    fn answer(&mut self, lost: Option<Error>) {
        let outcome = match (lost, self.outcome.take()) {
            // A write that failed by itself keeps its own error.
            (_, Some(Err(error))) => Err(error),
            (Some(error), _) => Err(error),
            (None, Some(outcome)) => outcome,
            (None, None) => return,
        };
        if let Some(reply) = self.reply.take() {
            // The caller may have gone; the write has happened all the same.
            let _ = reply.send(outcome);
        }
    }

    fn asked(&self) -> Instant {
        self.asked
    }
}

/// A queued read, its result type forgotten.
trait Read: Send {
    fn run(&mut self, connection: &Connection, name: &'static str, stats: &Stats);
}

struct ReadJob<F, T> {
    op: Option<F>,
    reply: Option<oneshot::Sender<Result<T>>>,
    asked: Instant,
}

impl<F, T> Read for ReadJob<F, T>
where
    F: FnOnce(&Connection) -> Result<T> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection, name: &'static str, stats: &Stats) {
        let (Some(op), Some(reply)) = (self.op.take(), self.reply.take()) else { return };
        if reply.is_closed() {
            return;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| op(connection)))
            .unwrap_or_else(|_| Err(Error::Store { store: name, source: "a read panicked".into() }));
        stats.read(self.asked, outcome.is_ok());
        let _ = reply.send(outcome);
    }
}

fn read_loop(name: &'static str, queue: &Queue<Box<dyn Read>>, connection: &Connection, stats: &Stats) {
    let mut batch = Vec::new();
    // A small batch leaves work for the other readers.
    while queue.take(&mut batch, 64) {
        let snapshot = connection.unchecked_transaction();
        for mut job in batch.drain(..) {
            job.run(connection, name, stats);
        }
        drop(snapshot);
    }
}

struct Writer {
    name: &'static str,
    path: PathBuf,
    durability: Durability,
    connection: Connection,
    stats: Arc<Stats>,
    head: watch::Sender<Seq>,
    checkpoints: Checkpoints,
}

impl Writer {
    fn run(mut self, queue: &Queue<Box<dyn Write>>) {
        let mut batch = Vec::new();
        while queue.take(&mut batch, BATCH_MAX) {
            let lost = self.commit(&mut batch).err();
            if let Some(error) = &lost
                && is_io(error)
            {
                // After a failed fsync the kernel may hold pages it believes are clean: only what
                // a new connection reads from the file can be trusted.
                if let Ok(fresh) = connect(&self.path, self.durability) {
                    self.connection = fresh;
                }
            }
            let lost = lost.map(|e| e.to_string());
            for mut job in batch.drain(..) {
                // Counted first: whoever has the answer finds it counted.
                self.stats.write(job.asked(), lost.is_none());
                job.answer(lost.as_ref().map(|why| unavailable(self.name, why.clone())));
            }
            self.checkpoints.after_commit(&self.connection);
        }
        let _ = self.connection.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE);");
    }

    fn commit(&mut self, batch: &mut [Box<dyn Write>]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut tx = Tx::new(self.name, &transaction);
        for job in batch {
            tx.begin();
            let keep = job.run(&mut tx);
            // On errors such as a full disk SQLite ends the whole transaction by itself; what ran in
            // it before is gone and must not be answered as done.
            let is_whole = tx.settle(keep)
                && (keep || transaction.transaction_state(None::<&str>)? == TransactionState::Write);
            if !is_whole {
                return Err(rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT),
                    Some("a write of the same batch failed halfway".into()),
                ));
            }
        }
        let head = tx.finish()?;
        transaction.commit()?;
        self.stats.committed();
        if let Some(head) = head {
            self.head.send_replace(head);
        }
        Ok(())
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>> {
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(512 * 1024)
        .spawn(body)
        .map_err(|e| Error::Unavailable { store: "sqlite", source: e.into() })
}

fn connect(path: &Path, durability: Durability) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", durability.pragma())?;
    configure(&connection)?;
    // Nobody else writes: what is waited for is a copy of the log, or a long read that needs it.
    connection.busy_timeout(std::time::Duration::from_millis(100))?;
    // Not within a commit; see `db/checkpoint.rs`.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    Ok(connection)
}

fn connect_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    configure(&connection)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    // Negative: kibibytes of page cache for each connection, filled as needed.
    connection.pragma_update(None, "cache_size", -8192)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
}

/// Brings the file to the newest version; each migration is one transaction.
fn migrate(connection: &mut Connection, layout: &Layout) -> Result<()> {
    let fail = |e: rusqlite::Error| failed(layout.name, e);
    let pragma = |c: &Connection, name: &str| c.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let refuse = |why: String| Error::Store { store: layout.name, source: why.into() };

    let at = usize::try_from(pragma(connection, "user_version").map_err(fail)?).unwrap_or(usize::MAX);
    let owner = pragma(connection, "application_id").map_err(fail)?;
    if owner != APPLICATION_ID && (owner != 0 || at != 0) {
        return Err(refuse(format!("{} is a database of another program", layout.path.display())));
    }
    if at > layout.migrations.len() {
        return Err(refuse(format!(
            "{} was written by a newer Mainstay (format {at}, this one knows {}); use that version or a backup",
            layout.path.display(),
            layout.migrations.len()
        )));
    }
    for (i, migration) in layout.migrations.iter().enumerate().skip(at) {
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        transaction.execute_batch(migration).map_err(fail)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(fail)?;
        transaction
            .pragma_update(None, "user_version", i32::try_from(i + 1).unwrap_or(i32::MAX))
            .map_err(fail)?;
        transaction.commit().map_err(fail)?;
    }
    Ok(())
}

fn is_io(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::SystemIoFailure))
}

fn unavailable(store: &'static str, why: impl Into<mainstay_core::error::BoxError>) -> Error {
    Error::Unavailable { store, source: why.into() }
}

fn busy(store: &'static str) -> Error {
    unavailable(store, "too many requests are waiting, or the store is closing")
}

fn closed(store: &'static str) -> Error {
    unavailable(store, "the store was closed")
}

/// A driver's failure as a failure of the store: what may pass by itself is `Unavailable`.
pub(crate) fn failed(store: &'static str, error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode as Code;
    match error.sqlite_error_code() {
        Some(
            Code::DatabaseBusy
            | Code::DatabaseLocked
            | Code::DiskFull
            | Code::SystemIoFailure
            | Code::OutOfMemory
            | Code::ReadOnly
            | Code::CannotOpen,
        ) => Error::Unavailable { store, source: error.into() },
        _ => Error::Store { store, source: error.into() },
    }
}

#[cfg(test)]
mod tests;
