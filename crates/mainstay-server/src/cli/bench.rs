//! `mainstay bench`: puts a store under load for a moment and prints figures.
//!
//! Meant to answer "how fast is it here", not to compare products; `cargo xtask bench` does that.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use clap::Args;
use mainstay::{
    Mainstay,
    sessions::{NewSession, SessionOptions},
};
use serde_json::{Value, json};

use super::{
    Global,
    client::Client,
    exit::{Exit, Failure},
    output::Output,
    runtime,
};
use crate::{config::Span, metrics::Stopwatch};

/// How many users the sessions are spread over.
const USERS: u64 = 64;

#[derive(Debug, Args)]
pub(super) struct Bench {
    /// How long each figure is measured.
    #[arg(long, default_value = "2s")]
    time: Span,
    /// How many callers there are at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    tasks: u32,
    /// Put the server of --url under load, instead of a store of its own in a temporary folder.
    #[arg(long)]
    server: bool,
}

/// One figure.
struct Figure {
    name: &'static str,
    count: u64,
    took: Duration,
}

impl Figure {
    fn row(&self) -> Value {
        let per_s = self.count as f64 / self.took.as_secs_f64().max(1e-9);
        json!({ "figure": self.name, "per_second": per_s.round(), "count": self.count })
    }
}

impl Bench {
    pub(super) fn run(&self, global: &Global, output: &Output) -> Result<Exit, Failure> {
        let figures = if self.server { self.server(global)? } else { self.embedded()? };
        let rows: Vec<Value> = figures.iter().map(Figure::row).collect();
        output.list(&rows, &["figure", "per_second", "count"])?;
        Ok(Exit::Ok)
    }

    fn embedded(&self) -> Result<Vec<Figure>, Failure> {
        // Beside the working folder, so that the disk is the one that would be used.
        let folder = tempfile::Builder::new().prefix(".mainstay-bench-").tempdir_in(".")?;
        runtime()?.block_on(async {
            let mainstay = Mainstay::embedded(folder.path()).await?;
            let created = self.create(&mainstay).await?;
            let checked = self.check(&mainstay).await?;
            mainstay.close().await;
            Ok(vec![created, checked])
        })
    }

    async fn create(&self, mainstay: &Mainstay) -> Result<Figure, Failure> {
        let sessions = mainstay.sessions();
        let (count, took) = self
            .measure(move |n| {
                let sessions = sessions.clone();
                async move {
                    let user = format!("bench-{}", n % USERS);
                    sessions.create(&user, SessionOptions::default()).await.map(drop)
                }
            })
            .await?;
        Ok(Figure { name: "sessions created, durable", count, took })
    }

    async fn check(&self, mainstay: &Mainstay) -> Result<Figure, Failure> {
        let sessions = mainstay.sessions();
        let mut tokens = Vec::new();
        for n in 0..USERS {
            let user = format!("bench-{n}");
            if let NewSession::Created { token, .. } =
                sessions.create(&user, SessionOptions::default()).await?
            {
                tokens.push(token);
            }
        }
        let tokens: Arc<[String]> = tokens.into();
        let (count, took) = self
            .measure(move |n| {
                let (sessions, tokens) = (sessions.clone(), tokens.clone());
                async move { sessions.check(&tokens[n as usize % tokens.len()]).await.map(drop) }
            })
            .await?;
        Ok(Figure { name: "session checks", count, took })
    }

    /// Calls `call` from all tasks until the time is over.
    async fn measure<F, C>(&self, call: C) -> Result<(u64, Duration), Failure>
    where
        C: Fn(u64) -> F + Clone + Send + 'static,
        F: Future<Output = mainstay_core::Result<()>> + Send,
    {
        let (watch, time) = (Stopwatch::start(), self.time.get());
        let next = Arc::new(AtomicU64::new(0));
        let mut tasks = tokio::task::JoinSet::<mainstay_core::Result<()>>::new();
        for _ in 0..self.tasks {
            let (call, next) = (call.clone(), next.clone());
            tasks.spawn(async move {
                while watch.elapsed() < time {
                    call(next.fetch_add(1, Relaxed)).await?;
                    // A call that is answered from memory never waits: let the others run too.
                    tokio::task::consume_budget().await;
                }
                Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.map_err(|error| Failure::failed(error.to_string()))??;
        }
        Ok((next.load(Relaxed), watch.elapsed()))
    }

    fn server(&self, global: &Global) -> Result<Vec<Figure>, Failure> {
        let created = self.measure_server(global, "sessions created over HTTP", |client, n| {
            client
                .post("/v1/sessions", &json!({ "user": format!("bench-{}", n % USERS), "idle_ms": 60_000 }))
                .map(drop)
        })?;
        let answer = Client::new(global)
            .post("/v1/sessions", &json!({ "user": "bench-0", "idle_ms": 60_000 }))?
            .json()?;
        let body = json!({ "token": answer["token"] });
        let checked = self.measure_server(global, "session checks over HTTP", move |client, _| {
            client.post("/v1/sessions/check", &body).map(drop)
        })?;
        Ok(vec![created, checked])
    }

    fn measure_server<C>(&self, global: &Global, name: &'static str, call: C) -> Result<Figure, Failure>
    where
        C: Fn(&Client, u64) -> Result<(), Failure> + Sync,
    {
        let (watch, time) = (Stopwatch::start(), self.time.get());
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let work = || {
                let client = Client::new(global);
                while watch.elapsed() < time {
                    call(&client, next.fetch_add(1, Relaxed))?;
                }
                Ok(())
            };
            let threads: Vec<_> = (0..self.tasks).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|_| Err(Failure::failed("a thread of the bench failed")))
            })
        })?;
        Ok(Figure { name, count: next.load(Relaxed), took: watch.elapsed() })
    }
}
