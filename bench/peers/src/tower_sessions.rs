//! `tower-sessions` with its SQLite store: WAL, `synchronous=FULL`, sqlx's own pool.

use std::{collections::HashMap, sync::Arc, time::Instant};

use anyhow::{Context, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use time::{Duration, OffsetDateTime};
use tower_sessions_core::{
    SessionStore,
    session::{Id, Record},
};
use tower_sessions_sqlx_store::SqliteStore;

const SESSIONS: usize = 10_000;
const CHECKS: usize = 50_000;
const CHECK_TASKS: usize = 64;
const CREATES: usize = 10_000;
const CREATE_TASKS: usize = 100;

/// Loads per second from 64 tasks, which is what each request does that has a session.
pub(crate) fn load(size: usize) -> Result<f64> {
    runtime()?.block_on(async {
        let (store, _folder) = open().await?;
        let mut ids = Vec::new();
        for _ in 0..SESSIONS / size {
            let mut record = record();
            store.create(&mut record).await?;
            ids.push(record.id);
        }
        let ids: Arc<[Id]> = ids.into();
        rate(CHECK_TASKS, CHECKS / size, move |number| {
            let (store, ids) = (store.clone(), Arc::clone(&ids));
            async move {
                store.load(&ids[number * 7919 % ids.len()]).await?.context("a session that is there")?;
                Ok(())
            }
        })
        .await
    })
}

/// Creates per second by 100 tasks.
pub(crate) fn create(size: usize) -> Result<f64> {
    runtime()?.block_on(async {
        let (store, _folder) = open().await?;
        rate(CREATE_TASKS, CREATES / size, move |_| {
            let store = store.clone();
            async move { Ok(store.create(&mut record()).await?) }
        })
        .await
    })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

async fn open() -> Result<(SqliteStore, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("sessions.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(std::time::Duration::from_secs(60));
    let pool = SqlitePoolOptions::new()
        .acquire_timeout(std::time::Duration::from_secs(60))
        .connect_with(options)
        .await?;
    let store = SqliteStore::new(pool);
    store.migrate().await?;
    Ok((store, folder))
}

fn record() -> Record {
    let data = HashMap::from([("user".to_owned(), serde_json::json!("user-1"))]);
    Record { id: Id::default(), data, expiry_date: OffsetDateTime::now_utc() + Duration::hours(1) }
}

/// `total` calls from `tasks` tasks, each with one call in flight; calls per second.
async fn rate<F>(
    tasks: usize,
    total: usize,
    call: impl Fn(usize) -> F + Clone + Send + 'static,
) -> Result<f64>
where
    F: Future<Output = Result<()>> + Send,
{
    let each = (total / tasks).max(1);
    let started = Instant::now();
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let call = call.clone();
            tokio::spawn(async move {
                for number in 0..each {
                    call(task * each + number).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in running {
        task.await??;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    Ok((tasks * each) as f64 / started.elapsed().as_secs_f64())
}
