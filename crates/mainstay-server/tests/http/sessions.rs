//! Sessions over HTTP.

use std::time::Duration;

use serde_json::{Value, json};

use crate::server::Server;

fn time(value: &Value) -> i64 {
    mainstay_core::Timestamp::parse("time", value.as_str().unwrap()).unwrap().as_millis()
}

#[test]
fn a_created_session_has_exactly_the_documented_fields() {
    let server = Server::start();
    let body = json!({
        "user": "alice", "kind": "mobile", "data": { "role": "editor" }, "metadata": { "note": "vip" },
        "device": { "user_agent": "curl/8", "ip": "192.0.2.7", "name": "laptop" },
        "idle_ms": 60_000, "absolute_ms": 120_000,
    });
    let created = server.admin().post("/v1/sessions", &body).expect(201).body;
    let session = &created["session"];
    let fields: Vec<_> = session.as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        fields,
        [
            "absolute_expires_at",
            "created_at",
            "data",
            "device",
            "id",
            "idle_expires_at",
            "kind",
            "last_seen_at",
            "metadata",
            "second_factor",
            "user"
        ]
    );
    for field in ["user", "kind", "data", "metadata", "device"] {
        assert_eq!(session[field], body[field], "{field}");
    }
    assert_eq!(session["second_factor"], Value::Null);
    assert_eq!(time(&session["idle_expires_at"]) - time(&session["created_at"]), 60_000);
    assert_eq!(time(&session["absolute_expires_at"]) - time(&session["created_at"]), 120_000);
    let token = created["token"].as_str().unwrap();
    assert!(token.len() >= 43, "256 bits do not fit in {} characters", token.len());

    let checked = server.admin().check(token).expect(200).body;
    assert_eq!(checked, json!({ "session": session }));
    let id = session["id"].as_str().unwrap();
    let shown = server.admin().get(&format!("/v1/sessions/{id}")).expect(200).body;
    assert_eq!(shown, json!({ "session": session }));
    assert!(!shown.to_string().contains(token));
}

#[test]
fn every_token_that_opens_nothing_gets_the_same_answer() {
    let server = Server::start();
    let (token, id) = server.admin().session("alice");
    server.admin().delete(&format!("/v1/sessions/{id}")).expect(204);
    let (cut, _) = server.admin().session("bob");
    for token in ["", "x", &token, &cut[1..], &"A".repeat(5000), "\u{e9}"] {
        let refused = server.admin().check(token).expect(401);
        assert_eq!(refused.code(), "session_invalid");
        assert_eq!(refused.body["detail"], "The session is unknown, has expired or was revoked.");
        assert_eq!(refused.header("www-authenticate"), "");
    }
}

#[test]
fn a_revoked_session_is_gone_and_a_second_revoke_finds_nothing() {
    let server = Server::start();
    let (token, id) = server.admin().session("alice");
    let path = format!("/v1/sessions/{id}");
    server.admin().delete(&path).expect(204);
    server.admin().check(&token).expect(401);
    server.admin().get(&path).expect(404);
    server.admin().delete(&path).expect(404);
    server.admin().patch(&path, &json!({ "data": {} })).expect(404);
    server.admin().post(&format!("{path}/extend"), &json!({ "idle_ms": 1000 })).expect(404);
}

#[test]
fn a_session_ends_by_itself() {
    let server = Server::start();
    let body = json!({ "user": "alice", "idle_ms": 40, "absolute_ms": 40 });
    let created = server.admin().post("/v1/sessions", &body).expect(201).body;
    let token = created["token"].as_str().unwrap();
    let ended = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        server.admin().check(token).status == 401
    });
    assert!(ended);
}

#[test]
fn a_rotation_gives_the_next_token_and_keeps_the_id() {
    let server = Server::start();
    let (old, id) = server.admin().session("alice");
    let rotate = |token: &str, grace_ms| {
        server.admin().post("/v1/sessions/rotate", &json!({ "token": token, "grace_ms": grace_ms }))
    };
    let rotated = rotate(&old, 60_000).expect(200).body;
    let new = rotated["token"].as_str().unwrap();
    assert_ne!(new, old);
    assert_eq!(rotated["session"]["id"], *id);
    server.admin().check(&old).expect(200);
    server.admin().check(new).expect(200);
    assert_eq!(rotate(&old, 60_000).expect(200).body["token"], new);

    let last = rotate(new, 0).expect(200).body;
    server.admin().check(new).expect(401);
    server.admin().check(last["token"].as_str().unwrap()).expect(200);
    assert_eq!(rotate("nonsense", 0).expect(401).code(), "session_invalid");
}

