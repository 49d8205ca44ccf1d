//! Sessions through the crate, with `synchronous=FULL`.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use mainstay::{
    Mainstay,
    sessions::{NewSession, SessionOptions, Sessions},
};

use crate::{Figure, Options, Plan, Target};

const CHECK: Plan = Plan {
    name: "sessions.check",
    unit: "/s",
    target: Target::AtLeast(300_000.0),
    peer: Some("tower_sessions.load"),
};
const CREATE: Plan = Plan {
    name: "sessions.create",
    unit: "/s",
    target: Target::AtLeast(40_000.0),
    peer: Some("tower_sessions.create"),
};
const CHECK_WRITES: Plan =
    Plan { name: "sessions.writes_of_100k_clean_checks", unit: "", target: Target::AtMost(0.0), peer: None };
const REVOKE_ALL: Plan =
    Plan { name: "sessions.revoke_1000", unit: "ms", target: Target::AtMost(5.0), peer: None };

const CHECK_TASKS: u64 = 64;
const CHECKS: u64 = 1_000_000;
const CHECKED_SESSIONS: u64 = 10_000;
const CREATE_TASKS: u64 = 100;
const CREATES: u64 = 100_000;
const CLEAN_CHECKS: u64 = 100_000;
const SESSIONS_OF_A_USER: u64 = 1000;

/// # Errors
/// When the store fails or a session that was created is not valid.
pub(crate) fn run(options: &Options) -> Result<Vec<Figure>> {
    let runtime = runtime()?;
    let figures = [
        options.measure(CHECK, || runtime.block_on(check(options)))?,
        options.measure(CREATE, || runtime.block_on(create(options)))?,
        options.measure(CHECK_WRITES, || runtime.block_on(writes_of_clean_checks(options)))?,
        options.measure(REVOKE_ALL, || runtime.block_on(revoke_all()))?,
    ];
    Ok(figures.into_iter().flatten().collect())
}

/// The runtime of every bench: a worker for each core.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Creates `count` sessions in a new store at `path` and closes it.
pub(crate) async fn fill(path: &Path, count: u64) -> Result<()> {
    let mainstay = Mainstay::embedded(path).await?;
    tokens(&mainstay.sessions(), count, 512, |number| format!("user-{}", number % 100_000)).await?;
    mainstay.close().await;
    Ok(())
}

async fn check(options: &Options) -> Result<f64> {
    let (mainstay, _folder) = open().await?;
    let sessions = mainstay.sessions();
    let tokens: Arc<[String]> = many(&sessions, options.size(CHECKED_SESSIONS)).await?.into();
    let total = options.size(CHECKS);
    let rate = in_tasks(CHECK_TASKS, total, {
        let sessions = sessions.clone();
        move |number| {
            let (sessions, tokens) = (sessions.clone(), Arc::clone(&tokens));
            async move {
                let token = &tokens[usize::try_from(number * 7919)? % tokens.len()];
                sessions.check(token).await?.context("a session that is there")?;
                Ok(())
            }
        }
    })
    .await?;
    mainstay.close().await;
    Ok(rate)
}

async fn create(options: &Options) -> Result<f64> {
    let (mainstay, _folder) = open().await?;
    let sessions = mainstay.sessions();
    let rate = in_tasks(CREATE_TASKS, options.size(CREATES), move |number| {
        let sessions = sessions.clone();
        async move { one(&sessions, &format!("user-{}", number % 10_000)).await.map(drop) }
    })
    .await?;
    mainstay.close().await;
    Ok(rate)
}

async fn writes_of_clean_checks(options: &Options) -> Result<f64> {
    let (mainstay, _folder) = open().await?;
    let sessions = mainstay.sessions();
    let token = one(&sessions, "user").await?;
    let before = mainstay.store_stats().await?.writes;
    for _ in 0..options.size(CLEAN_CHECKS) {
        sessions.check(&token).await?.context("a session that is there")?;
    }
    let writes = mainstay.store_stats().await?.writes - before;
    mainstay.close().await;
    Ok(f64::from(u32::try_from(writes)?))
}

/// Milliseconds to revoke the 1,000 sessions of one user, among 10,000 of others.
async fn revoke_all() -> Result<f64> {
    let (mainstay, _folder) = open().await?;
    let sessions = mainstay.sessions();
    many(&sessions, 10_000).await?;
    let tokens = tokens(&sessions, SESSIONS_OF_A_USER, 64, |_| "ada".to_owned()).await?;
    for token in &tokens {
        sessions.check(token).await?.context("a session that is there")?;
    }
    let started = Instant::now();
    let revoked = sessions.revoke_all("ada", None).await?;
    let took = started.elapsed();
    ensure!(revoked == SESSIONS_OF_A_USER, "{revoked} sessions were revoked");
    ensure!(sessions.check(&tokens[0]).await?.is_none(), "a revoked session is valid");
    mainstay.close().await;
    Ok(milliseconds(took))
}

async fn open() -> Result<(Mainstay, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    Ok((Mainstay::embedded(folder.path()).await?, folder))
}

async fn one(sessions: &Sessions, user: &str) -> Result<String> {
    match sessions.create(user, SessionOptions::default()).await? {
        NewSession::Created { token, .. } => Ok(token),
        NewSession::Full => bail!("no limit was set"),
    }
}

async fn many(sessions: &Sessions, count: u64) -> Result<Vec<String>> {
    tokens(sessions, count, 64, |number| format!("user-{number}")).await
}

/// Creates `count` sessions from `tasks` tasks and gives their tokens.
async fn tokens(
    sessions: &Sessions,
    count: u64,
    tasks: u64,
    user: impl Fn(u64) -> String + Clone + Send + 'static,
) -> Result<Vec<String>> {
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let (sessions, user) = (sessions.clone(), user.clone());
            tokio::spawn(async move {
                let mut tokens = Vec::new();
                for number in (task..count).step_by(usize::try_from(tasks)?) {
                    tokens.push(one(&sessions, &user(number)).await?);
                }
                anyhow::Ok(tokens)
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in running {
        all.extend(task.await??);
    }
    Ok(all)
}

/// `total` calls from `tasks` tasks, each with one call in flight; calls per second.
async fn in_tasks<F>(tasks: u64, total: u64, call: impl Fn(u64) -> F + Clone + Send + 'static) -> Result<f64>
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
    Ok(f64::from(u32::try_from(tasks * each)?) / started.elapsed().as_secs_f64())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
