//! The server as a process of its own.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

/// A process that answers HTTP; dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) url: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; there is nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `mainstay serve`.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    pub(crate) url: String,
    /// The admin token.
    pub(crate) token: String,
    /// From the start of the process to the first answer that it is ready.
    pub(crate) ready_after: Duration,
}

impl Server {
    /// Starts it on a free port and returns when it is ready.
    ///
    /// # Errors
    /// When it is not ready within 30 s.
    pub(crate) fn start(binary: &Path, data_dir: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        // One for the whole run, since a data folder keeps the one of its first start.
        let token = format!("bench-{:032x}", std::process::id());
        let url = format!("http://127.0.0.1:{port}");
        let started = Instant::now();
        let child = Command::new(binary)
            .arg("serve")
            .current_dir(data_dir.parent().context("the data folder has a parent")?)
            .env("MAINSTAY_LISTEN", format!("127.0.0.1:{port}"))
            .env("MAINSTAY_DATA_DIR", data_dir)
            .env("MAINSTAY_ADMIN_TOKEN", &token)
            .env("MAINSTAY_LOG", "warn")
            .env_remove("DATABASE_URL")
            .env_remove("REDIS_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("{} does not start", binary.display()))?;
        let process = Process { child, url: url.clone() };
        let probe = format!("{url}/readyz");
        while ureq::get(&probe).call().is_err() {
            ensure!(started.elapsed() < Duration::from_secs(30), "the server is not ready after 30 s");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Self { process, url, token, ready_after: started.elapsed() })
    }

    /// Memory of the process that is in RAM, in bytes.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        let kb: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kb * 1024)
    }
}