#[test]
fn a_patch_merges_fields_and_null_removes_one() {
    let server = Server::start();
    let body = json!({ "user": "alice", "data": { "a": 1, "b": { "x": 1 } }, "metadata": { "m": 1 } });
    let created = server.admin().post("/v1/sessions", &body).expect(201).body;
    let path = format!("/v1/sessions/{}", created["session"]["id"].as_str().unwrap());
    let patch = json!({ "data": { "a": null, "c": [1.50, "é"] }, "metadata": { "n": 2 } });
    let patched = server.admin().patch(&path, &patch).expect(200).body;
    assert_eq!(patched["session"]["data"], json!({ "b": { "x": 1 }, "c": [1.5, "é"] }));
    assert_eq!(patched["session"]["metadata"], json!({ "m": 1, "n": 2 }));

    let verified =
        server.admin().patch(&path, &json!({ "second_factor": { "context": "both" } })).expect(200).body;
    assert_eq!(verified["session"]["second_factor"]["context"], "both");
    assert!(verified["session"]["second_factor"]["verified_at"].is_string());
    let kept = server.admin().patch(&path, &json!({ "data": { "d": 1 } })).expect(200).body;
    assert_eq!(kept["session"]["second_factor"]["context"], "both");
    let cleared = server.admin().patch(&path, &json!({ "second_factor": null })).expect(200).body;
    assert_eq!(cleared["session"]["second_factor"], Value::Null);
}

