//! Cache: values that may disappear at any moment.

mod bodies;

use std::{collections::BTreeMap, time::Duration};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use mainstay::cache::{Cache, Cached, PutOptions, PutWhen, raw::Raw};
use mainstay_core::{
    App, CacheKey, Name, Ttl,
    cache::{TAGS_MAX, VALUE_BYTES_MAX},
    time::TTL_MS_MAX,
};

pub(crate) use self::bodies::Figures;
use self::bodies::{
    BatchGet, BatchPut, BatchValue, BatchValues, Done, Invalidate, InvalidateChoice, PutItem, Stored,
};
use super::{CacheKeyText, Identifier};
use crate::{
    app::Route,
    auth::{Access, Caller},
    error::{Code, Problem},
    json::{Object, StrictJson, answer, read_body},
    params::{EntryPath, NamespacePath, NoQuery, Query, only_header},
    server::{Server, Shared},
};

/// The most keys or items of one batch.
const BATCH_MAX: usize = 1_000;
/// How many keys of a batch are read at once, so that an answer that grows too large is noticed early.
const BATCH_SLICE: usize = 16;
/// The most bytes of values in the answer to a batch.
const BATCH_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The content type of JSON values.
const JSON: &str = "application/json";
/// What a value is when nobody said.
const BYTES: &str = "application/octet-stream";
/// The most bytes of a content type.
const CONTENT_TYPE_BYTES_MAX: usize = 255;

pub(crate) fn routes() -> Vec<Route> {
    let (read_scope, write_scope) = (Access::Read("cache"), Access::Write("cache"));
    vec![
        Route::get("/v1/cache/stats", read_scope, stats),
        Route::post("/v1/cache/invalidate", write_scope, invalidate),
        Route::delete("/v1/cache/{ns}", write_scope, clear),
        Route::post("/v1/cache/{ns}/get", read_scope, read_many),
        Route::post("/v1/cache/{ns}/put", write_scope, write_many),
        Route::get("/v1/cache/{ns}/{key}", read_scope, read),
        Route::put("/v1/cache/{ns}/{key}", write_scope, write),
        Route::delete("/v1/cache/{ns}/{key}", write_scope, remove),
    ]
}

/// The namespace of the caller's app.
fn cache(server: &Server, caller: &Caller, ns: &Name) -> Result<Cache, Problem> {
    Ok(server.mainstay.app_of(&caller.app).cache(ns.as_str())?)
}

