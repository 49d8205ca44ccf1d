//! The second level of the cache, in a file of its own.
//!
//! | what | where |
//! |---|---|
//! | values, how much each namespace takes, marks of invalidations, the position applied | the file |
//! | marks once more, deletions that running loads must hear of | memory |
//!
//! An invalidation of a tag, prefix or namespace is one mark, whatever it concerns; what it
//! concerns is refused by comparing positions and removed later. Commits are not synced one by one
//! (`synchronous=NORMAL`): after a loss of power the file starts empty, see [`in_use`].

mod entry;
mod file;
mod in_use;
mod marks;
mod state;
mod sweep;

use std::{
    collections::BTreeSet,
    fmt,
    path::Path,
    pin::pin,
    sync::{
        Arc,
        atomic::Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
    task::{Context, Waker},
};

use async_trait::async_trait;
use mainstay_core::{
    App, CacheKey, Error, Name, Result, Ttl,
    cache::{CacheDriver, CacheEntry, CacheItem, NamespaceUsage, PutWhen},
    changes::{Change, Invalidation, LoggedChange, Seq},
    store::StoreStats,
};
use rusqlite::params;

use self::{
    entry::{Place, signed},
    in_use::InUse,
    marks::Space,
    state::{Orphans, State},
};
use crate::{
    db::{Db, Durability, Layout},
    store::{Options, Sqlite},
    tx::{OrFailed, Tx},
};

const NAME: &str = "sqlite cache";
const MIGRATIONS: &[&str] = &[include_str!("../migrations/cache/0001_init.sql")];
/// What an entry takes beside its key and value, in rows and indexes.
const ENTRY_OVERHEAD_BYTES: u64 = 128;
/// The most namespaces of all apps together: each takes memory for as long as the file lives.
const SPACES_MAX: usize = 100_000;

/// The file of the cache.
pub(crate) struct CacheStore {
    // Fields are dropped in this order: the file closes before it is noted as not in use.
    db: Db,
    state: Arc<State>,
    _in_use: InUse,
}

impl fmt::Debug for CacheStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheStore").field("db", &self.db).finish_non_exhaustive()
    }
}

impl CacheStore {
    /// Opens `cache.db` in `folder`. Its cost grows with namespaces and marks, not with entries.
    pub(crate) fn open(folder: &Path, options: &Options) -> Result<Self> {
        let path = folder.join("cache.db");
        let in_use = InUse::begin(&path)?;
        // A commit that is lost with the power takes the whole file with it; see `in_use.rs`.
        let durability = match options.durability {
            Durability::Off => Durability::Off,
            Durability::Full | Durability::Normal => Durability::Normal,
        };
        let db = Db::open(&Layout {
            name: NAME,
            path: path.clone(),
            durability,
            migrations: MIGRATIONS,
            readers: 2,
        })?;
        let state = State::new(file::load(&path)?, options.clock.clone(), options.cache_bytes_max);
        Ok(Self { db, state: Arc::new(state), _in_use: in_use })
    }

    /// As [`Store::sweep`](mainstay_core::store::Store::sweep).
    pub(crate) async fn sweep(&self, limit: u32) -> Result<u32> {
        let state = Arc::clone(&self.state);
        self.db.write(move |tx| sweep::sweep(tx, &state, state.clock.now(), limit)).await
    }

    /// Figures since the file was opened.
    pub(crate) fn stats(&self) -> StoreStats {
        self.db.stats()
    }

    /// The namespace, stored if it is new: entries may name it only once it is committed.
    async fn ensure_space(&self, app: &App, ns: &Name) -> Result<Arc<Space>> {
        if let Some(space) = self.state.space(app, ns) {
            return Ok(space);
        }
        if self.state.spaces().len() >= SPACES_MAX {
            return Err(Error::invalid(
                "ns",
                format!("there are {SPACES_MAX} namespaces, and no more are taken"),
            ));
        }
        let (a, n) = (app.clone(), ns.clone());
        let id = self.db.write(move |tx| create_space(tx, &a, &n)).await?;
        Ok(self.state.insert(app, ns, id))
    }

    /// Queues an eviction when one is due, and does not wait for it.
    fn after_write(&self, ok: bool) {
        if !ok {
            self.state.unsettled.store(true, Relaxed);
        }
        if let Some(eviction) = self.state.begin_eviction() {
            start(&self.db, move |tx| sweep::evict(tx, &eviction.0, eviction.0.clock.now()));
        }
    }
}

