//! A real `mainstay serve` process on a free port.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// A running server; dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// As in `http://127.0.0.1:40123`.
    pub(crate) url: String,
}

/// How to start one.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// The binary `mainstay`.
    pub(crate) binary: PathBuf,
    /// Its data folder; its log goes to `server.log` beside it.
    pub(crate) data_dir: PathBuf,
    /// The admin token to be used at its first start.
    pub(crate) admin_token: String,
    /// The planted bug that this run should have, if the binary has bugs.
    pub(crate) bug: Option<&'static str>,
}

impl Start {
    /// A random admin token, so that no token stands in a file.
    pub(crate) fn random_token() -> String {
        (0..43).map(|_| fastrand::alphanumeric()).collect()
    }
}

const READY_WITHIN: Duration = Duration::from_secs(20);

impl Server {
    /// Starts a server and returns when it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready within 20 s; with the end of its log.
    pub(crate) fn start(start: &Start) -> Result<Self> {
        let log = start.data_dir.with_extension("log");
        // The port may be taken by another process before the server binds it: then it ends at once,
        // and another port is tried.
        for _ in 0..5 {
            let (child, url) = spawn(start, &log)?;
            let mut server = Self { child, url };
            if server.wait_until_ready()? {
                return Ok(server);
            }
        }
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        let tail: Vec<_> = log.lines().rev().take(20).collect();
        bail!(
            "{} did not start:\n{}",
            start.binary.display(),
            tail.into_iter().rev().collect::<Vec<_>>().join("\n")
        );
    }

    /// Kills it as `kill -9` does.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill().context("kill -9")?;
        self.child.wait().context("wait")?;
        Ok(())
    }

    /// `false`: the process ended.
    fn wait_until_ready(&mut self) -> Result<bool> {
        let deadline = Instant::now() + READY_WITHIN;
        let probe = format!("{}/readyz", self.url);
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(false);
            }
            if ureq::get(&probe).call().is_ok() {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("{probe} was not ready within {READY_WITHIN:?}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; there is nobody to tell.
        let _ = self.kill();
    }
}

fn spawn(start: &Start, log: &Path) -> Result<(Child, String)> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let out = File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(&start.binary);
    command
        .arg("serve")
        // A mainstay.toml in the working folder would be read.
        .current_dir(start.data_dir.parent().context("the data folder has a parent")?)
        .env("MAINSTAY_LISTEN", format!("127.0.0.1:{port}"))
        .env("MAINSTAY_DATA_DIR", &start.data_dir)
        .env("MAINSTAY_ADMIN_TOKEN", &start.admin_token)
        .env("MAINSTAY_LOG", "warn")
        .env_remove("MAINSTAY_PLANTED_BUG")
        .env_remove("DATABASE_URL")
        .env_remove("REDIS_URL")
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out);
    if let Some(bug) = start.bug {
        command.env("MAINSTAY_PLANTED_BUG", bug);
    }
    let child = command.spawn().with_context(|| format!("{} does not start", start.binary.display()))?;
    Ok((child, format!("http://127.0.0.1:{port}")))
}
