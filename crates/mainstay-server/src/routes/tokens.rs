//! API tokens: who may use this server, for which app, for what.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode};
use mainstay::tokens::{CreatedToken, NewApiToken};
use mainstay_core::{
    App, Timestamp,
    tokens::{ApiToken, TokenId},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Id, Identifier, ListBody};
use crate::{
    app::Route,
    auth::{Access, Caller},
    error::Problem,
    json::{CreatingJson, answer},
    params::{NoQuery, PageParams, Query, TokenPath},
    server::Shared,
};

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/tokens", Access::Admin, list),
        Route::post("/v1/tokens", Access::Admin, create),
        Route::delete("/v1/tokens/{id}", Access::Admin, revoke),
    ]
}

/// A token to be created.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateToken {
    /// What people call it.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    name: String,
    /// The app it belongs to; that of the caller unless given.
    #[schema(value_type = Option<Identifier>)]
    app: Option<App>,
    /// What it may do.
    #[schema(value_type = Vec<Scope>, min_items = 1, max_items = 64)]
    scopes: Vec<String>,
    /// When it stops being accepted; never unless given.
    #[schema(value_type = Option<String>, format = "date-time")]
    expires_at: Option<Timestamp>,
}

/// What a token may do: `admin` is everything.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = r"^(admin|(cache|metrics|sessions|tokens):(read|write|\*))$")]
#[allow(dead_code)]
pub(crate) struct Scope(String);

/// An API token, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub(crate) struct TokenBody<'a> {
    /// Its public id.
    #[schema(value_type = Id)]
    id: TokenId,
    /// The app it belongs to.
    #[schema(value_type = Identifier)]
    app: &'a App,
    /// What people call it.
    name: &'a str,
    /// What it may do.
    scopes: &'a [String],
    /// When it was created.
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
    /// When it stops being accepted; null: never.
    #[schema(value_type = Option<String>, format = "date-time", required)]
    expires_at: Option<Timestamp>,
}

impl<'a> TokenBody<'a> {
    fn of(token: &'a ApiToken) -> Self {
        Self {
            id: token.id,
            app: &token.app,
            name: &token.name,
            scopes: &token.scopes,
            created_at: token.created_at,
            expires_at: token.expires_at,
        }
    }
}

/// An API token with its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenWithSecret<'a> {
    /// Its public id.
    #[schema(value_type = Id)]
    id: TokenId,
    /// The secret for the header `Authorization: Bearer`. It is shown only here.
    token: String,
    /// The app it belongs to.
    #[schema(value_type = Identifier)]
    app: &'a App,
    /// What people call it.
    name: &'a str,
    /// What it may do.
    scopes: &'a [String],
    /// When it was created.
    #[schema(value_type = String, format = "date-time")]
    created_at: Timestamp,
    /// When it stops being accepted; null: never.
    #[schema(value_type = Option<String>, format = "date-time", required)]
    expires_at: Option<Timestamp>,
}

/// Creates an API token.
///
/// The answer is the only one that shows the secret. Give an `Idempotency-Key` to be able to repeat
/// the request safely.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "tokens", request_body = CreateToken,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[ -~]+$",
        description = "The same key with the same body gives the first answer again.")),
    responses((status = 201, description = "The token with its secret.", body = TokenWithSecret<'static>,
        headers(("Idempotency-Replayed" = Option<String>, description = "`true` when the key was used before.")))),
)]
pub(crate) async fn create(
    State(server): State<Shared>,
    caller: Caller,
    _: NoQuery,
    CreatingJson { body, idempotency }: CreatingJson<CreateToken>,
) -> Result<Response, Problem> {
    let new = NewApiToken {
        name: body.name,
        app: body.app.unwrap_or(caller.app),
        scopes: body.scopes,
        expires_at: body.expires_at,
        idempotency,
    };
    let CreatedToken { secret, token, replayed } = server.mainstay.tokens().create(new).await?;
    let TokenBody { id, app, name, scopes, created_at, expires_at } = TokenBody::of(&token);
    let body = TokenWithSecret { id, token: secret, app, name, scopes, created_at, expires_at };
    let mut response = answer(StatusCode::CREATED, &body);
    if replayed {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Lists API tokens, newest first: those of all apps, or of the app that `Mainstay-App` names.
#[utoipa::path(
    get, path = "/v1/tokens", tag = "tokens", params(PageParams),
    responses((status = 200, description = "A part of the list.", body = ListBody<TokenBody<'static>>)),
)]
pub(crate) async fn list(
    State(server): State<Shared>,
    caller: Caller,
    headers: http::HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let page = query.take_page()?;
    query.finish()?;
    let app = headers.contains_key("mainstay-app").then_some(&caller.app);
    let found = server.mainstay.tokens().list(app, &page).await?;
    let items = found.items.iter().map(TokenBody::of).collect();
    Ok(answer(StatusCode::OK, &ListBody { items, next_cursor: found.next.clone() }))
}

/// Revokes an API token. From the answer on it is refused.
#[utoipa::path(
    delete, path = "/v1/tokens/{id}", tag = "tokens",
    params(("id" = Id, Path, description = "The public id of a token.")),
    responses((status = 204, description = "It is revoked.")),
)]
pub(crate) async fn revoke(
    State(server): State<Shared>,
    _: Caller,
    TokenPath(id): TokenPath,
    _: NoQuery,
) -> Result<Response, Problem> {
    if server.mainstay.tokens().revoke(id).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(Problem::not_found())
    }
}
