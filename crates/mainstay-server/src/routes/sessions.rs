//! Sessions: the login state of users and devices.

mod bodies;

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode};
use mainstay::sessions::{NewSession, SessionOptions, Sessions};
use mainstay_core::{
    Ttl,
    sessions::{SessionId, SessionUpdate, UserLimit},
};

use self::bodies::{
    CheckSession, CreateSession, CreatedBody, ExtendSession, Revoked, RotateSession, SessionAnswer,
    SessionBody, StatsBody, UpdateSession,
};
use super::{Id, Identifier, ListBody};
use crate::{
    app::Route,
    auth::{Access, Caller},
    error::{Code, Problem},
    json::{CreatingJson, Object, StrictJson, answer},
    params::{NoQuery, PageParams, Query, SessionPath, UserPath},
    server::{Server, Shared},
};

/// How long the old token stays valid after a rotation that does not say.
const GRACE_MS: u64 = 30_000;

pub(crate) fn routes() -> Vec<Route> {
    let (read, write) = (Access::Read("sessions"), Access::Write("sessions"));
    vec![
        Route::post("/v1/sessions", write, create),
        Route::post("/v1/sessions/check", read, check),
        Route::post("/v1/sessions/rotate", write, rotate),
        Route::get("/v1/sessions/stats", read, stats),
        Route::get("/v1/sessions/{id}", read, show),
        Route::patch("/v1/sessions/{id}", write, update),
        Route::delete("/v1/sessions/{id}", write, revoke),
        Route::post("/v1/sessions/{id}/extend", write, extend),
        Route::get("/v1/users/{user}/sessions", read, list),
        Route::delete("/v1/users/{user}/sessions", write, revoke_all),
    ]
}

/// The sessions of the caller's app.
fn sessions(server: &Server, caller: &Caller) -> Sessions {
    server.mainstay.app_of(&caller.app).sessions()
}

fn invalid_session() -> Problem {
    Problem::new(Code::SessionInvalid, "The session is unknown, has expired or was revoked.")
}

/// Creates a session.
///
/// The answer is the only one that shows the token, but for a rotation: keep it, as it is stored
/// as a hash only. Give an `Idempotency-Key` to be able to repeat the request safely.
#[utoipa::path(
    post, path = "/v1/sessions", tag = "sessions", request_body = CreateSession,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[ -~]+$",
        description = "The same key with the same body gives the first answer again.")),
    responses(
        (status = 201, description = "The session and its token.", body = CreatedBody,
            headers(("Idempotency-Replayed" = Option<String>, description = "`true` when the key was used before."))),
        (status = 409, description = "The user has as many sessions as allowed, and `on_max` is `reject`.",
            body = crate::error::ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn create(
    State(server): State<Shared>,
    caller: Caller,
    _: NoQuery,
    CreatingJson { body, idempotency }: CreatingJson<CreateSession>,
) -> Result<Response, Problem> {
    let limit = body.max_per_user.map(|max| UserLimit { max, on_max: body.on_max.unwrap_or_default() });
    let mut options = SessionOptions {
        data: body.data.unwrap_or_default(),
        metadata: body.metadata.unwrap_or_default(),
        device: body.device.map(|Object(device)| device).unwrap_or_default(),
        idle: body.idle_ms.map(Duration::from_millis),
        absolute: body.absolute_ms.map(Duration::from_millis),
        limit,
        idempotency,
        ..SessionOptions::default()
    };
    if let Some(kind) = body.kind {
        options.kind = kind.as_str().to_owned();
    }
    match sessions(&server, &caller).create(body.user.as_str(), options).await? {
        NewSession::Created { token, session, replayed } => {
            let body = CreatedBody { token, session: SessionBody::of(&session) };
            let mut response = answer(StatusCode::CREATED, &body);
            if replayed {
                response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
            } else {
                server.metrics.sessions_created.fetch_add(1, Relaxed);
            }
            Ok(response)
        }
        NewSession::Full => {
            Err(Problem::new(Code::Conflict, "The user has as many sessions as max_per_user allows."))
        }
    }
}

fn duration(field: &'static str, ms: Option<u64>) -> Result<Option<Ttl>, Problem> {
    Ok(ms.map(|ms| Ttl::from_millis(field, ms)).transpose()?)
}

/// Checks a token.
///
/// Counts as a use and prolongs the session, unless `touch` is false. At most once a minute does
/// that write anything.
#[utoipa::path(
    post, path = "/v1/sessions/check", tag = "sessions", request_body = CheckSession,
    responses((status = 200, description = "The session that the token opens.", body = SessionAnswer)),
)]
pub(crate) async fn check(
    State(server): State<Shared>,
    caller: Caller,
    _: NoQuery,
    StrictJson(body): StrictJson<CheckSession>,
) -> Result<Response, Problem> {
    let sessions = sessions(&server, &caller);
    let token = body.token.reveal();
    let found =
        if body.touch.unwrap_or(true) { sessions.check(token).await? } else { sessions.peek(token).await? };
    match found {
        Some(session) => {
            server.metrics.session_checks_valid.fetch_add(1, Relaxed);
            Ok(answer(StatusCode::OK, &SessionAnswer { session: SessionBody::of(&session) }))
        }
        None => {
            server.metrics.session_checks_invalid.fetch_add(1, Relaxed);
            Err(invalid_session())
        }
    }
}

