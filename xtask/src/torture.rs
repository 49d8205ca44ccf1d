//! `cargo xtask torture`: kills a real server under load, again and again, and checks that what it
//! acknowledged is true. `--planted` gives it servers with known bugs, and fails if it does not
//! see each of them.
//!
//! The seed decides what the clients do and when the server is killed. Two runs with one seed are
//! alike but not the same, since the system schedules processes as it likes.

mod check;
mod client;
mod history;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    root,
    server::{Server, Start},
    step::{self, Count},
};
use client::{Client, Known, Pool};
use history::{Action, Event};

/// How to torture.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// How often the server is killed.
    #[arg(long, default_value_t = 200)]
    rounds: u32,
    /// 20 rounds, then every planted bug: what script/test runs.
    #[arg(long)]
    quick: bool,
    /// Every planted bug, and no rounds without.
    #[arg(long)]
    planted: bool,
    /// What decides about the random choices; chosen and printed when not given.
    #[arg(long)]
    seed: Option<u64>,
}

/// What the rig has to see, and words of the violation that it has to see it by. Each is a switch
/// in the code, on only in a build for this rig.
const PLANTED_BUGS: [(&str, &str); 7] = [
    ("ack_before_commit", "acknowledged"),
    ("revoke_keeps_memory_copy", "accepted after its revoke"),
    ("revoke_user_without_epoch", "accepted after its revoke"),
    ("merge_overwrites_fields", "field "),
    ("old_token_survives_rotation", "replaced token"),
    ("once_not_recorded", "idempotency key"),
    ("revoke_not_written", "accepted after its revoke"),
];
/// A planted bug that is not seen in so many rounds is one that the rig does not see.
const ROUNDS_FOR_A_BUG: u32 = 12;
const ROUNDS_QUICK: u32 = 20;
/// After so many rounds a new data folder is taken, and everything in the old one is checked.
const ROUNDS_PER_FOLDER: u32 = 10;
const CLIENTS: usize = 8;
/// Sessions of earlier rounds that are looked at again after each restart.
const OLD_SESSIONS: usize = 100;

/// As the user asked.
///
/// # Errors
/// The first violation, or the planted bugs that were not seen.
pub(crate) fn run(options: &Options) -> Result<()> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    if !options.planted {
        let rounds = if options.quick { ROUNDS_QUICK } else { options.rounds };
        let binary = build(&[], "mainstay")?;
        let started = Instant::now();
        let report = torture(&binary, None, "", rounds, seed)?;
        println!(
            "{rounds} rounds in {:.0} s: {} calls, {} acknowledged, {} of unknown outcome",
            started.elapsed().as_secs_f64(),
            report.calls,
            report.acknowledged,
            report.calls - report.acknowledged
        );
        ensure!(report.violations.is_empty(), "seed {seed}: violations:\n{}", report.violations.join("\n"));
    }
    if options.planted || options.quick {
        planted(seed)?;
    }
    Ok(())
}

/// What script/test runs.
pub(crate) fn quick() -> Result<Count> {
    run(&Options { rounds: 0, quick: true, planted: false, seed: None })?;
    Ok(Count::default())
}

fn planted(seed: u64) -> Result<()> {
    let binary = build(&["--features", "mainstay-core/planted-bugs"], "mainstay-planted")?;
    let mut unseen = Vec::new();
    for (bug, words) in PLANTED_BUGS {
        let report = torture(&binary, Some(bug), words, ROUNDS_FOR_A_BUG, seed)?;
        match report.violations.iter().find(|violation| violation.contains(words)) {
            Some(violation) => {
                let first = violation.lines().next().unwrap_or_default();
                println!("{bug}: caught in round {}: {first}", report.rounds);
            }
            None => {
                println!("{bug}: NOT caught in {} rounds", report.rounds);
                unseen.push(bug);
            }
        }
    }
    ensure!(unseen.is_empty(), "the rig does not see: {}", unseen.join(", "));
    println!("{} of {} planted bugs caught", PLANTED_BUGS.len(), PLANTED_BUGS.len());
    Ok(())
}

/// Builds the server and puts a copy where no other build replaces it.
fn build(features: &[&str], name: &str) -> Result<PathBuf> {
    step::run("cargo", &[&["build", "-q", "--locked", "--package", "mainstay-server"], features].concat())?;
    let target = root()?.join("target");
    let folder = target.join("torture");
    std::fs::create_dir_all(&folder)?;
    let copy = folder.join(name);
    // Not written over: a server that runs from it would make that fail.
    let fresh = folder.join(format!("{name}.{}", std::process::id()));
    std::fs::copy(target.join("debug/mainstay"), &fresh).context("the server's binary")?;
    std::fs::rename(&fresh, &copy)?;
    Ok(copy)
}

#[derive(Debug, Default)]
struct Report {
    rounds: u32,
    calls: usize,
    acknowledged: usize,
    violations: Vec<String>,
}

