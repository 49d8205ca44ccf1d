//! The OpenAPI document: made from the handlers and the table of routes, so that it cannot differ
//! from what is served.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::{
    app::{self, RouteInfo},
    auth::Access,
    edge,
    error::{Code, ProblemBody},
    routes::{cache, health, reference, sessions, store, tokens},
};

/// What the handlers say of themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Mainstay",
        description = "Sessions, cache and more behind one HTTP API. Times are RFC 3339 in UTC with \
            milliseconds, durations end in `_ms`, sizes in `_bytes`. Unknown fields and parameters are \
            refused. Every answer has an `X-Request-Id`.",
    ),
    paths(
        health::livez, health::readyz, health::startupz, health::health, health::metrics,
        reference::openapi, reference::docs,
        store::metrics,
        sessions::create, sessions::check, sessions::rotate, sessions::stats, sessions::show,
        sessions::update, sessions::revoke, sessions::extend, sessions::list, sessions::revoke_all,
        cache::read, cache::write, cache::remove, cache::clear, cache::read_many, cache::write_many,
        cache::invalidate, cache::stats,
        tokens::list, tokens::create, tokens::revoke,
    ),
    components(schemas(ProblemBody, cache::PutIf)),
    tags(
        (name = "sessions", description = "The login state of users and devices."),
        (name = "cache", description = "Values that may disappear. A namespace names a policy: default time \
            to live and the like."),
        (name = "tokens", description = "Who may use this server, for which app, for what."),
        (name = "store", description = "Figures of the store."),
        (name = "health", description = "Whether the server lives, is ready, and how it is."),
        (name = "reference", description = "This document."),
    ),
)]
struct Api;

/// The document as JSON text, the same for every server of this version.
#[must_use]
pub fn document() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", *DOCUMENT));
    &TEXT
}

/// The document.
pub(crate) static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut document = serde_json::to_value(Api::openapi()).unwrap_or_default();
    document["openapi"] = "3.1.0".into();
    document["components"]["securitySchemes"] = json!({
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API token. The first start prints one; `POST /v1/tokens` makes more.",
        },
    });
    document["components"]["parameters"] = json!({
        "App": {
            "name": "Mainstay-App",
            "in": "header",
            "description": "The app that the request is about; only admin tokens may name another than their own.",
            "schema": { "type": "string", "pattern": "^[A-Za-z0-9._:@-]{1,128}$" },
        },
    });
    document["components"]["headers"] = json!({
        "RequestId": {
            "description": "The id of the request in the server's log: the one given, or a new one.",
            "required": true,
            "schema": { "type": "string" },
        },
    });
    document["components"]["responses"] = problems();
    // What the derive cannot say: bytes are bytes, and of two fields there is exactly one.
    document["paths"]["/v1/cache/{ns}/{key}"]["put"]["requestBody"] =
        json!({ "description": "The value; it may be empty.", "content": { "*/*": { "schema": {} } } });
    document["components"]["schemas"]["CachePut"]["oneOf"] =
        json!([{ "required": ["json"] }, { "required": ["value_base64"] }]);
    for route in app::infos() {
        let method = route.method.as_str().to_lowercase();
        if let Some(operation) = document["paths"][route.path][&method].as_object_mut() {
            complete(operation, &route);
        }
    }
    document
});

/// A response for each status with a problem.
fn problems() -> Value {
    let mut responses = Map::new();
    for code in Code::ALL {
        let (status, code, title) = code.describe();
        let response = responses.entry(status.as_str()).or_insert_with(|| {
            json!({
                "description": "",
                "headers": { "X-Request-Id": { "$ref": "#/components/headers/RequestId" } },
                "content": {
                    "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } },
                },
            })
        });
        let before = response["description"].as_str().unwrap_or_default();
        let separator = if before.is_empty() { "" } else { " " };
        response["description"] = format!("{before}{separator}`{code}`: {title}.").into();
        let header = match status.as_u16() {
            503 => json!({ "Retry-After": { "required": true, "schema": { "type": "integer" } } }),
            405 => json!({ "Allow": { "required": true, "schema": { "type": "string" } } }),
            _ => continue,
        };
        if let (Some(headers), Some(more)) = (response["headers"].as_object_mut(), header.as_object()) {
            headers.extend(more.clone());
        }
    }
    responses.into()
}

