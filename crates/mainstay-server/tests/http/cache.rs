//! The cache over HTTP.

use std::time::Duration;

use serde_json::{Value, json};

use crate::server::Server;

#[test]
fn a_value_comes_back_byte_for_byte_with_its_content_type() {
    let server = Server::start();
    let bytes: Vec<u8> = (0..=255).collect();
    let stored = server.admin().put("/v1/cache/files/a", "image/x-test; v=1", &bytes).expect(204);
    assert!(stored.bytes.is_empty());
    let found = server.admin().get("/v1/cache/files/a").expect(200);
    assert_eq!(found.bytes, bytes);
    assert_eq!(found.header("content-type"), "image/x-test; v=1");
    assert_eq!(found.header("age"), "0");
    assert_eq!(found.header("x-cache"), "hit");

    let head = server.admin().send("HEAD", "/v1/cache/files/a", None).expect(200);
    assert_eq!(head.header("content-length"), "256");
    assert!(head.bytes.is_empty());
    server.admin().send("HEAD", "/v1/cache/files/b", None).expect(404);

    server.admin().put("/v1/cache/files/plain", "", b"").expect(204);
    let found = server.admin().get("/v1/cache/files/plain").expect(200);
    assert_eq!(found.header("content-type"), "application/octet-stream");
    assert!(found.bytes.is_empty());
}

#[test]
fn a_removed_value_is_not_found_and_may_be_removed_again() {
    let server = Server::start();
    server.admin().put("/v1/cache/ns/a", "text/plain", b"1").expect(204);
    server.admin().delete("/v1/cache/ns/a").expect(204);
    assert_eq!(server.admin().get("/v1/cache/ns/a").expect(404).code(), "not_found");
    server.admin().delete("/v1/cache/ns/a").expect(204);
}

#[test]
fn a_key_is_decoded_once_and_may_hold_anything_but_control_characters() {
    let server = Server::start();
    for key in ["a%2Fb", "%252F", "..%2F..", "%F0%9F%98%80", "a%20b", "a+b", "%3F%23", "*", "%5C", "%22'"] {
        let path = format!("/v1/cache/keys/{key}");
        server.admin().put(&path, "text/plain", key.as_bytes()).expect(204);
    }
    for key in ["a%2Fb", "%252F", "..%2F..", "%F0%9F%98%80", "a%20b", "a+b", "%3F%23", "*", "%5C", "%22'"] {
        assert_eq!(server.admin().get(&format!("/v1/cache/keys/{key}")).expect(200).bytes, key.as_bytes());
    }
    let found =
        server.admin().post("/v1/cache/keys/get", &json!({ "keys": ["a/b", "%2F", "a b"] })).expect(200);
    assert!(found.body["items"].as_object().unwrap().values().all(Value::is_object));
    for key in ["%00", "a%0Ab", "%7F", "%C2%85", &"x".repeat(513), "%FF", "%C0%AF"] {
        let refused = server.admin().put(&format!("/v1/cache/keys/{key}"), "text/plain", b"1").expect(422);
        assert_eq!((refused.code(), &refused.body["field"]), ("invalid", &json!("key")), "{key}");
    }
    server.admin().put(&format!("/v1/cache/keys/{}", "x".repeat(512)), "text/plain", b"1").expect(204);
    server.admin().put("/v1/cache/keys/a/b", "text/plain", b"1").expect(404);
}

#[test]
fn a_condition_decides_whether_a_value_is_stored() {
    let server = Server::start();
    let put = |condition: &str, value: &[u8]| {
        server.admin().put(&format!("/v1/cache/ns/a?if={condition}"), "text/plain", value)
    };
    assert_eq!(put("present", b"0").expect(412).code(), "precondition_failed");
    put("absent", b"1").expect(204);
    put("absent", b"2").expect(412);
    assert_eq!(server.admin().get("/v1/cache/ns/a").expect(200).bytes, b"1");
    put("present", b"3").expect(204);
    assert_eq!(server.admin().get("/v1/cache/ns/a").expect(200).bytes, b"3");
    assert_eq!(put("never", b"4").expect(422).body["field"], "if");
}

#[test]
fn of_many_conditional_puts_one_wins() {
    let server = Server::start();
    let client = server.admin();
    let won = std::thread::scope(|scope| {
        let put = || client.put("/v1/cache/ns/race?if=absent", "text/plain", b"1").status == 204;
        let threads: Vec<_> = (0..32).map(|_| scope.spawn(put)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|won| *won).count()
    });
    assert_eq!(won, 1);
}

#[test]
fn a_value_ends_with_its_time_and_may_be_served_stale_within_its_grace() {
    let server = Server::start();
    server.admin().put("/v1/cache/ns/short?ttl_ms=30&grace_ms=0", "text/plain", b"1").expect(204);
    server.admin().put("/v1/cache/ns/graceful?ttl_ms=30&grace_ms=600000", "text/plain", b"1").expect(204);
    let ended = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        server.admin().get("/v1/cache/ns/short").status == 404
    });
    assert!(ended);
    assert_eq!(server.admin().get("/v1/cache/ns/graceful").expect(200).header("x-cache"), "stale");
}

