//! Bad input, row by row: the stated answer, never a 5xx, never a partial effect.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::server::{Answer, Server};

fn post(server: &Server, path: &str, body: &[u8]) -> Answer {
    server.admin().send("POST", path, Some(("application/json", body)))
}

/// That nothing came of all the requests before.
fn assert_untouched(server: &Server) {
    assert_eq!(server.admin().get("/v1/sessions/stats").expect(200).body["active"], 0);
    assert_eq!(server.admin().get("/v1/cache/stats").expect(200).body, json!({}));
}

#[test]
fn broken_json() {
    let server = Server::start();
    let cases: &[&[u8]] = &[
        b"",
        b"{\"user\":\"alice\"",
        b"{\"user\":\"alice\"} {}",
        b"{\"user\":\"alice\"}x",
        b"\xef\xbb\xbf{\"user\":\"alice\"}",
        b"{\"user\":\"alice\"/* comment */}",
        b"// comment\n{\"user\":\"alice\"}",
        b"{\"user\":\"alice\",\"data\":{\"x\":NaN}}",
        b"{\"user\":\"alice\",\"data\":{\"x\":-Infinity}}",
        b"{\"user\":\"alice\",}",
        b"{'user':'alice'}",
        b"{\"user\":\"ali\xffce\"}",
        b"{\"user\":\"\xc0\xaf\"}",
        b"{\0\"\0u\0",
        b"{\"user\":\"alice\",\"user\":\"bob\"}",
        b"{\"user\":\"alice\",\"data\":{\"a\":{\"b\":1,\"b\":2}}}",
        b"{\"user\":\"alice\",\"data\":{\"a\":1,\"\\u0061\":2}}",
        b"{\"user\":\"al\nice\"}",
        b"{\"user\":01}",
    ];
    for body in cases {
        let refused = post(&server, "/v1/sessions", body);
        let at = String::from_utf8_lossy(body);
        assert_eq!((refused.status, refused.code()), (400, "invalid_json"), "{at}: {:?}", refused.body);
    }
    assert_untouched(&server);
}