/// Adds to an operation what follows from its route: who may call it and how it may be refused.
fn complete(operation: &mut Map<String, Value>, route: &RouteInfo) {
    let noun = operation["tags"][0].as_str().unwrap_or_default();
    let verb = operation["operationId"].as_str().unwrap_or_default();
    let id = format!("{noun}.{verb}");
    operation.insert("operationId".into(), id.into());
    let has_body = operation.contains_key("requestBody");
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        without_null(&mut parameter["schema"]);
    }
    let mut statuses = vec![400, 414, 431, 500];
    if route.access == Access::Open {
        operation.insert("security".into(), json!([]));
    } else {
        operation.insert("security".into(), json!([{ "token": [] }]));
        if let Some(scope) = route.access.scope() {
            operation.insert("x-scope".into(), scope.into());
        }
        let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
        if let Some(parameters) = parameters.as_array_mut() {
            parameters.push(json!({ "$ref": "#/components/parameters/App" }));
        }
        statuses.extend([401, 403, 422, 503]);
    }
    if route.path.contains("{id}") {
        statuses.push(404);
    }
    if has_body {
        statuses.extend([408, 413, 415]);
    }
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    for response in responses.values_mut() {
        response["headers"]["X-Request-Id"] = json!({ "$ref": "#/components/headers/RequestId" });
    }
    for status in statuses {
        let reference = json!({ "$ref": format!("#/components/responses/{status}") });
        responses.entry(status.to_string()).or_insert(reference);
    }
}

/// A parameter that may be left out is not null when it is there.
fn without_null(schema: &mut Value) {
    if let Some(kinds) = schema["type"].as_array() {
        schema["type"] = kinds.first().cloned().unwrap_or_default();
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let choice = choices.iter().find(|choice| choice["type"] != "null").cloned();
        *schema = choice.unwrap_or_default();
    }
    if let Some(map) = schema.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
}

/// The limits of the edge, for people.
pub(crate) fn limits() -> [(&'static str, String); 4] {
    [
        ("Address", format!("{} bytes (414)", edge::URI_BYTES_MAX)),
        ("Headers", format!("{} headers, {} bytes (431)", edge::HEADERS_MAX, edge::HEADERS_BYTES_MAX)),
        ("JSON body", "1 MiB unless configured otherwise (413)".into()),
        ("Cached value", format!("{} bytes (413)", mainstay_core::cache::VALUE_BYTES_MAX)),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Where the document is committed.
    const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

    #[test]
    fn the_committed_document_is_the_one_that_is_served() {
        if std::env::var_os("MAINSTAY_UPDATE").is_some() {
            std::fs::write(COMMITTED, document()).unwrap();
        }
        let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
        assert!(
            committed == document(),
            "openapi.json is out of date: run the tests of mainstay-server once with MAINSTAY_UPDATE=1"
        );
    }

    #[test]
    fn routes_and_document_are_the_same_set() {
        let served: BTreeSet<String> =
            app::infos().iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        let mut described = BTreeSet::new();
        for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                described.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        assert_eq!(served, described);
        assert_eq!(served.len(), app::infos().len(), "a route stands twice in the table");
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_a_summary_and_described_answers() {
        let mut ids = BTreeSet::new();
        for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
            for operation in item.as_object().unwrap().values() {
                assert!(ids.insert(operation["operationId"].to_string()), "{path}");
                assert!(!operation["summary"].as_str().unwrap().is_empty(), "{path}");
                assert!(
                    operation["responses"].as_object().unwrap().keys().any(|status| status.starts_with('2'))
                );
                assert!(operation["responses"]["500"].is_object(), "{path}");
            }
        }
    }

    #[test]
    fn what_the_document_refers_to_is_there() {
        fn walk(value: &Value) {
            match value {
                Value::Object(map) => {
                    if let Some(target) = map.get("$ref").and_then(Value::as_str) {
                        let pointer = target.strip_prefix('#').unwrap();
                        assert!(DOCUMENT.pointer(pointer).is_some(), "{target}");
                    }
                    map.values().for_each(walk);
                }
                Value::Array(items) => items.iter().for_each(walk),
                _ => {}
            }
        }
        walk(&DOCUMENT);
    }
}