#[test]
fn payload_text_and_numbers_come_back_byte_for_byte() {
    let server = Server::start();
    let data = r#"{"e":1.0e-7,"n":9007199254740991,"s":"\u00e9 é 😀 \u202e \u200b","z":1.10}"#;
    let body = format!(r#"{{"user":"alice","data":{data}}}"#);
    let created =
        server.admin().send("POST", "/v1/sessions", Some(("application/json", body.as_bytes()))).expect(201);
    assert!(String::from_utf8(created.bytes).unwrap().contains(data));
}

#[test]
fn extending_never_shortens() {
    let server = Server::start();
    let body = json!({ "user": "alice", "idle_ms": 600_000, "absolute_ms": 600_000 });
    let session = server.admin().post("/v1/sessions", &body).expect(201).body["session"].clone();
    let path = format!("/v1/sessions/{}/extend", session["id"].as_str().unwrap());
    let extend = |body| server.admin().post(&path, &body).expect(200).body["session"].clone();
    let same = extend(json!({ "idle_ms": 1000, "absolute_ms": 1000 }));
    assert_eq!(same["idle_expires_at"], session["idle_expires_at"]);
    assert_eq!(same["absolute_expires_at"], session["absolute_expires_at"]);
    let longer = extend(json!({ "idle_ms": 1_200_000, "absolute_ms": 1_200_000 }));
    assert!(time(&longer["absolute_expires_at"]) > time(&session["absolute_expires_at"]));
    assert!(time(&longer["idle_expires_at"]) <= time(&longer["absolute_expires_at"]));
}

#[test]
fn a_list_is_newest_first_in_pages_and_knows_the_current_one() {
    let server = Server::start();
    let ids: Vec<String> = (0..5).map(|_| server.admin().session("alice").1).collect();
    server.admin().session("bob");
    let mut seen = Vec::new();
    let mut path = "/v1/users/alice/sessions?limit=2".to_owned();
    loop {
        let page = server.admin().get(&path).expect(200).body;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/users/alice/sessions?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, ids.iter().rev().cloned().collect::<Vec<_>>());

    let marked = server.admin().get(&format!("/v1/users/alice/sessions?current={}", ids[3])).expect(200).body;
    let current: Vec<_> = marked["items"].as_array().unwrap().iter().map(|item| &item["current"]).collect();
    assert_eq!(current, [false, true, false, false, false]);
    let nobody = server.admin().get("/v1/users/nobody/sessions").expect(200).body;
    assert_eq!(nobody, json!({ "items": [], "next_cursor": null }));
}

#[test]
fn revoking_all_but_one_leaves_one() {
    let server = Server::start();
    let sessions: Vec<_> = (0..4).map(|_| server.admin().session("alice")).collect();
    let (kept, id) = &sessions[2];
    let revoked = server.admin().delete(&format!("/v1/users/alice/sessions?except={id}")).expect(200).body;
    assert_eq!(revoked, json!({ "revoked": 3 }));
    for (token, _) in &sessions {
        server.admin().check(token).expect(if token == kept { 200 } else { 401 });
    }
    assert_eq!(server.admin().delete("/v1/users/alice/sessions").expect(200).body, json!({ "revoked": 1 }));
    assert_eq!(server.admin().delete("/v1/users/alice/sessions").expect(200).body, json!({ "revoked": 0 }));
}

#[test]
fn a_full_user_is_refused_or_loses_the_oldest() {
    let server = Server::start();
    let create = |on_max: &str| {
        let body = json!({ "user": "alice", "max_per_user": 2, "on_max": on_max });
        server.admin().post("/v1/sessions", &body)
    };
    let first = create("reject").expect(201).body["token"].as_str().unwrap().to_owned();
    create("reject").expect(201);
    assert_eq!(create("reject").expect(409).code(), "conflict");
    server.admin().check(&first).expect(200);
    create("evict_oldest").expect(201);
    server.admin().check(&first).expect(401);
    let left = server.admin().get("/v1/users/alice/sessions").expect(200).body;
    assert_eq!(left["items"].as_array().unwrap().len(), 2);
}

#[test]
fn stats_count_by_kind() {
    let server = Server::start();
    for kind in ["login", "login", "guest"] {
        server.admin().post("/v1/sessions", &json!({ "user": "alice", "kind": kind })).expect(201);
    }
    let (token, _) = server.admin().session("bob");
    server.admin().check(&token).expect(200);
    let stats = server.admin().get("/v1/sessions/stats").expect(200).body;
    assert_eq!(
        stats,
        json!({ "active": 4, "created_last_hour": 4, "checks_last_hour": 1, "by_kind": { "guest": 1, "login": 3 } })
    );
}

#[test]
fn an_idempotency_key_makes_one_session() {
    let server = Server::start();
    let body = json!({ "user": "alice", "data": { "a": 1, "b": 2 } });
    let keyed = server.admin().header("idempotency-key", "order 66");
    let first = keyed.post("/v1/sessions", &body).expect(201);
    assert_eq!(first.header("idempotency-replayed"), "");
    let respelled = br#"{ "data": {"b":2, "a":1}, "user": "alice" }"#;
    let again = keyed.send("POST", "/v1/sessions", Some(("application/json", respelled))).expect(201);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.body, first.body);
    let other = keyed.post("/v1/sessions", &json!({ "user": "bob" })).expect(422);
    assert_eq!(other.code(), "idempotency_mismatch");
    keyed.app("shop").post("/v1/sessions", &json!({ "user": "bob" })).expect(201);
    let sessions = server.admin().get("/v1/users/alice/sessions").expect(200).body;
    assert_eq!(sessions["items"].as_array().unwrap().len(), 1);
}

#[test]
fn one_idempotent_create_in_parallel_makes_one_session() {
    let server = Server::start();
    let client = server.admin().header("idempotency-key", "once");
    let ids: std::collections::HashSet<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..32).map(|_| scope.spawn(|| client.session("alice").1)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 1);
}

#[test]
fn peeking_does_not_count_as_use() {
    let server = Server::start();
    let (token, _) = server.admin().session("alice");
    let peek = json!({ "token": token, "touch": false });
    server.admin().post("/v1/sessions/check", &peek).expect(200);
    assert_eq!(server.admin().get("/v1/sessions/stats").expect(200).body["checks_last_hour"], 0);
}
