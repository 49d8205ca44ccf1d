//! Secrets stay where they belong: canaries in every secret field, and then a look into everything
//! that the server wrote.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::{
    cli::Served,
    server::{Client, Server},
};

const CANARY: &str = "canary-7f3a9c";

#[test]
fn no_error_repeats_a_secret() {
    let server = Server::start();
    let secret = |body: serde_json::Value| body.to_string();
    let bodies = [
        secret(json!({ "token": CANARY })),
        secret(json!({ "token": { CANARY: 1 } })),
        secret(json!({ "token": [CANARY] })),
        secret(json!({ "token": CANARY, "touch": CANARY })),
        secret(json!({ "token": CANARY, "grace_ms": CANARY })),
        format!("{{\"token\":\"{CANARY}\""),
        format!("\"{CANARY}\""),
        format!("{{\"token\":\"{CANARY}\\u0000\"}}"),
    ];
    for body in &bodies {
        for path in ["/v1/sessions/check", "/v1/sessions/rotate", "/v1/sessions", "/v1/tokens"] {
            let refused = server.admin().send("POST", path, Some(("application/json", body.as_bytes())));
            assert!((400..500).contains(&refused.status), "{path} {body}: {}", refused.status);
            let text = String::from_utf8_lossy(&refused.bytes);
            assert!(!text.contains(CANARY), "{path} {body}: {text}");
        }
    }
    let refused = Client::new(server.address, CANARY).get("/v1/sessions/stats").expect(401);
    assert!(!String::from_utf8_lossy(&refused.bytes).contains(CANARY));
}

#[test]
fn no_secret_reaches_the_log_or_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let admin = format!("{CANARY}-admin");
    let served = Served::start(
        Command::new(env!("CARGO_BIN_EXE_mainstay"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path().join("data"))
            .env("MAINSTAY_ADMIN_TOKEN", &admin)
            .env("MAINSTAY_LOG", "trace")
            .env("REDIS_URL", format!("redis://:{CANARY}-redis@localhost"))
            .stderr(Stdio::piped()),
    );
    let client = Client::new(served.address(), &admin);
    let (token, id) = client.session("alice");
    client.check(&token).expect(200);
    client.check(&format!("{CANARY}-session")).expect(401);
    let rotated = client.post("/v1/sessions/rotate", &json!({ "token": token, "grace_ms": 0 })).expect(200);
    let next = rotated.body["token"].as_str().unwrap().to_owned();
    let api = client.post("/v1/tokens", &json!({ "name": "x", "scopes": ["admin"] })).expect(201);
    let api = api.body["token"].as_str().unwrap().to_owned();
    Client::new(served.address(), &api).get("/v1/tokens").expect(200);
    Client::new(served.address(), &format!("{CANARY}-foreign")).get("/v1/tokens").expect(401);
    client.send(
        "POST",
        "/v1/sessions/check",
        Some(("application/json", format!("{{\"token\":\"{CANARY}").as_bytes())),
    );
    client.delete(&format!("/v1/sessions/{id}")).expect(204);
    let written = served.stop();
    assert!(written.stderr.contains("serving"), "{}", written.stderr);
    for secret in [CANARY, token.as_str(), next.as_str(), api.as_str()] {
        assert!(!written.stderr.contains(secret), "{secret} in the log:\n{}", written.stderr);
        assert!(!written.stdout.contains(secret), "{secret} on standard output");
        for file in std::fs::read_dir(folder.path().join("data")).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(
                !bytes.windows(secret.len()).any(|window| window == secret.as_bytes()),
                "{secret} on the disk"
            );
        }
    }
}