/// Reads a value as it was stored, with its `Content-Type`.
#[utoipa::path(
    get, path = "/v1/cache/{ns}/{key}", tag = "cache",
    params(
        ("ns" = Identifier, Path, description = "The namespace."),
        ("key" = CacheKeyText, Path, description = "The key, percent-encoded; at most 512 bytes."),
    ),
    responses(
        (status = 200, description = "The value.", content_type = "*/*", headers(
            ("Age" = u64, description = "How many seconds ago it was stored."),
            ("X-Cache" = String, description = "`hit`, or `stale` within its grace."),
        )),
        (status = 404, description = "`not_found`: there is no such value now.",
            body = crate::error::ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn read(
    State(server): State<Shared>,
    caller: Caller,
    EntryPath(ns, key): EntryPath,
    _: NoQuery,
) -> Result<Response, Problem> {
    let found = cache(&server, &caller, &ns)?.get_raw(key.as_str()).await?;
    let found = found.ok_or_else(Problem::not_found)?;
    let content_type = HeaderValue::from_str(&found.content_type);
    let mut response = Response::new(Body::from(found.bytes.clone()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type.unwrap_or(HeaderValue::from_static(BYTES)));
    headers.insert(header::AGE, HeaderValue::from(found.age().as_secs()));
    headers.insert("x-cache", HeaderValue::from_static(if found.is_stale() { "stale" } else { "hit" }));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// Stores a value: the body as it is, up to 8 MiB.
#[utoipa::path(
    put, path = "/v1/cache/{ns}/{key}", tag = "cache",
    params(
        ("ns" = Identifier, Path, description = "The namespace."),
        ("key" = CacheKeyText, Path, description = "The key, percent-encoded; at most 512 bytes."),
        ("ttl_ms" = Option<u64>, Query, minimum = 1, maximum = 315_360_000_000u64,
            description = "How long it lives; as the namespace says unless given."),
        ("grace_ms" = Option<u64>, Query, minimum = 0, maximum = 315_360_000_000u64,
            description = "How long it may be served stale after that; as the namespace says unless given."),
        ("tags" = Option<String>, Query, pattern = "^[A-Za-z0-9._:@-]{1,128}(,[A-Za-z0-9._:@-]{1,128}){0,63}$",
            description = "What it can be invalidated by, with commas between."),
        ("if" = Option<PutIf>, Query, description = "Store it only if there is no value, or only if there is one."),
    ),
    request_body(content = Vec<u8>, content_type = "*/*", description = "The value."),
    responses(
        (status = 204, description = "It is stored."),
        (status = 412, description = "`precondition_failed`: the condition of `if` does not hold.",
            body = crate::error::ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn write(
    State(server): State<Shared>,
    caller: Caller,
    EntryPath(ns, key): EntryPath,
    mut query: Query,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let options = PutOptions {
        ttl: query.take_number("ttl_ms", 1, TTL_MS_MAX)?.map(Duration::from_millis),
        grace: query.take_number("grace_ms", 0, TTL_MS_MAX)?.map(Duration::from_millis),
        tags: take_tags(&mut query)?,
    };
    let when = match query.take("if").as_deref() {
        None => PutWhen::Always,
        Some("absent") => PutWhen::Absent,
        Some("present") => PutWhen::Present,
        Some(_) => return Err(Problem::invalid("if", "It must be absent or present.")),
    };
    query.finish()?;
    let content_type = content_type(&headers)?;
    let bytes = read_body(&headers, body, VALUE_BYTES_MAX, server.config.request_timeout.get()).await?;
    let value = Raw { bytes, content_type };
    if cache(&server, &caller, &ns)?.put_raw(key.as_str(), value, options, when).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(Problem::new(Code::PreconditionFailed, "Nothing was stored."))
    }
}

/// When a value is stored.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code)]
pub(crate) enum PutIf {
    /// If there is none.
    Absent,
    /// If there is one.
    Present,
}

fn take_tags(query: &mut Query) -> Result<Vec<Name>, Problem> {
    let Some(text) = query.take("tags") else { return Ok(Vec::new()) };
    let tags: Vec<Name> =
        text.split(',').map(|tag| Name::new("tags", tag)).collect::<mainstay_core::Result<_>>()?;
    if tags.len() > TAGS_MAX {
        return Err(Problem::invalid("tags", format!("There may be at most {TAGS_MAX}.")));
    }
    Ok(tags)
}

fn content_type(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(given) = only_header(headers, "content-type")? else { return Ok(BYTES.into()) };
    match given.to_str() {
        Ok(text) if !text.is_empty() && text.len() <= CONTENT_TYPE_BYTES_MAX => Ok(text.to_owned()),
        _ => Err(Problem::new(
            Code::UnsupportedMediaType,
            format!("The Content-Type must be 1 to {CONTENT_TYPE_BYTES_MAX} ASCII characters."),
        )),
    }
}

/// Removes a value, whether or not it is there.
#[utoipa::path(
    delete, path = "/v1/cache/{ns}/{key}", tag = "cache",
    params(
        ("ns" = Identifier, Path, description = "The namespace."),
        ("key" = CacheKeyText, Path, description = "The key, percent-encoded; at most 512 bytes."),
    ),
    responses((status = 204, description = "It is not there now.")),
)]
pub(crate) async fn remove(
    State(server): State<Shared>,
    caller: Caller,
    EntryPath(ns, key): EntryPath,
    _: NoQuery,
) -> Result<Response, Problem> {
    cache(&server, &caller, &ns)?.remove(key.as_str()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Removes a whole namespace. Its cost does not depend on what is in it.
#[utoipa::path(
    delete, path = "/v1/cache/{ns}", tag = "cache",
    params(("ns" = Identifier, Path, description = "The namespace.")),
    responses((status = 204, description = "It is empty now.")),
)]
pub(crate) async fn clear(
    State(server): State<Shared>,
    caller: Caller,
    NamespacePath(ns): NamespacePath,
    _: NoQuery,
) -> Result<Response, Problem> {
    cache(&server, &caller, &ns)?.clear().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Reads several values at once, up to 32 MiB of them.
#[utoipa::path(
    post, path = "/v1/cache/{ns}/get", tag = "cache", request_body = BatchGet,
    params(("ns" = Identifier, Path, description = "The namespace.")),
    responses((status = 200, description = "What was found.", body = BatchValues)),
)]
pub(crate) async fn read_many(
    State(server): State<Shared>,
    caller: Caller,
    NamespacePath(ns): NamespacePath,
    _: NoQuery,
    StrictJson(body): StrictJson<BatchGet>,
) -> Result<Response, Problem> {
    check_batch("keys", body.keys.len())?;
    check_keys("keys", &body.keys)?;
    let cache = cache(&server, &caller, &ns)?;
    let mut items = BTreeMap::new();
    let mut bytes = 0;
    for slice in body.keys.chunks(BATCH_SLICE) {
        let keys: Vec<&str> = slice.iter().map(String::as_str).collect();
        let found = cache.get_raw_many(&keys).await?;
        for (key, found) in slice.iter().zip(found) {
            bytes += found.as_ref().map_or(0, |found| found.bytes.len());
            items.insert(key.clone(), found.map(|found| batch_value(&found)));
        }
        if bytes > BATCH_BYTES_MAX {
            return Err(Problem::new(
                Code::TooLarge,
                format!("The values have more than {BATCH_BYTES_MAX} bytes; ask for fewer keys."),
            ));
        }
    }
    Ok(answer(StatusCode::OK, &BatchValues { items }))
}

fn batch_value(found: &Cached<Raw>) -> BatchValue {
    let is_json = found.content_type.split(';').next().is_some_and(|text| text.trim() == JSON);
    let json = is_json.then(|| serde_json::from_slice(&found.bytes).ok()).flatten();
    BatchValue {
        value_base64: json.is_none().then(|| BASE64_STANDARD.encode(&found.bytes)),
        json,
        content_type: found.content_type.clone(),
        age_ms: u64::try_from(found.age().as_millis()).unwrap_or(u64::MAX),
        stale: found.is_stale(),
    }
}

/// Stores several values at once.
#[utoipa::path(
    post, path = "/v1/cache/{ns}/put", tag = "cache", request_body = BatchPut,
    params(("ns" = Identifier, Path, description = "The namespace.")),
    responses((status = 200, description = "How many were stored.", body = Stored)),
)]
pub(crate) async fn write_many(
    State(server): State<Shared>,
    caller: Caller,
    NamespacePath(ns): NamespacePath,
    _: NoQuery,
    StrictJson(body): StrictJson<BatchPut>,
) -> Result<Response, Problem> {
    check_batch("items", body.items.len())?;
    let items = body.items.into_iter().enumerate();
    let items = items
        .map(|(at, Object(item))| put_item(item).map_err(|problem| problem.inside(&format!("items[{at}]"))))
        .collect::<Result<Vec<_>, Problem>>()?;
    let stored = items.len() as u64;
    cache(&server, &caller, &ns)?.put_raw_many(items).await?;
    Ok(answer(StatusCode::OK, &Stored { stored }))
}

