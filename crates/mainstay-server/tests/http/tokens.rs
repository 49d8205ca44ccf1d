//! API tokens over HTTP.

use serde_json::{Value, json};

use crate::server::{ADMIN, Client, Server};

#[test]
fn a_token_shows_its_secret_once() {
    let server = Server::start();
    let body = json!({ "name": "backend", "app": "shop", "scopes": ["sessions:*", "cache:read"],
        "expires_at": "2099-01-01T00:00:00.000Z" });
    let created = server.admin().post("/v1/tokens", &body).expect(201).body;
    let fields: Vec<_> = created.as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields, ["app", "created_at", "expires_at", "id", "name", "scopes", "token"]);
    for field in ["name", "app", "scopes", "expires_at"] {
        assert_eq!(created[field], body[field], "{field}");
    }
    let listed = server.admin().get("/v1/tokens").expect(200).body;
    let first = &listed["items"][0];
    assert_eq!(first["id"], created["id"]);
    assert!(first.get("token").is_none());
    assert!(!listed.to_string().contains(created["token"].as_str().unwrap()));
}

#[test]
fn a_revoked_token_is_refused_at_once() {
    let server = Server::start();
    let client = server.client("shop", &["sessions:read"]);
    client.get("/v1/sessions/stats").expect(200);
    let listed = server.admin().app("shop").get("/v1/tokens").expect(200).body;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let path = format!("/v1/tokens/{}", listed["items"][0]["id"].as_str().unwrap());
    server.admin().delete(&path).expect(204);
    assert_eq!(client.get("/v1/sessions/stats").expect(401).code(), "unauthorized");
    server.admin().delete(&path).expect(404);
}

#[test]
fn every_token_that_is_not_valid_gets_the_same_answer() {
    let server = Server::start();
    let expect_refusal = |client: &Client| {
        let refused = client.get("/v1/sessions/stats").expect(401);
        assert_eq!(refused.header("www-authenticate"), "Bearer");
        let mut body = refused.body;
        body["request_id"] = Value::Null;
        body
    };
    let missing = expect_refusal(&server.anyone());
    for token in ["x", "mst_AAAA", &ADMIN[1..], &"a".repeat(4000)] {
        assert_eq!(expect_refusal(&Client::new(server.address, token)), missing);
    }
    for value in ["Basic abc", "Bearer", ADMIN, &format!("Token {ADMIN}")] {
        assert_eq!(expect_refusal(&server.anyone().header("authorization", value)), missing);
    }
    server.anyone().header("authorization", &format!("bearer {ADMIN}")).get("/v1/sessions/stats").expect(200);
}

#[test]
fn two_authorizations_are_ambiguous() {
    let server = Server::start();
    let twice = server.admin().header("authorization", &format!("Bearer {ADMIN}"));
    assert_eq!(twice.get("/v1/sessions/stats").expect(400).code(), "bad_request");
}

#[test]
fn a_token_names_known_scopes_and_a_time_ahead() {
    let server = Server::start();
    for (body, field) in [
        (json!({ "name": "", "scopes": ["admin"] }), "name"),
        (json!({ "name": "a\nb", "scopes": ["admin"] }), "name"),
        (json!({ "name": "a", "scopes": [] }), "scopes"),
        (json!({ "name": "a", "scopes": ["root"] }), "scopes[0]"),
        (json!({ "name": "a", "scopes": ["admin", "sessions:delete"] }), "scopes[1]"),
        (json!({ "name": "a", "scopes": ["admin"], "app": "no good" }), "app"),
        (json!({ "name": "a", "scopes": ["admin"], "expires_at": "yesterday" }), "expires_at"),
        (json!({ "name": "a", "scopes": ["admin"], "expires_at": "1969-01-01T00:00:00Z" }), "expires_at"),
        (json!({ "name": "a", "scopes": ["admin"], "expires_at": "2027-02-30T00:00:00Z" }), "expires_at"),
        (json!({ "name": "a" }), "scopes"),
        (json!({ "scopes": ["admin"] }), "name"),
    ] {
        let refused = server.admin().post("/v1/tokens", &body).expect(422);
        assert_eq!(refused.body["field"], field, "{body}");
    }
    assert_eq!(server.admin().get("/v1/tokens").expect(200).body["items"].as_array().unwrap().len(), 1);
}

#[test]
fn an_idempotency_key_makes_one_token() {
    let server = Server::start();
    let body = json!({ "name": "backend", "scopes": ["cache:*"] });
    let keyed = server.admin().header("idempotency-key", "k");
    let first = keyed.post("/v1/tokens", &body).expect(201);
    let again = keyed.post("/v1/tokens", &body).expect(201);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.body, first.body);
    let other = json!({ "name": "backend", "scopes": ["admin"] });
    assert_eq!(keyed.post("/v1/tokens", &other).expect(422).code(), "idempotency_mismatch");
    Client::new(server.address, first.body["token"].as_str().unwrap()).get("/v1/cache/stats").expect(200);
}