/// Queues a write without waiting for it. `Db` queues at the first poll and finishes its queue
/// whether or not anyone waits.
fn start(db: &Db, op: impl FnOnce(&mut Tx<'_>) -> Result<()> + Send + 'static) {
    let write = pin!(db.write(op));
    let _ = write.poll(&mut Context::from_waker(Waker::noop()));
}

fn create_space(tx: &Tx<'_>, app: &App, ns: &Name) -> Result<i64> {
    tx.prepare_cached(
        "INSERT INTO spaces (app, ns) VALUES (?1, ?2)
         ON CONFLICT (app, ns) DO UPDATE SET app = app RETURNING id",
    )
    .and_then(|mut create| create.query_row([app.as_str(), ns.as_str()], |row| row.get(0)))
    .or_failed(NAME)
}

#[async_trait]
impl CacheDriver for Sqlite {
    async fn get(&self, app: &App, ns: &Name, keys: &[CacheKey]) -> Result<Vec<Option<CacheEntry>>> {
        let cache = self.cache();
        let Some(space) = cache.state.space(app, ns) else { return Ok(vec![None; keys.len()]) };
        let (state, app, ns, keys) = (Arc::clone(&cache.state), app.clone(), ns.clone(), keys.to_vec());
        cache
            .db
            .read(move |connection| {
                let place =
                    Place { state: &state, app: &app, ns: &ns, space: &space, now: state.clock.now() };
                keys.iter().map(|key| place.get(connection, key)).collect()
            })
            .await
    }

    async fn put(&self, app: &App, ns: &Name, items: &[CacheItem], when: PutWhen) -> Result<Vec<bool>> {
        let cache = self.cache();
        let space = cache.ensure_space(app, ns).await?;
        let (state, app, ns, items) = (Arc::clone(&cache.state), app.clone(), ns.clone(), items.to_vec());
        let stored = cache
            .db
            .write(move |tx| {
                let place =
                    Place { state: &state, app: &app, ns: &ns, space: &space, now: state.clock.now() };
                items.iter().map(|item| place.put(tx, item, when)).collect()
            })
            .await;
        cache.after_write(stored.is_ok());
        stored
    }

    async fn add(
        &self,
        app: &App,
        ns: &Name,
        key: &CacheKey,
        delta: i64,
        ttl: Ttl,
        as_of: Seq,
    ) -> Result<i64> {
        let cache = self.cache();
        let space = cache.ensure_space(app, ns).await?;
        let (state, app, ns, key) = (Arc::clone(&cache.state), app.clone(), ns.clone(), key.clone());
        let sum = cache
            .db
            .write(move |tx| {
                let place =
                    Place { state: &state, app: &app, ns: &ns, space: &space, now: state.clock.now() };
                place.add(tx, &key, delta, ttl, as_of)
            })
            .await;
        cache.after_write(sum.is_ok());
        sum
    }

    async fn touch(&self, app: &App, ns: &Name, key: &CacheKey, ttl: Ttl) -> Result<bool> {
        let cache = self.cache();
        let Some(space) = cache.state.space(app, ns) else { return Ok(false) };
        let (state, app, ns, key) = (Arc::clone(&cache.state), app.clone(), ns.clone(), key.clone());
        cache
            .db
            .write(move |tx| {
                let place =
                    Place { state: &state, app: &app, ns: &ns, space: &space, now: state.clock.now() };
                place.touch(tx, &key, ttl)
            })
            .await
    }

    async fn apply(&self, changes: &[LoggedChange]) -> Result<()> {
        let Some(last) = changes.last().map(|change| change.seq) else { return Ok(()) };
        let cache = self.cache();
        let named: BTreeSet<(&App, &Name)> =
            changes.iter().filter_map(|logged| cleared(&logged.change)).collect();
        for (app, ns) in named {
            cache.ensure_space(app, ns).await?;
        }
        let (state, changes) = (Arc::clone(&cache.state), changes.to_vec());
        cache
            .db
            .write(move |tx| {
                for logged in &changes {
                    if let Change::Cache(app, what) = &logged.change {
                        invalidate(tx, &state, app, what, logged.seq)?;
                    }
                }
                let applied = state.applied.load(Relaxed).max(last);
                file::set(tx, "applied", signed(applied)).or_failed(NAME)
            })
            .await?;
        cache.state.applied.fetch_max(last, AcqRel);
        Ok(())
    }

    async fn applied(&self) -> Result<Seq> {
        Ok(self.cache().state.applied.load(Acquire))
    }

    async fn reset(&self, seq: Seq) -> Result<()> {
        let cache = self.cache();
        cache
            .db
            .write(move |tx| {
                tx.execute_batch(include_str!("../sql/cache_reset.sql")).or_failed(NAME)?;
                file::set(tx, "base", signed(seq)).or_failed(NAME)?;
                file::set(tx, "applied", signed(seq)).or_failed(NAME)
            })
            .await?;
        // Not before the commit: marks must outlive what they keep from being served.
        cache.state.reset(seq);
        cache.state.applied.store(seq, Release);
        Ok(())
    }

    async fn usage(&self, app: &App) -> Result<Vec<NamespaceUsage>> {
        let cache = self.cache();
        let (state, app) = (Arc::clone(&cache.state), app.clone());
        cache
            .db
            .read(move |connection| {
                let mut of = connection
                    .prepare_cached("SELECT id, ns, entries, bytes FROM spaces WHERE app = ?1 ORDER BY ns")
                    .or_failed(NAME)?;
                let rows = of
                    .query_map([app.as_str()], |row| {
                        Ok((
                            row.get(0)?,
                            row.get::<_, String>(1)?,
                            file::seq_at(row, 2)?,
                            file::seq_at(row, 3)?,
                        ))
                    })
                    .or_failed(NAME)?;
                let spaces = state.spaces();
                rows.map(|row| {
                    let (id, ns, entries, bytes) = row.or_failed(NAME)?;
                    let evictions = spaces.by_id(id).map_or(0, |space| space.evictions.load(Relaxed));
                    Ok(NamespaceUsage { namespace: Name::new("ns", &ns)?, entries, bytes, evictions })
                })
                .collect()
            })
            .await
    }
}

/// The namespace whose mark the change moves, if it moves one.
fn cleared(change: &Change) -> Option<(&App, &Name)> {
    match change {
        Change::Cache(app, Invalidation::Prefix(ns, _) | Invalidation::Namespace(ns)) => Some((app, ns)),
        _ => None,
    }
}

/// Sets the mark in memory and in the file. Memory first: a mark that is not committed makes the
/// cache colder, one that is not seen makes it wrong.
fn invalidate(tx: &mut Tx<'_>, state: &State, app: &App, what: &Invalidation, seq: Seq) -> Result<()> {
    match what {
        Invalidation::Tag(tag) => {
            let floor = state.marks.note_tag(app.as_str(), tag.as_str(), seq);
            mark_tag(tx, app, tag, seq, floor).or_failed(NAME)
        }
        Invalidation::Key(ns, key) => {
            state.marks.note_deletion(app, ns, key, seq);
            let Some(space) = state.space(app, ns) else { return Ok(()) };
            let place = Place { state, app, ns, space: &space, now: state.clock.now() };
            place.delete(tx, key, seq)
        }
        Invalidation::Prefix(ns, prefix) => {
            let Some(space) = state.space(app, ns) else { return Ok(()) };
            state.push_orphans(Orphans {
                space: space.id,
                from: prefix.as_str().to_owned(),
                prefix: Some(prefix.clone()),
                seq,
            });
            match space.note_prefix(prefix, seq) {
                Some(seq) => mark_space(tx, space.id, seq).or_failed(NAME),
                None => mark_prefix(tx, space.id, prefix, seq).or_failed(NAME),
            }
        }
        Invalidation::Namespace(ns) => {
            let Some(space) = state.space(app, ns) else { return Ok(()) };
            state.push_orphans(Orphans { space: space.id, from: String::new(), prefix: None, seq });
            space.note_cleared(seq);
            mark_space(tx, space.id, seq).or_failed(NAME)
        }
    }
}

fn mark_tag(tx: &Tx<'_>, app: &App, tag: &Name, seq: Seq, floor: Option<Seq>) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO tag_marks (app, tag, seq) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)",
    )?
    .execute(params![app.as_str(), tag.as_str(), signed(seq)])?;
    if let Some(floor) = floor {
        tx.execute("DELETE FROM tag_marks WHERE seq <= ?1", [signed(floor)])?;
        file::set(tx, "tag_floor", signed(floor))?;
    }
    Ok(())
}

fn mark_prefix(tx: &Tx<'_>, space: i64, prefix: &CacheKey, seq: Seq) -> rusqlite::Result<()> {
    // Longer prefixes are covered by this one. They lie between it and its last continuation.
    tx.prepare_cached(
        "DELETE FROM prefix_marks
         WHERE space = ?1 AND prefix >= ?2 AND substr(prefix, 1, length(?2)) = ?2 AND seq <= ?3",
    )?
    .execute(params![space, prefix.as_str(), signed(seq)])?;
    tx.prepare_cached(
        "INSERT INTO prefix_marks (space, prefix, seq) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    )?
    .execute(params![space, prefix.as_str(), signed(seq)])?;
    Ok(())
}

fn mark_space(tx: &Tx<'_>, space: i64, seq: Seq) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE spaces SET mark = max(mark, ?2) WHERE id = ?1")?
        .execute(params![space, signed(seq)])?;
    tx.prepare_cached("DELETE FROM prefix_marks WHERE space = ?1 AND seq <= ?2")?
        .execute(params![space, signed(seq)])?;
    Ok(())
}