fn put_item(item: PutItem) -> Result<(String, Raw, PutOptions), Problem> {
    CacheKey::check(&item.key)?;
    let ttl = item.ttl_ms.map(|ms| Ttl::from_millis("ttl_ms", ms)).transpose()?;
    if item.tags.len() > TAGS_MAX {
        return Err(Problem::invalid("tags", format!("There may be at most {TAGS_MAX}.")));
    }
    let value = match (item.json, item.value_base64) {
        (Some(json), None) => {
            Raw { bytes: String::from(Box::<str>::from(json)).into(), content_type: JSON.into() }
        }
        (None, Some(text)) => {
            let bytes = BASE64_STANDARD.decode(text);
            let bytes = bytes.map_err(|_| Problem::invalid("value_base64", "It must be base64."))?;
            Raw { bytes: bytes.into(), content_type: BYTES.into() }
        }
        _ => return Err(Problem::invalid("json", "There must be either json or value_base64.")),
    };
    let options = PutOptions { ttl: ttl.map(Ttl::duration), tags: item.tags, ..PutOptions::default() };
    Ok((item.key, value, options))
}

/// Invalidates values by tag, or by prefix or keys of a namespace.
///
/// Its cost does not depend on how many values that concerns. A value that is being loaded
/// meanwhile is not served after it.
#[utoipa::path(
    post, path = "/v1/cache/invalidate", tag = "cache", request_body = InvalidateChoice,
    responses((status = 200, description = "None of them is served from now on.", body = Done)),
)]
pub(crate) async fn invalidate(
    State(server): State<Shared>,
    caller: Caller,
    _: NoQuery,
    StrictJson(body): StrictJson<Invalidate>,
) -> Result<Response, Problem> {
    match body {
        Invalidate { tags: Some(tags), ns: None, prefix: None, keys: None } => {
            check_batch("tags", tags.len())?;
            let tags: Vec<&str> = tags.iter().map(Name::as_str).collect();
            server.mainstay.app_of(&caller.app).invalidate_tags(&tags).await?;
        }
        Invalidate { tags: None, ns: Some(ns), prefix: Some(prefix), keys: None } => {
            cache(&server, &caller, &ns)?.clear_prefix(&prefix).await?;
        }
        Invalidate { tags: None, ns: Some(ns), prefix: None, keys: Some(keys) } => {
            check_batch("keys", keys.len())?;
            check_keys("keys", &keys)?;
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            cache(&server, &caller, &ns)?.remove_many(&keys).await?;
        }
        _ => {
            return Err(Problem::invalid(
                "body",
                "It must hold tags, or ns and prefix, or ns and keys, and nothing else.",
            ));
        }
    }
    Ok(answer(StatusCode::OK, &Done { ok: true }))
}

