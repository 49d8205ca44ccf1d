//! What happens when the disk takes no more: a limit on the size of files stands in for it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

const ADMIN: &str = "the-admin-token-of-this-test";
/// In kibibytes; files of a fresh server are smaller.
const FILE_KIB: u64 = 2048;

/// A server that is stopped with the test, however it ends.
struct Server {
    process: Child,
    url: String,
    client: ureq::Agent,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start(folder: &Path) -> Self {
        // An ignored signal turns the limit into an error of the write, as a full disk is.
        let script = format!("trap '' XFSZ; ulimit -S -f {}; exec \"$0\" \"$@\"", FILE_KIB * 2);
        let mut process = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_mainstay"), "serve", "--listen", "127.0.0.1:0"])
            .env("MAINSTAY_DATA_DIR", folder)
            .env("MAINSTAY_ADMIN_TOKEN", ADMIN)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let url = loop {
            let line = lines.next().expect("the server ended").unwrap();
            if let Some(at) = line.find("http://127.0.0.1:") {
                break line[at..].split_whitespace().next().unwrap().to_owned();
            }
        };
        let client = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        Self { process, url, client }
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let mut answer = self
            .client
            .post(format!("{}{path}", self.url))
            .header("Authorization", format!("Bearer {ADMIN}"))
            .send_json(body)
            .unwrap();
        let status = answer.status().as_u16();
        let retry_after = answer.headers().contains_key("retry-after");
        assert_eq!(retry_after, status == 503, "503 says when to try again");
        (status, answer.body_mut().read_json().unwrap_or(Value::Null))
    }

    fn status(&self, path: &str) -> u16 {
        let request = self.client.get(format!("{}{path}", self.url));
        request.header("Authorization", format!("Bearer {ADMIN}")).call().unwrap().status().as_u16()
    }

    fn create(&self, n: usize) -> (u16, Value) {
        self.post("/v1/sessions", &json!({"user": format!("u{n}"), "data": {"fill": "x".repeat(60_000)}}))
    }

    fn is_live(&self, token: &Value) -> bool {
        self.post("/v1/sessions/check", &json!({ "token": token })).0 == 200
    }

    /// Takes the limit away while the server runs.
    fn make_room(&self) {
        let pid = self.process.id().to_string();
        let done = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status().unwrap();
        assert!(done.success());
    }
}

#[test]
fn a_full_disk_refuses_writes_keeps_reads_and_passes_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut acknowledged = Vec::new();
    let refused = (0..500).find_map(|n| match server.create(n) {
        (201, body) => {
            acknowledged.push(body["token"].clone());
            None
        }
        refused => Some(refused),
    });

    let (status, problem) = refused.expect("the disk has a limit");
    assert_eq!((status, &problem["code"]), (503, &json!("unavailable")), "{problem}");
    assert_eq!(server.status("/livez"), 200);
    // A large write did not fit; what room is left is used up by the probe's own small ones.
    assert!((0..2000).any(|_| server.status("/readyz") == 503), "writes fail and readiness says so");
    for token in &acknowledged {
        assert!(server.is_live(token), "an acknowledged session is served");
    }
    assert_eq!(server.create(1000).0, 503);

    server.make_room();
    let (status, body) = server.create(1001);
    assert_eq!(status, 201, "{body}");
    assert_eq!(server.status("/readyz"), 200);
    acknowledged.push(body["token"].clone());
    drop(server);

    let again = Server::start(folder.path());
    again.make_room();
    for token in &acknowledged {
        assert!(again.is_live(token), "an acknowledged session is there after a restart");
    }
}