/// Replaces a token by another.
///
/// The session and its id stay. The old token is valid for `grace_ms` more, so that requests under
/// way still pass; rotating it again within that time gives the same new token. An old token that
/// turns up later is taken for stolen, and the session is revoked.
#[utoipa::path(
    post, path = "/v1/sessions/rotate", tag = "sessions", request_body = RotateSession,
    responses((status = 200, description = "The session and its new token.", body = CreatedBody)),
)]
pub(crate) async fn rotate(
    State(server): State<Shared>,
    caller: Caller,
    _: NoQuery,
    StrictJson(body): StrictJson<RotateSession>,
) -> Result<Response, Problem> {
    let grace = Duration::from_millis(body.grace_ms.unwrap_or(GRACE_MS));
    let rotated = sessions(&server, &caller).rotate(body.token.reveal(), grace).await?;
    let (token, session) = rotated.ok_or_else(invalid_session)?;
    Ok(answer(StatusCode::OK, &CreatedBody { token, session: SessionBody::of(&session) }))
}

/// Shows a session, without prolonging it.
#[utoipa::path(
    get, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = Id, Path, description = "The public id of a session.")),
    responses((status = 200, description = "The session.", body = SessionAnswer)),
)]
pub(crate) async fn show(
    State(server): State<Shared>,
    caller: Caller,
    SessionPath(id): SessionPath,
    _: NoQuery,
) -> Result<Response, Problem> {
    let session = sessions(&server, &caller).get(id).await?.ok_or_else(Problem::not_found)?;
    Ok(answer(StatusCode::OK, &SessionAnswer { session: SessionBody::of(&session) }))
}

/// Changes fields of a session.
///
/// Top-level fields of `data` and `metadata` are merged one by one, and `null` removes one: a
/// writer that does not know of a field cannot overwrite it.
#[utoipa::path(
    patch, path = "/v1/sessions/{id}", tag = "sessions", request_body = UpdateSession,
    params(("id" = Id, Path, description = "The public id of a session.")),
    responses((status = 200, description = "The session after the change.", body = SessionAnswer)),
)]
pub(crate) async fn update(
    State(server): State<Shared>,
    caller: Caller,
    SessionPath(id): SessionPath,
    _: NoQuery,
    StrictJson(body): StrictJson<UpdateSession>,
) -> Result<Response, Problem> {
    let update = SessionUpdate {
        data: body.data.unwrap_or_default(),
        metadata: body.metadata.unwrap_or_default(),
        second_factor: body.second_factor.map(|factor| factor.map(|Object(factor)| factor.context)),
        ..SessionUpdate::default()
    };
    apply(&server, &caller, id, &update).await
}

