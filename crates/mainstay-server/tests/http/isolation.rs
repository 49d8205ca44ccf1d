//! What one app or scope may see of another: nothing, for every route of the document.

use serde_json::{Value, json};

use crate::server::{Client, Server};

/// Every route that needs a token: method, template and scope.
fn guarded() -> Vec<(String, String, Option<String>)> {
    let document: Value = serde_json::from_str(mainstay_server::document()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["security"] != json!([]) {
                let scope = operation["x-scope"].as_str().map(str::to_owned);
                routes.push((method.to_uppercase(), path.clone(), scope));
            }
        }
    }
    assert!(routes.len() > 20, "the document has lost its routes");
    routes
}

/// A request for the route that would succeed with the right token.
fn ask(client: &Client, method: &str, path: &str, id: &str, token: &str) -> crate::server::Answer {
    let filled =
        path.replace("{id}", id).replace("{user}", "alice").replace("{ns}", "ns").replace("{key}", "a");
    let body = match (method, path) {
        ("POST", "/v1/sessions") => json!({ "user": "mallory" }),
        ("POST", "/v1/sessions/check") => json!({ "token": token }),
        ("POST", "/v1/sessions/rotate") => json!({ "token": token, "grace_ms": 60_000 }),
        ("POST", "/v1/sessions/{id}/extend") => json!({ "idle_ms": 1 }),
        ("PATCH", "/v1/sessions/{id}") => json!({ "data": { "owned": true } }),
        ("POST", "/v1/cache/{ns}/get") => json!({ "keys": ["a"] }),
        ("POST", "/v1/cache/{ns}/put") => json!({ "items": [{ "key": "mine", "json": 1 }] }),
        ("POST", "/v1/cache/invalidate") => json!({ "tags": ["t"] }),
        ("POST", "/v1/tokens") => json!({ "name": "x", "scopes": ["cache:read"] }),
        ("PUT", "/v1/cache/{ns}/{key}") => return client.put(&filled, "text/plain", b"other"),
        _ => return client.send(method, &filled, None),
    };
    client.send(method, &filled, Some(("application/json", body.to_string().as_bytes())))
}

#[test]
fn no_route_shows_or_changes_anything_of_another_app() {
    let server = Server::start();
    let scopes = ["sessions:*", "cache:*", "metrics:read"];
    let (shop, blog) = (server.client("shop", &scopes), server.client("blog", &scopes));
    let (token, id) = shop.session("alice");
    shop.put("/v1/cache/ns/a?tags=t", "text/plain", b"shop").expect(204);
    let before = shop.get(&format!("/v1/sessions/{id}")).expect(200).body;

    for (method, path, scope) in guarded() {
        if scope.as_deref() == Some("admin") {
            continue;
        }
        let answer = ask(&blog, &method, &path, &id, &token);
        let at = format!("{method} {path}: {} {}", answer.status, String::from_utf8_lossy(&answer.bytes));
        assert!(answer.status < 500, "{at}");
        let names_one = path.contains("{id}") || path.ends_with("/check") || path.ends_with("/rotate");
        assert!(!names_one || [401, 404].contains(&answer.status), "{at}");
        // The fields of answers about nothing may be named like what is looked for; values may not.
        assert!(!answer.bytes.windows(id.len()).any(|window| window == id.as_bytes()), "{at}");
        assert_ne!(answer.bytes, b"shop", "{at}");
    }
    assert_eq!(shop.get(&format!("/v1/sessions/{id}")).expect(200).body, before);
    shop.check(&token).expect(200);
    assert_eq!(shop.get("/v1/cache/ns/a").expect(200).bytes, b"shop");
    assert_eq!(shop.get("/v1/sessions/stats").expect(200).body["active"], 1);
    let cache = shop.get("/v1/cache/stats").expect(200).body;
    assert_eq!(cache["ns"]["entries"], 1);
    assert_eq!(cache.as_object().unwrap().len(), 1);
    assert_eq!(shop.get("/health").expect(200).body["checks"]["sessions"]["count"], 1);
}

#[test]
fn every_route_needs_its_scope_and_no_other_will_do() {
    let server = Server::start();
    let (token, id) = server.admin().session("alice");
    let all = [
        "sessions:read",
        "sessions:write",
        "cache:read",
        "cache:write",
        "metrics:read",
        "tokens:read",
        "tokens:write",
    ];
    for (method, path, scope) in guarded() {
        let at = format!("{method} {path}");
        assert_eq!(
            ask(&server.anyone(), &method, &path, &id, &token).expect(401).code(),
            "unauthorized",
            "{at}"
        );
        let Some(scope) = scope else { continue };
        // Writing includes reading.
        let includes = scope.replace(":read", ":write");
        let others: Vec<&str> =
            all.into_iter().filter(|other| *other != scope && *other != includes).collect();
        let refused = ask(&server.client("default", &others), &method, &path, &id, &token);
        assert_eq!((refused.status, refused.code()), (403, "forbidden"), "{at}");
        assert!(refused.body["detail"].as_str().unwrap().contains(&scope), "{at}");
        if scope == "admin" {
            continue;
        }
        let star = format!("{}:*", scope.split(':').next().unwrap());
        for scope in [scope.as_str(), includes.as_str(), star.as_str()] {
            let allowed = ask(&server.client("default", &[scope]), &method, &path, &id, &token);
            assert!(![401, 403].contains(&allowed.status) || allowed.code() == "session_invalid", "{at}");
        }
    }
}

#[test]
fn only_an_admin_token_chooses_the_app() {
    let server = Server::start();
    let shop = server.client("shop", &["sessions:*"]);
    shop.session("alice");
    shop.app("shop").get("/v1/sessions/stats").expect(200);
    assert_eq!(shop.app("blog").get("/v1/sessions/stats").expect(403).code(), "forbidden");
    let counted =
        |app: &str| server.admin().app(app).get("/v1/sessions/stats").expect(200).body["active"].clone();
    assert_eq!(counted("shop"), 1);
    assert_eq!(counted("blog"), 0);
    for app in ["", "no good", &"x".repeat(129), "\u{e9}"] {
        let refused = server.admin().app(app).get("/v1/sessions/stats").expect(422);
        assert_eq!(refused.body["field"], "Mainstay-App", "{app}");
    }
    assert_eq!(server.admin().app("a").app("b").get("/v1/sessions/stats").expect(400).code(), "bad_request");
}
