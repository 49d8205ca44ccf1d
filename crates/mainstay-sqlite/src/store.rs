//! The folder as a whole.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use mainstay_core::{
    Clock, Error, Result, Timestamp,
    store::{Store, StoreStats},
};
use rusqlite::{Connection, named_params};

use crate::{
    cache::CacheStore,
    changes,
    db::{Db, Durability, Layout, failed},
    lock::FolderLock,
    once, sessions,
    tx::OrFailed,
};

const MAIN: &str = "sqlite";
const MIGRATIONS: &[&str] = &[include_str!("../migrations/main/0001_init.sql")];

/// How a folder is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// When a write to the truth counts as done. Default: [`Durability::Full`].
    pub durability: Durability,
    /// The most bytes that the second level of the cache keeps. Default: 1 GiB.
    pub cache_bytes_max: u64,
    /// Where the time comes from. Default: the system.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self { durability: Durability::Full, cache_bytes_max: 1 << 30, clock: Clock::system() }
    }
}

/// The embedded store: one folder, held by one process.
///
/// Dropping it finishes what was queued and closes the files.
pub struct Sqlite {
    // Fields are dropped in this order: the files close before the folder is given back.
    main: Db,
    cache: CacheStore,
    clock: Clock,
    folder: PathBuf,
    _lock: FolderLock,
    _temporary: Option<tempfile::TempDir>,
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Sqlite {
    /// Opens the store in `folder`, making both if they are not there. Blocks for the time of the
    /// migrations, if any are due.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when another process has the folder or it cannot be written;
    /// [`Error::Store`] when a file is of another program or of a newer Mainstay.
    pub fn open(folder: &Path, options: &Options) -> Result<Self> {
        create_private(folder).map_err(|e| Error::Unavailable {
            store: MAIN,
            source: format!("{} cannot be made: {e}", folder.display()).into(),
        })?;
        Self::open_held(folder, options, FolderLock::take(folder)?, None)
    }

    /// Opens a store in a private temporary folder that is removed with it. Nothing in it is
    /// durable, whatever `options` say.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no temporary folder can be made.
    pub fn temporary(options: &Options) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("mainstay-")
            .tempdir()
            .map_err(|e| Error::Unavailable { store: MAIN, source: e.into() })?;
        let path = folder.path().to_owned();
        let options = Options { durability: Durability::Off, ..options.clone() };
        let lock = FolderLock::take(&path)?;
        Self::open_held(&path, &options, lock, Some(folder))
    }

    fn open_held(
        folder: &Path,
        options: &Options,
        lock: FolderLock,
        temporary: Option<tempfile::TempDir>,
    ) -> Result<Self> {
        let main = Db::open(&Layout {
            name: MAIN,
            path: folder.join("mainstay.db"),
            durability: options.durability,
            migrations: MIGRATIONS,
            readers: 2,
        })?;
        let cache = CacheStore::open(folder, options)?;
        Ok(Self {
            main,
            cache,
            clock: options.clock.clone(),
            folder: folder.to_owned(),
            _lock: lock,
            _temporary: temporary,
        })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Figures of the cache's file; those of the truth are [`Store::stats`].
    #[must_use]
    pub fn cache_stats(&self) -> StoreStats {
        self.cache.stats()
    }

    pub(crate) fn main(&self) -> &Db {
        &self.main
    }

    pub(crate) fn main_name(&self) -> &'static str {
        MAIN
    }

    pub(crate) fn cache(&self) -> &CacheStore {
        &self.cache
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock.clone()
    }
}

#[async_trait]
impl Store for Sqlite {
    fn name(&self) -> &'static str {
        MAIN
    }

    async fn ping(&self) -> Result<()> {
        let clock = self.clock();
        self.main
            .write(move |tx| {
                tx.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES ('ping', ?1)")
                    .and_then(|mut put| put.execute([clock.now().as_millis()]))
                    .or_failed(tx.name())?;
                Ok(())
            })
            .await
    }

    async fn sweep(&self, limit: u32) -> Result<u32> {
        let cached = self.cache.sweep(limit).await?;
        let (clock, now) = (self.clock(), self.clock.now());
        // Looked up first, so that an idle store is not written to.
        if !self.main.read(move |connection| sweep_due(connection, now).or_failed(MAIN)).await? {
            return Ok(cached);
        }
        let removed = self
            .main
            .write(move |tx| {
                let now = clock.now();
                let mut most = sessions::sweep(tx, now, limit)?;
                most = most.max(once::sweep(tx, now, limit)?);
                Ok(most.max(changes::sweep(tx, now, limit)?))
            })
            .await?;
        Ok(u32::try_from(removed).unwrap_or(u32::MAX).max(cached))
    }

    async fn stats(&self) -> Result<StoreStats> {
        Ok(self.main.stats())
    }
}

fn sweep_due(connection: &Connection, now: Timestamp) -> rusqlite::Result<bool> {
    connection.prepare_cached(include_str!("../sql/store_sweep_due.sql"))?.query_row(
        named_params! {
            ":now": now.as_millis(),
            ":minutes_before": sessions::minutes_kept_from(now),
            ":changes_before": changes::kept_from(now),
        },
        |row| row.get(0),
    )
}

/// Makes the folder for its owner only: it will hold what sessions and tokens are checked by.
fn create_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Reads every page of the files in `folder` and checks that they hang together. Takes the folder
/// for that time, so it fails while a server runs on it. Its cost grows with the size of the files.
///
/// # Errors
/// [`Error::Unavailable`] when another process has the folder, [`Error::Store`] with what SQLite
/// found when a file is damaged.
pub fn check_folder(folder: &Path) -> Result<()> {
    let _lock = FolderLock::take(folder)?;
    for file in ["mainstay.db", "cache.db"] {
        let path = folder.join(file);
        if !path.exists() {
            continue;
        }
        let verdict: String = Connection::open(&path)
            .and_then(|c| c.query_row("PRAGMA integrity_check", [], |row| row.get(0)))
            .map_err(|e| failed(MAIN, e))?;
        if verdict != "ok" {
            return Err(Error::Store { store: MAIN, source: format!("{file} is damaged: {verdict}").into() });
        }
    }
    Ok(())
}