/// Prolongs a session.
///
/// Counted from now, never shortened, and `idle_ms` never beyond the absolute end.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/extend", tag = "sessions", request_body = ExtendSession,
    params(("id" = Id, Path, description = "The public id of a session.")),
    responses((status = 200, description = "The session after the change.", body = SessionAnswer)),
)]
pub(crate) async fn extend(
    State(server): State<Shared>,
    caller: Caller,
    SessionPath(id): SessionPath,
    _: NoQuery,
    StrictJson(body): StrictJson<ExtendSession>,
) -> Result<Response, Problem> {
    let update = SessionUpdate {
        idle: duration("idle_ms", body.idle_ms)?,
        absolute: duration("absolute_ms", body.absolute_ms)?,
        ..SessionUpdate::default()
    };
    apply(&server, &caller, id, &update).await
}

async fn apply(
    server: &Server,
    caller: &Caller,
    id: SessionId,
    update: &SessionUpdate,
) -> Result<Response, Problem> {
    let session =
        sessions(server, caller).update(id, update.clone()).await?.ok_or_else(Problem::not_found)?;
    Ok(answer(StatusCode::OK, &SessionAnswer { session: SessionBody::of(&session) }))
}

/// Revokes a session. From the answer on its token is refused everywhere.
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = Id, Path, description = "The public id of a session.")),
    responses((status = 204, description = "It is revoked.")),
)]
pub(crate) async fn revoke(
    State(server): State<Shared>,
    caller: Caller,
    SessionPath(id): SessionPath,
    _: NoQuery,
) -> Result<Response, Problem> {
    if !sessions(&server, &caller).revoke(id).await? {
        return Err(Problem::not_found());
    }
    server.metrics.sessions_revoked.fetch_add(1, Relaxed);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Lists the live sessions of a user, newest first, without prolonging them.
///
/// A user without sessions has an empty list. With `current`, each session says whether it is that one.
#[utoipa::path(
    get, path = "/v1/users/{user}/sessions", tag = "sessions",
    params(
        ("user" = Identifier, Path, description = "Whose sessions."),
        PageParams,
        ("current" = Option<Id>, Query, description = "The session of the device that asks."),
    ),
    responses((status = 200, description = "A part of the list.", body = ListBody<SessionBody<'static>>)),
)]
pub(crate) async fn list(
    State(server): State<Shared>,
    caller: Caller,
    UserPath(user): UserPath,
    mut query: Query,
) -> Result<Response, Problem> {
    let page = query.take_page()?;
    let current = take_session(&mut query, "current")?;
    query.finish()?;
    let found = sessions(&server, &caller).list(user.as_str(), &page).await?;
    let items = found.items.iter().map(|session| SessionBody::in_list(session, current));
    Ok(answer(StatusCode::OK, &ListBody { items: items.collect(), next_cursor: found.next.clone() }))
}

/// Revokes all sessions of a user, but for `except`.
#[utoipa::path(
    delete, path = "/v1/users/{user}/sessions", tag = "sessions",
    params(
        ("user" = Identifier, Path, description = "Whose sessions."),
        ("except" = Option<Id>, Query, description = "The session that stays."),
    ),
    responses((status = 200, description = "How many were live.", body = Revoked)),
)]
pub(crate) async fn revoke_all(
    State(server): State<Shared>,
    caller: Caller,
    UserPath(user): UserPath,
    mut query: Query,
) -> Result<Response, Problem> {
    let except = take_session(&mut query, "except")?;
    query.finish()?;
    let revoked = sessions(&server, &caller).revoke_all(user.as_str(), except).await?;
    server.metrics.sessions_revoked.fetch_add(revoked, Relaxed);
    Ok(answer(StatusCode::OK, &Revoked { revoked }))
}

fn take_session(query: &mut Query, name: &'static str) -> Result<Option<SessionId>, Problem> {
    let parse =
        |text: String| text.parse().map_err(|_| Problem::invalid(name, "It must be the id of a session."));
    query.take(name).map(parse).transpose()
}

/// Counts sessions.
#[utoipa::path(
    get, path = "/v1/sessions/stats", tag = "sessions",
    responses((status = 200, description = "How many there are.", body = StatsBody)),
)]
pub(crate) async fn stats(
    State(server): State<Shared>,
    caller: Caller,
    _: NoQuery,
) -> Result<Response, Problem> {
    let counts = sessions(&server, &caller).stats().await?;
    Ok(answer(StatusCode::OK, &StatsBody::from(counts)))
}
