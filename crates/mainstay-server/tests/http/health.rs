//! Health, metrics and the reference.

use serde_json::{Value, json};

use crate::server::Server;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn probes_answer_anyone_in_one_word() {
    let server = Server::start();
    for path in ["/livez", "/readyz", "/startupz"] {
        let answer = server.anyone().get(path).expect(200);
        assert_eq!(answer.body, json!({ "status": "pass" }), "{path}");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(!answer.header("x-request-id").is_empty());
    }
}

#[test]
fn health_tells_how_each_part_is() {
    let server = Server::start();
    server.admin().session("alice");
    let health = server.admin().get("/health").expect(200).body;
    assert_eq!(keys(&health), ["checks", "shape", "status", "uptime_ms", "version"]);
    assert_eq!(health["status"], "pass");
    assert_eq!(health["shape"], "embedded");
    assert_eq!(keys(&health["checks"]), ["cache", "durable", "fast", "sessions"]);
    assert_eq!(health["checks"]["sessions"], json!({ "status": "pass", "count": 1 }));
    assert_eq!(
        health["checks"]["cache"],
        json!({ "status": "pass", "operations": { "set": true, "get": true, "delete": true } })
    );
    assert!(health["checks"]["durable"]["latency_ms"].as_f64().unwrap() < 250.0);
}

#[test]
fn health_and_metrics_need_a_token_unless_they_are_open() {
    let server = Server::start();
    for path in ["/health", "/metrics", "/v1/store/metrics"] {
        assert_eq!(server.anyone().get(path).expect(401).code(), "unauthorized");
    }
    let reader = server.client("default", &["sessions:read"]);
    reader.get("/health").expect(200);
    reader.get("/metrics").expect(403);
    server.client("default", &["metrics:read"]).get("/metrics").expect(200);

    let open = Server::with(|config| config.open_health = true);
    for path in ["/health", "/metrics"] {
        open.anyone().get(path).expect(200);
    }
}

#[test]
fn metrics_are_prometheus_text_and_count_requests_by_route() {
    let server = Server::start();
    let (token, _) = server.admin().session("alice");
    server.admin().check(&token).expect(200);
    server.admin().check("nonsense").expect(401);
    server.admin().get("/nowhere").expect(404);
    let answer = server.admin().get("/metrics").expect(200);
    assert!(answer.header("content-type").starts_with("text/plain"));
    let text = String::from_utf8(answer.bytes).unwrap();
    for line in [
        r#"mainstay_http_requests_total{method="POST",route="/v1/sessions/check",status="200"} 1"#,
        r#"mainstay_http_requests_total{method="POST",route="/v1/sessions/check",status="401"} 1"#,
        r#"mainstay_http_requests_total{method="other",route="unmatched",status="404"} 1"#,
        r#"mainstay_session_checks_total{outcome="valid"} 1"#,
        r#"mainstay_session_checks_total{outcome="invalid"} 1"#,
        "mainstay_sessions_created_total 1",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
    }
    let mut names = std::collections::BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).unwrap();
        assert!(name.starts_with("mainstay_"), "{name}");
        assert!(names.insert(name), "{name} stands twice");
    }
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        assert!(line.rsplit_once(' ').unwrap().1.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn store_metrics_have_figures_of_both_tiers() {
    let server = Server::start();
    let metrics = server.admin().get("/v1/store/metrics").expect(200).body;
    assert_eq!(keys(&metrics), ["alerts", "durable", "fast"]);
    assert_eq!(metrics["alerts"], json!([]));
    assert!(metrics["durable"]["size_bytes"].as_u64().unwrap() > 0);
    assert!(metrics["durable"]["write_latency_ms"]["p99"].is_number());
    assert_eq!(metrics["fast"]["hit_ratio"], 0.0);
}

#[test]
fn the_reference_is_open_and_needs_no_network() {
    let server = Server::start();
    let document = server.anyone().get("/openapi.json").expect(200);
    assert_eq!(document.bytes, mainstay_server::document().as_bytes());
    let page = server.anyone().get("/docs").expect(200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    let html = String::from_utf8(page.bytes).unwrap();
    assert!(!html.contains("<script") && !html.contains("src=") && !html.contains("@import"));
    assert!(html.contains("id=\"sessions.check\""));
}