/// Runs rounds until one shows a violation with these words in it.
fn torture(binary: &Path, bug: Option<&'static str>, words: &str, rounds: u32, seed: u64) -> Result<Report> {
    let mut report = Report::default();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut folder = Folder::new(binary, bug)?;
    for round in 1..=rounds {
        report.rounds = round;
        let full = round % ROUNDS_PER_FOLDER == 0 || round == rounds;
        report.violations = folder.round(round, full, &mut rng)?;
        let new = &folder.history[folder.round_began..];
        report.calls += new.len();
        report.acknowledged += new.iter().filter(|event| event.answer.is_acknowledged()).count();
        if bug.is_none() && (full || !report.violations.is_empty()) {
            println!("round {round}: {} calls so far, {} acknowledged", report.calls, report.acknowledged);
        }
        if report.violations.iter().any(|violation| violation.contains(words)) {
            if bug.is_none() {
                println!("the data folder is kept: {}", folder.keep().display());
            }
            break;
        }
        if full && round < rounds {
            folder = Folder::new(binary, bug)?;
        }
    }
    Ok(report)
}

/// A data folder, and everything that happened in it.
struct Folder {
    place: tempfile::TempDir,
    start: Start,
    origin: Instant,
    history: Vec<Event>,
    /// Where the current round begins in the history.
    round_began: usize,
    known: Vec<Known>,
}

impl Folder {
    fn new(binary: &Path, bug: Option<&'static str>) -> Result<Self> {
        let place = tempfile::tempdir()?;
        let start = Start {
            binary: binary.to_owned(),
            data_dir: place.path().join("data"),
            admin_token: Start::random_token(),
            bug,
        };
        Ok(Self {
            place,
            start,
            origin: Instant::now(),
            history: Vec::new(),
            round_began: 0,
            known: Vec::new(),
        })
    }

    /// Load, kill -9 at a random moment, integrity check, restart, look at everything, check.
    fn round(&mut self, round: u32, full: bool, rng: &mut fastrand::Rng) -> Result<Vec<String>> {
        self.round_began = self.history.len();
        let mut server = Server::start(&self.start)?;
        let pool = Pool::default();
        let kill_after = Duration::from_millis(rng.u64(100..900));
        let clients: Vec<_> =
            (0..CLIENTS).map(|_| (self.client(&server), fastrand::Rng::with_seed(rng.u64(..)))).collect();
        let histories = std::thread::scope(|scope| -> Result<Vec<Vec<Event>>> {
            let workers: Vec<_> = clients
                .into_iter()
                .enumerate()
                .map(|(number, (client, mut rng))| {
                    let pool = &pool;
                    scope.spawn(move || client::work(&client, pool, number, round, &mut rng))
                })
                .collect();
            std::thread::sleep(kill_after);
            server.kill()?;
            workers.into_iter().map(|worker| worker.join().ok().context("a client panicked")).collect()
        })?;
        self.history.extend(histories.into_iter().flatten());
        self.integrity()?;

        let server = Server::start(&self.start)?;
        let new = pool.all();
        self.look(&self.client(&server), &new, full, rng);
        self.known.extend(new);
        // Killed again: what the look wrote (nothing, or last-seen) must not matter.
        drop(server);
        Ok(check::check(&self.history))
    }

    fn client(&self, server: &Server) -> Client {
        Client::new(&server.url, &self.start.admin_token, self.origin)
    }

    /// Asks for everything that this round knows, and for some or all of what earlier rounds know.
    fn look(&mut self, client: &Client, new: &[Known], full: bool, rng: &mut fastrand::Rng) {
        rng.shuffle(&mut self.known);
        let old = if full { self.known.len() } else { self.known.len().min(OLD_SESSIONS) };
        let mut actions = BTreeSet::new();
        for known in new.iter().chain(&self.known[..old]) {
            actions.extend(known.tokens.iter().map(|token| Action::Check { token: token.clone() }));
            actions.insert(Action::List { user: known.user.clone() });
        }
        for event in &self.history[if full { 0 } else { self.round_began }..] {
            match &event.action {
                Action::Create { key: Some(_), .. } => actions.insert(event.action.clone()),
                Action::CachePut { key, .. } => actions.insert(Action::CacheGet { key: key.clone() }),
                _ => continue,
            };
        }
        self.history.extend(actions.into_iter().map(|action| client.call(action)));
    }

    /// `mainstay doctor` on the folder that a killed server left.
    fn integrity(&self) -> Result<()> {
        let output = Command::new(&self.start.binary)
            .args(["doctor", "--data-dir"])
            .arg(&self.start.data_dir)
            .arg("--json")
            .current_dir(self.place.path())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("mainstay doctor after kill -9: {text}{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Leaves the folder on disk for who looks into it.
    fn keep(self) -> PathBuf {
        self.place.keep()
    }
}