#[test]
fn a_batch_tells_each_key_apart() {
    let server = Server::start();
    let items = json!([
        { "key": "object", "json": { "a": [1, "007", null, ""] }, "tags": ["t"], "ttl_ms": 60_000 },
        { "key": "null", "json": null },
        { "key": "zero", "json": 0 },
        { "key": "text", "json": "{\"looks\":\"like json\"}" },
        { "key": "bytes", "value_base64": "AP8=" },
    ]);
    let stored = server.admin().post("/v1/cache/ns/put", &json!({ "items": items })).expect(200).body;
    assert_eq!(stored, json!({ "stored": 5 }));
    let keys = ["object", "null", "zero", "text", "bytes", "missing"];
    let found = server.admin().post("/v1/cache/ns/get", &json!({ "keys": keys })).expect(200).body;
    let found = &found["items"];
    assert_eq!(found["object"]["json"], items[0]["json"]);
    assert_eq!(found["object"]["content_type"], "application/json");
    assert!(found["object"]["age_ms"].is_u64());
    assert!(found["null"].as_object().unwrap().contains_key("json"));
    assert_eq!(found["zero"]["json"], 0);
    assert_eq!(found["text"]["json"], items[3]["json"]);
    assert_eq!(found["bytes"]["value_base64"], "AP8=");
    assert_eq!(found["bytes"]["content_type"], "application/octet-stream");
    assert_eq!(found["missing"], Value::Null);
    let raw = server.admin().get("/v1/cache/ns/object").expect(200);
    assert_eq!((raw.header("content-type"), &raw.body), ("application/json", &items[0]["json"]));
}

#[test]
fn a_batch_with_one_bad_item_stores_none() {
    let server = Server::start();
    for (bad, field) in [
        (json!({ "key": "b\n", "json": 1 }), "items[1].key"),
        (json!({ "key": "b" }), "items[1].json"),
        (json!({ "key": "b", "json": 1, "value_base64": "AA==" }), "items[1].json"),
        (json!({ "key": "b", "value_base64": "not base64" }), "items[1].value_base64"),
        (json!({ "key": "b", "json": 1, "ttl_ms": 0 }), "items[1].ttl_ms"),
        (json!({ "key": "b", "json": 1, "tags": ["no good"] }), "items[1].tags[0]"),
        (json!({ "key": "b", "json": 1, "tags": vec!["t"; 65] }), "items[1].tags"),
        (json!(["b", 1]), "items[1]"),
    ] {
        let body = json!({ "items": [{ "key": "a", "json": 1 }, bad] });
        let refused = server.admin().post("/v1/cache/ns/put", &body).expect(422);
        assert_eq!(refused.body["field"], field);
        server.admin().get("/v1/cache/ns/a").expect(404);
    }
}

#[test]
fn values_are_invalidated_by_tag_prefix_key_and_namespace() {
    let server = Server::start();
    let fill = || {
        server.admin().put("/v1/cache/one/user:1?tags=red,blue", "text/plain", b"1").expect(204);
        server.admin().put("/v1/cache/one/user:2?tags=blue", "text/plain", b"1").expect(204);
        server.admin().put("/v1/cache/one/team:1", "text/plain", b"1").expect(204);
        server.admin().put("/v1/cache/two/user:1?tags=red", "text/plain", b"1").expect(204);
    };
    let left = || {
        ["one/user:1", "one/user:2", "one/team:1", "two/user:1"]
            .map(|key| server.admin().get(&format!("/v1/cache/{key}")).status == 200)
    };
    let invalidate = |body: Value| {
        assert_eq!(
            server.admin().post("/v1/cache/invalidate", &body).expect(200).body,
            json!({ "ok": true })
        );
    };
    fill();
    assert_eq!(left(), [true, true, true, true]);
    invalidate(json!({ "tags": ["red"] }));
    assert_eq!(left(), [false, true, true, false]);
    fill();
    invalidate(json!({ "ns": "one", "prefix": "user:" }));
    assert_eq!(left(), [false, false, true, true]);
    fill();
    invalidate(json!({ "ns": "one", "keys": ["user:1", "team:1", "none"] }));
    assert_eq!(left(), [false, true, false, true]);
    fill();
    server.admin().delete("/v1/cache/one").expect(204);
    assert_eq!(left(), [false, false, false, true]);
    for body in [
        json!({}),
        json!({ "ns": "one" }),
        json!({ "tags": [] }),
        json!({ "tags": ["a"], "ns": "one" }),
        json!({ "ns": "one", "prefix": "a", "keys": ["a"] }),
        json!({ "ns": "one", "prefix": "" }),
        json!({ "ns": "one", "keys": [] }),
        json!({ "prefix": "a" }),
    ] {
        server.admin().post("/v1/cache/invalidate", &body).expect(422);
    }
    assert_eq!(left(), [false, false, false, true]);
}

#[test]
fn stats_count_hits_and_misses_of_each_namespace() {
    let server = Server::start();
    server.admin().put("/v1/cache/ns/a", "text/plain", b"12345").expect(204);
    for path in ["/v1/cache/ns/a", "/v1/cache/ns/a", "/v1/cache/ns/a", "/v1/cache/ns/b"] {
        server.admin().get(path);
    }
    let stats = server.admin().get("/v1/cache/stats").expect(200).body;
    let figures = &stats["ns"];
    assert_eq!(
        (&figures["hits"], &figures["misses"], &figures["entries"]),
        (&json!(3), &json!(1), &json!(1))
    );
    assert_eq!(figures["hit_ratio"], 0.75);
    assert!(figures["bytes"].as_u64().unwrap() >= 5);
    for field in ["stale", "loads", "evictions"] {
        assert_eq!(figures[field], 0, "{field}");
    }
}

#[test]
fn a_value_may_have_eight_mebibytes_and_no_more() {
    let server = Server::start();
    let large = vec![7; 8 << 20];
    server.admin().put("/v1/cache/ns/large", "text/plain", &large).expect(204);
    assert_eq!(server.admin().get("/v1/cache/ns/large").expect(200).bytes.len(), large.len());
    let refused =
        server.admin().put("/v1/cache/ns/larger", "text/plain", &[large, vec![7]].concat()).expect(413);
    assert_eq!(refused.code(), "too_large");
    server.admin().get("/v1/cache/ns/larger").expect(404);
}