#[test]
fn wrong_shape() {
    let server = Server::start();
    let deep = format!(r#"{{"user":"alice","data":{{"x":{}{}}}}}"#, "[".repeat(63), "]".repeat(63));
    let long = format!(r#"{{"user":"alice","data":{{"x":[{}1]}}}}"#, "1,".repeat(10_000));
    let cases = [
        ("[]", "body"),
        ("null", "body"),
        ("\"alice\"", "body"),
        ("[\"alice\"]", "body"),
        ("{}", "user"),
        (r#"{"user":1}"#, "user"),
        (r#"{"user":null}"#, "user"),
        (r#"{"user":["alice"]}"#, "user"),
        (r#"{"user":"alice","usr":"bob"}"#, "usr"),
        (r#"{"user":"alice","User":"bob"}"#, "User"),
        (r#"{"user":"alice","data":[]}"#, "data"),
        (r#"{"user":"alice","data":"x"}"#, "data"),
        (r#"{"user":"alice","device":["x"]}"#, "device"),
        (r#"{"user":"alice","device":{"model":"x"}}"#, "device.model"),
        (r#"{"user":"alice","device":{"ip":"1.2.3"}}"#, "device.ip"),
        (r#"{"user":"alice","device":{"name":5}}"#, "device.name"),
        (r#"{"user":"alice","on_max":"explode"}"#, "on_max"),
        (r#"{"user":"alice","idle_ms":"1000"}"#, "idle_ms"),
        (r#"{"user":"alice","idle_ms":true}"#, "idle_ms"),
        (&deep, &format!("data.x{}", "[0]".repeat(62))),
        (&long, "data.x[10000]"),
    ];
    for (body, field) in cases {
        let refused = post(&server, "/v1/sessions", body.as_bytes());
        let at = &body[..body.len().min(80)];
        assert_eq!((refused.status, refused.code()), (422, "invalid"), "{at}: {:?}", refused.body);
        assert_eq!(refused.body["field"], field, "{at}");
    }
    assert_untouched(&server);
}

#[test]
fn text_that_no_store_keeps() {
    let server = Server::start();
    for (body, field) in [
        (r#"{"user":"alice","data":{"a":"\u0000"}}"#, "data.a"),
        (r#"{"user":"alice","data":{"a":["x","\ud800"]}}"#, "data.a[1]"),
        (r#"{"user":"alice","data":{"a":"\udfff\ud800"}}"#, "data.a"),
        (r#"{"user":"alice","device":{"name":"a\u0007b"}}"#, "device.name"),
        (r#"{"user":"alice","device":{"user_agent":"a\u009bb"}}"#, "device.user_agent"),
    ] {
        let refused = post(&server, "/v1/sessions", body.as_bytes()).expect(422);
        assert_eq!((refused.code(), &refused.body["field"]), ("invalid", &json!(field)), "{body}");
    }
    for name in [
        "",
        " ",
        "a b",
        "a/b",
        "a\\b",
        "é",
        "😀",
        "\u{202e}",
        "\u{200b}x",
        "а",
        "a\r\nFLUSHALL\r\n",
        "{other}",
        "../x",
        "'; DROP TABLE sessions; --",
        "%",
        "*",
        &"x".repeat(129),
    ] {
        for (field, body) in
            [("user", json!({ "user": name })), ("kind", json!({ "user": "alice", "kind": name }))]
        {
            let refused = server.admin().post("/v1/sessions", &body).expect(422);
            assert_eq!(refused.body["field"], field, "{name}");
        }
    }
    assert_untouched(&server);
}

#[test]
fn numbers_out_of_range() {
    let server = Server::start();
    for number in [
        "-1",
        "0",
        "-9223372036854775808",
        "9223372036854775807",
        "9007199254740993",
        "18446744073709551615",
        "99999999999999999999999",
        "1e308",
        "1e400",
        "-1e400",
        "\"1\"",
        "1.5",
        "-0",
        "1000000000000000",
        "315360000001",
    ] {
        for field in ["idle_ms", "absolute_ms", "max_per_user"] {
            let body = format!(r#"{{"user":"alice","{field}":{number}}}"#);
            let refused = post(&server, "/v1/sessions", body.as_bytes());
            assert_eq!((refused.status, refused.code()), (422, "invalid"), "{body}: {:?}", refused.body);
            assert_eq!(refused.body["field"], field, "{body}");
        }
    }
    for number in ["9007199254740992", "-9007199254740992", "1e309"] {
        let body = format!(r#"{{"user":"alice","data":{{"n":{number}}}}}"#);
        assert_eq!(post(&server, "/v1/sessions", body.as_bytes()).expect(422).body["field"], "data.n");
    }
    for ttl in ["0", "-1", "1.5", "abc", "315360000001", "99999999999999999999", "", "1e3", "%201"] {
        let refused =
            server.admin().put(&format!("/v1/cache/ns/a?ttl_ms={ttl}"), "text/plain", b"1").expect(422);
        assert_eq!(refused.body["field"], "ttl_ms", "{ttl}");
    }
    let refused =
        server.admin().post("/v1/sessions/rotate", &json!({ "token": "x", "grace_ms": 86_400_001 }));
    assert_eq!(refused.expect(422).body["field"], "grace_ms");
    assert_untouched(&server);
}

#[test]
fn parameters_of_the_address() {
    let server = Server::start();
    for (path, field) in [
        ("/v1/users/alice/sessions?limit=0", "limit"),
        ("/v1/users/alice/sessions?limit=1001", "limit"),
        ("/v1/users/alice/sessions?limit=-1", "limit"),
        ("/v1/users/alice/sessions?limit=ten", "limit"),
        ("/v1/users/alice/sessions?limit=1&limit=2", "limit"),
        ("/v1/users/alice/sessions?cursor=nonsense", "cursor"),
        ("/v1/users/alice/sessions?cursor=", "cursor"),
        ("/v1/users/alice/sessions?offset=1", "offset"),
        ("/v1/users/alice/sessions?current=me", "current"),
        ("/v1/users/a%20b/sessions", "user"),
        ("/v1/users/%00/sessions", "user"),
        ("/v1/users/%2e%2e%2fbob/sessions", "user"),
        ("/v1/users/%ff/sessions", "user"),
        ("/v1/cache/a%2Fb/key", "ns"),
        ("/v1/tokens?limit=x", "limit"),
        ("/v1/tokens?cursor=%27%20OR%201=1", "cursor"),
        ("/v1/sessions/stats?verbose=1", "verbose"),
        ("/health?full", "full"),
    ] {
        let refused = server.admin().get(path);
        assert_eq!((refused.status, refused.code()), (422, "invalid"), "{path}: {:?}", refused.body);
        assert_eq!(refused.body["field"], field, "{path}");
    }
    server.admin().delete("/v1/users/alice/sessions?except=nobody").expect(422);
    for id in [
        "1",
        "x",
        "%00",
        "..",
        "%2e%2e",
        "01920000-0000-7000-8000-00000000000g",
        "'%20OR%201=1",
        "%F0%9F%98%80",
    ] {
        let path = format!("/v1/sessions/{id}");
        let status = server.admin().get(&path).status;
        assert!([400, 404].contains(&status), "{path}: {status}");
    }
    for path in
        ["/", "//", "/v1", "/v1/", "/v1/sessions/", "/v1//sessions", "/V1/sessions", "/v1/sessions/x/y/z"]
    {
        let answer = server.admin().get(path);
        assert!([404, 405].contains(&answer.status), "{path}: {}", answer.status);
        assert!(!answer.code().is_empty(), "{path}");
    }
}

#[test]
fn media_types_and_methods() {
    let server = Server::start();
    let body: &[u8] = br#"{"user":"alice"}"#;
    for media in [
        "text/xml",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "",
    ] {
        let refused = server.admin().send("POST", "/v1/sessions", Some((media, body))).expect(415);
        assert_eq!(refused.code(), "unsupported_media_type", "{media}");
    }
    for encoding in ["gzip", "br", "identity, gzip"] {
        let client = server.admin().header("content-encoding", encoding);
        client.send("POST", "/v1/sessions", Some(("application/json", body))).expect(415);
        client.put("/v1/cache/ns/a", "text/plain", b"1").expect(415);
    }
    for (method, path, allow) in [
        ("TRACE", "/v1/sessions", "POST"),
        ("GET", "/v1/sessions/check", "POST"),
        ("DELETE", "/v1/sessions/stats", "GET,HEAD"),
        ("OPTIONS", "/livez", "GET,HEAD"),
        ("BREW", "/v1/tokens", "GET,HEAD,POST"),
    ] {
        let refused = server.admin().send(method, path, None).expect(405);
        assert_eq!(
            (refused.code(), refused.header("allow")),
            ("method_not_allowed", allow),
            "{method} {path}"
        );
    }
    assert_untouched(&server);
}

#[test]
fn idempotency_keys() {
    let server = Server::start();
    let body = json!({ "user": "alice" });
    for key in ["", &"x".repeat(256), "\u{e9}"] {
        let refused = server.admin().header("idempotency-key", key).post("/v1/sessions", &body).expect(422);
        assert_eq!(refused.body["field"], "Idempotency-Key", "{key}");
    }
    let twice = server.admin().header("idempotency-key", "a").header("idempotency-key", "b");
    assert_eq!(twice.post("/v1/sessions", &body).expect(400).code(), "bad_request");
    assert_untouched(&server);
}

#[test]
fn batches_are_bounded() {
    let server = Server::start();
    let keys: Vec<String> = (0..1001).map(|n| format!("k{n}")).collect();
    let items: Vec<Value> = keys.iter().map(|key| json!({ "key": key, "json": 1 })).collect();
    for (path, body, field) in [
        ("/v1/cache/ns/get", json!({ "keys": keys }), "keys"),
        ("/v1/cache/ns/get", json!({ "keys": [] }), "keys"),
        ("/v1/cache/ns/get", json!({ "keys": ["a", ""] }), "keys[1]"),
        ("/v1/cache/ns/put", json!({ "items": items }), "items"),
        ("/v1/cache/ns/put", json!({ "items": [] }), "items"),
        ("/v1/cache/invalidate", json!({ "tags": keys }), "tags"),
        ("/v1/cache/invalidate", json!({ "ns": "ns", "keys": keys }), "keys"),
        ("/v1/cache/invalidate", json!({ "tags": ["a b"] }), "tags[0]"),
    ] {
        let refused = server.admin().post(path, &body).expect(422);
        assert_eq!(refused.body["field"], field, "{path}");
    }
    assert_untouched(&server);
}

#[test]
fn a_body_over_the_limit() {
    let server = Server::start();
    let large = format!(r#"{{"user":"alice","data":{{"x":"{}"}}}}"#, "x".repeat(1 << 20));
    assert_eq!(post(&server, "/v1/sessions", large.as_bytes()).expect(413).code(), "too_large");
    assert_untouched(&server);
}

/// What any text must get as an identifier: taken if it is one, else refused by its field.
fn is_name(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:@-".contains(&b))
}

#[test]
fn any_text_as_a_name_a_key_a_duration_or_a_token_is_taken_or_refused() {
    let server = Server::start();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(96));
    let texts =
        ("\\PC{0,12}|[A-Za-z0-9._:@-]{1,140}", any::<i64>(), proptest::collection::vec(any::<u8>(), 0..64));
    let outcome = runner.run(&texts, |(text, number, bytes)| {
        let created = server.admin().post("/v1/sessions", &json!({ "user": text }));
        prop_assert_eq!(created.status, if is_name(&text) { 201 } else { 422 });

        let escaped: String = text.bytes().map(|b| format!("%{b:02X}")).collect();
        let stored = server.admin().put(&format!("/v1/cache/ns/{escaped}"), "text/plain", b"1").status;
        let is_key = (1..=512).contains(&text.len()) && !text.chars().any(char::is_control);
        prop_assert_eq!(
            stored,
            if text.is_empty() {
                404
            } else if is_key {
                204
            } else {
                422
            }
        );

        let timed = server.admin().post("/v1/sessions", &json!({ "user": "alice", "idle_ms": number }));
        prop_assert_eq!(timed.status, if (1..=315_360_000_000).contains(&number) { 201 } else { 422 });

        prop_assert_eq!(server.admin().check(&text).status, 401);
        let raw = post(&server, "/v1/sessions/check", &bytes).status;
        prop_assert!([400, 401, 422].contains(&raw), "{} for {:?}", raw, bytes);
        Ok(())
    });
    outcome.unwrap();
}