fn check_batch(field: &'static str, count: usize) -> Result<(), Problem> {
    if (1..=BATCH_MAX).contains(&count) {
        return Ok(());
    }
    Err(Problem::invalid(field, format!("There must be 1 to {BATCH_MAX}.")))
}

fn check_keys(field: &'static str, keys: &[String]) -> Result<(), Problem> {
    keys.iter().enumerate().try_for_each(|(at, key)| {
        CacheKey::check(key).map_err(|error| Problem::from(error).named(format!("{field}[{at}]")))
    })
}

/// Shows figures of each namespace of the app.
#[utoipa::path(
    get, path = "/v1/cache/stats", tag = "cache",
    responses((status = 200, description = "The figures by namespace.", body = BTreeMap<String, Figures>)),
)]
pub(crate) async fn stats(
    State(server): State<Shared>,
    caller: Caller,
    _: NoQuery,
) -> Result<Response, Problem> {
    Ok(answer(StatusCode::OK, &figures(&server, &caller.app).await?))
}

/// Figures of each namespace of `app`.
pub(crate) async fn figures(server: &Server, app: &App) -> Result<BTreeMap<String, Figures>, Problem> {
    let stats = server.mainstay.app_of(app).cache_stats().await?;
    Ok(stats.into_iter().map(|stats| (stats.namespace.to_string(), Figures::from(&stats))).collect())
}
