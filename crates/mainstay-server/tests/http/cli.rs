//! The binary: what it prints and how it ends.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    process::{Child, Command, Output, Stdio},
    thread::JoinHandle,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::server::{ADMIN, Client, Server};

/// A `mainstay serve` of its own process.
pub(crate) struct Served {
    child: Child,
    address: SocketAddr,
    greeting: String,
    stdout: BufReader<std::process::ChildStdout>,
    stderr: Option<JoinHandle<String>>,
}

/// What a process wrote before it ended.
pub(crate) struct Written {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

impl Served {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().map(|mut stderr| {
            // Read while it runs: a full pipe would stop the server.
            std::thread::spawn(move || {
                let mut text = String::new();
                let _ = stderr.read_to_string(&mut text);
                text
            })
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        stdout.read_line(&mut greeting).unwrap();
        let address = greeting.rsplit("http://").next().unwrap().trim().parse().unwrap();
        Self { child, address, greeting, stdout, stderr }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Stops it as a service manager does.
    pub(crate) fn stop(mut self) -> Written {
        self.signal(Signal::TERM);
        let mut stdout = std::mem::take(&mut self.greeting);
        self.stdout.read_to_string(&mut stdout).unwrap();
        let code = self.child.wait().unwrap().code();
        let stderr = self.stderr.take().map(|reader| reader.join().unwrap()).unwrap_or_default();
        Written { stdout, stderr, code }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn mainstay() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    // Nothing of the shell that runs the tests.
    for (name, _) in
        std::env::vars().filter(|(name, _)| name.starts_with("MAINSTAY_") || name.ends_with("_URL"))
    {
        command.env_remove(name);
    }
    command
}

/// Runs a command that talks to `server`.
fn run(server: &Server, args: &[&str]) -> Output {
    let mut command = mainstay();
    command
        .args(args)
        .args(["--url", &server.url()])
        .env("MAINSTAY_TOKEN", ADMIN)
        .current_dir(server.folder());
    command.stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn expect(output: Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(code), "stdout: {stdout}\nstderr: {stderr}");
    stdout
}

fn serve(folder: &std::path::Path) -> Command {
    let mut command = mainstay();
    command.args(["serve", "--listen", "127.0.0.1:0"]).current_dir(folder).stderr(Stdio::piped());
    command
}

#[test]
fn the_first_start_prints_a_token_and_curls_that_work_as_typed() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = Served::start(&mut serve(folder.path()));
    let mut curls = Vec::new();
    let mut token = String::new();
    while curls.len() < 3 {
        let mut line = String::new();
        assert!(served.stdout.read_line(&mut line).unwrap() > 0, "there are only {} curl lines", curls.len());
        if let Some((_, shown)) = line.split_once("admin token, shown only now: ") {
            token = shown.trim().to_owned();
        }
        if line.trim().starts_with("curl ") {
            curls.push(line.trim().to_owned());
        }
    }
    Client::new(served.address(), &token).get("/v1/tokens").expect(200);
    for curl in &curls {
        let output = Command::new("sh").args(["-c", &format!("{curl} --fail")]).output().unwrap();
        assert!(output.status.success(), "{curl}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap();
    }
    let written = served.stop();
    assert_eq!(written.code, Some(0));
    assert!(!written.stderr.contains(&token));

    let again = Served::start(&mut serve(folder.path()));
    Client::new(again.address(), &token).get("/v1/tokens").expect(200);
    assert!(!again.stop().stdout.contains("token"));
}

#[test]
fn a_second_server_on_the_folder_is_told_what_to_do() {
    let server = Server::start();
    let mut command = mainstay();
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(server.data_dir());
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{stderr}");
    assert!(stderr.contains("use another folder"), "{stderr}");
    server.admin().session("alice");
}

#[test]
fn an_address_that_is_taken_is_said_and_nothing_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output =
        mainstay().args(["serve", "--listen", &address]).current_dir(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&address));
    assert!(!folder.path().join("mainstay-data").exists());
}

#[test]
fn wrong_settings_are_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |command: &mut Command, word: &str| {
        let output = command.current_dir(folder.path()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(word), "{stderr}");
    };
    fails(mainstay().args(["serve", "--listen", "nowhere"]), "--listen");
    fails(mainstay().args(["serve", "--config", "none.toml"]), "none.toml");
    fails(mainstay().arg("serve").env("DATABASE_URL", "postgres://u:hunter2@h/db"), "SQLite only");
    fails(mainstay().arg("serve").env("MAINSTAY_HEADER_TIMEOUT", "soon"), "MAINSTAY_HEADER_TIMEOUT");
    fails(mainstay().args(["serve", "--fast"]), "--fast");
    fails(&mut mainstay(), "Usage");
    std::fs::write(folder.path().join("mainstay.toml"), "dat_dir = \"x\"").unwrap();
    fails(mainstay().arg("serve"), "did you mean data_dir?");
}

#[test]
fn healthcheck_tells_ready_from_unreachable() {
    let server = Server::start();
    expect(run(&server, &["healthcheck"]), 0);
    let url = server.url();
    drop(server);
    let output = mainstay().args(["healthcheck", "--url", &url]).output().unwrap();
    expect(output, 5);
}

#[test]
fn sessions_are_listed_shown_and_revoked() {
    let server = Server::start();
    let (_, id) = server.admin().session("alice");
    server.admin().session("alice");
    let table = expect(run(&server, &["sessions", "ls", "alice"]), 0);
    assert!(table.contains(&id) && table.contains("LAST SEEN AT"), "{table}");
    assert!(!table.contains('\u{1b}'));
    let listed: Value =
        serde_json::from_str(&expect(run(&server, &["sessions", "ls", "alice", "--json"]), 0)).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(listed[1]["id"], *id);
    let shown: Value =
        serde_json::from_str(&expect(run(&server, &["sessions", "show", &id, "--json"]), 0)).unwrap();
    assert_eq!(shown["user"], "alice");
    expect(run(&server, &["sessions", "revoke", &id]), 0);
    expect(run(&server, &["sessions", "revoke", &id]), 3);
    expect(run(&server, &["sessions", "show", "../tokens"]), 3);
    let revoked = expect(run(&server, &["sessions", "revoke-all", "alice", "--json"]), 0);
    assert_eq!(revoked.trim(), r#"{"revoked":1}"#);
    assert!(expect(run(&server, &["sessions", "stats"]), 0).contains("active"));
    expect(run(&server, &["sessions", "ls", "no good"]), 2);
    assert_eq!(expect(run(&server, &["sessions", "ls", "alice", "--json"]), 0).trim(), "[]");
}

#[test]
fn cached_values_are_put_got_and_removed() {
    let server = Server::start();
    expect(run(&server, &["cache", "put", "ns", "a/b", "hello", "--ttl", "1h", "--tag", "t"]), 0);
    assert_eq!(expect(run(&server, &["cache", "get", "ns", "a/b"]), 0), "hello");
    expect(run(&server, &["cache", "invalidate", "--tag", "t"]), 0);
    expect(run(&server, &["cache", "get", "ns", "a/b"]), 3);
    expect(run(&server, &["cache", "put", "ns", "b", "x"]), 0);
    assert!(expect(run(&server, &["cache", "stats"]), 0).contains("ns"));
    expect(run(&server, &["cache", "rm", "ns", "b"]), 0);
    expect(run(&server, &["cache", "clear", "ns"]), 0);
    expect(run(&server, &["cache", "invalidate", "--ns", "ns"]), 2);
    expect(run(&server, &["cache", "put", "ns", "b", "x", "--ttl", "soon"]), 2);
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let server = Server::start();
    let secret =
        expect(run(&server, &["token", "create", "backend", "--scope", "cache:read", "--app", "shop"]), 0);
    Client::new(server.address, secret.trim()).get("/v1/cache/stats").expect(200);
    let listed: Value = serde_json::from_str(&expect(run(&server, &["token", "ls", "--json"]), 0)).unwrap();
    assert_eq!((&listed[0]["name"], &listed[0]["app"]), (&"backend".into(), &"shop".into()));
    let id = listed[0]["id"].as_str().unwrap();
    expect(run(&server, &["token", "revoke", id]), 0);
    expect(run(&server, &["token", "revoke", id]), 3);
    expect(run(&server, &["token", "create", "x", "--scope", "root"]), 2);

    let mut command = mainstay();
    command
        .args(["token", "create", "x", "--scope", "admin", "--offline", "--data-dir"])
        .arg(server.data_dir());
    expect(command.output().unwrap(), 5);
}

#[test]
fn a_token_can_be_made_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = mainstay();
    command.args(["token", "create", "rescue", "--scope", "admin", "--offline"]).current_dir(folder.path());
    let secret = expect(command.output().unwrap(), 0);
    let served = Served::start(&mut serve(folder.path()));
    Client::new(served.address(), secret.trim()).get("/v1/tokens").expect(200);
    assert_eq!(served.stop().code, Some(0));
}

#[test]
fn a_wrong_token_is_a_failure_with_a_reason() {
    let server = Server::start();
    let output = mainstay().args(["sessions", "stats", "--url", &server.url()]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("MAINSTAY_TOKEN"), "{stderr}");
}

#[test]
fn doctor_looks_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let doctor = |args: &[&str]| {
        let mut command = mainstay();
        // A port on which nobody listens.
        command
            .args(["doctor", "--json", "--url", "http://127.0.0.1:1"])
            .args(args)
            .current_dir(folder.path());
        command.output().unwrap()
    };
    let fresh: Value = serde_json::from_str(&expect(doctor(&[]), 0)).unwrap();
    let checks: Vec<_> = fresh.as_array().unwrap().iter().map(|row| row["check"].as_str().unwrap()).collect();
    assert_eq!(checks, ["config", "folder", "file system", "space", "sqlite", "clock", "server"]);
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());

    let server = Server::start();
    let held = server.data_dir().display().to_string();
    let running = expect(doctor(&["--data-dir", &held]), 0);
    assert!(running.contains("not looked into"), "{running}");
    drop(server);

    expect(mainstay().args(["migrate", "--json"]).current_dir(folder.path()).output().unwrap(), 0);
    assert!(expect(doctor(&[]), 0).contains("every page"));
    let file = folder.path().join("mainstay-data/mainstay.db");
    std::fs::write(file, b"this is not a database, whatever its name may be").unwrap();
    assert!(expect(doctor(&[]), 1).contains("\"fail\""));
    std::fs::write(folder.path().join("mainstay.toml"), "listen = 7070").unwrap();
    expect(doctor(&[]), 1);
}

#[test]
fn completions_and_bench_run() {
    let server = Server::start();
    assert!(expect(run(&server, &["completions", "bash"]), 0).contains("mainstay"));
    let figures = expect(run(&server, &["bench", "--time", "100ms", "--tasks", "4", "--json"]), 0);
    let figures: Value = serde_json::from_str(&figures).unwrap();
    assert!(figures.as_array().unwrap().iter().all(|figure| figure["per_second"].as_f64().unwrap() > 0.0));
    expect(run(&server, &["bench", "--server", "--time", "100ms", "--tasks", "4"]), 0);
}

#[test]
fn a_second_signal_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = Served::start(serve(folder.path()).env("MAINSTAY_DRAIN_TIMEOUT", "1h"));
    let mut open = std::net::TcpStream::connect(served.address()).unwrap();
    std::io::Write::write_all(&mut open, b"GET /livez HTTP/1.1\r\n").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    served.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(300));
    assert!(served.child.try_wait().unwrap().is_none(), "it did not wait for what is open");
    served.signal(Signal::TERM);
    assert_eq!(served.child.wait().unwrap().code(), Some(1));
}
