//! Who calls, for which app, and whether he may.

use std::sync::Arc;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::{HeaderMap, request::Parts};
use mainstay_core::{App, tokens::ApiToken};

use crate::{
    error::{Code, Problem},
    params::only_header,
    server::Server,
};

/// The header by which an admin token chooses an app.
const APP_HEADER: &str = "mainstay-app";
/// The scope that includes every other.
pub(crate) const ADMIN: &str = "admin";

/// What a route asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing.
    Open,
    /// Any token, unless health is configured open.
    Health,
    /// `metrics:read`, unless health is configured open.
    Metrics,
    /// The scope `<noun>:read`.
    Read(&'static str),
    /// The scope `<noun>:write`.
    Write(&'static str),
    /// The scope `admin`.
    Admin,
}

impl Access {
    /// The scope that a token needs; `None`: none in particular.
    pub(crate) fn scope(self) -> Option<String> {
        match self {
            Self::Open | Self::Health => None,
            Self::Metrics => Some("metrics:read".into()),
            Self::Read(noun) => Some(format!("{noun}:read")),
            Self::Write(noun) => Some(format!("{noun}:write")),
            Self::Admin => Some(ADMIN.into()),
        }
    }

    fn is_granted_by(self, scopes: &[String]) -> bool {
        let (noun, verb) = match self {
            Self::Open | Self::Health => return true,
            Self::Admin => return scopes.iter().any(|scope| scope == ADMIN),
            Self::Metrics => ("metrics", "read"),
            Self::Read(noun) => (noun, "read"),
            Self::Write(noun) => (noun, "write"),
        };
        // Who may write may also read what was written.
        let covers = |may: &str| may == verb || may == "*" || (may == "write" && verb == "read");
        scopes.iter().any(|scope| {
            scope == ADMIN || scope.split_once(':').is_some_and(|(of, may)| of == noun && covers(may))
        })
    }
}

/// Who calls, and the app that the call is about.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) app: App,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // The guard of a route has put it there; a route that is open has no caller.
        parts.extensions.get::<Self>().cloned().ok_or_else(unauthorized)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

/// Finds the caller and checks that it may; `None` where the route is open to anyone.
pub(crate) async fn authorize(
    server: &Server,
    headers: &HeaderMap,
    access: Access,
) -> Result<Option<Caller>, Problem> {
    let is_open = match access {
        Access::Open => true,
        Access::Health | Access::Metrics => server.config.open_health,
        _ => false,
    };
    if is_open {
        return Ok(None);
    }
    let token = authenticate(server, headers).await?;
    if !access.is_granted_by(&token.scopes) {
        return Err(Problem::new(
            Code::Forbidden,
            format!("The token lacks the scope {}.", access.scope().unwrap_or_default()),
        ));
    }
    let app = choose_app(headers, &token)?;
    Ok(Some(Caller { app }))
}

async fn authenticate(server: &Server, headers: &HeaderMap) -> Result<Arc<ApiToken>, Problem> {
    let Some(given) = only_header(headers, "authorization")? else { return Err(unauthorized()) };
    let secret = given
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, secret)| secret.trim_start_matches(' '))
        .ok_or_else(unauthorized)?;
    server.mainstay.tokens().authenticate(secret).await?.ok_or_else(unauthorized)
}

/// The app of the token; an admin token may name another.
fn choose_app(headers: &HeaderMap, token: &ApiToken) -> Result<App, Problem> {
    let Some(named) = only_header(headers, APP_HEADER)? else { return Ok(token.app.clone()) };
    let app = App::new(named.to_str().unwrap_or_default())
        .map_err(|error| Problem::from(error).named("Mainstay-App"))?;
    if app != token.app && !token.scopes.iter().any(|scope| scope == ADMIN) {
        return Err(Problem::new(Code::Forbidden, "The token belongs to another app."));
    }
    Ok(app)
}

/// The same for a token that is missing, unknown, malformed or expired.
fn unauthorized() -> Problem {
    Problem::new(Code::Unauthorized, "The request needs the header Authorization: Bearer <token>.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(scopes: &[&str], access: Access) -> bool {
        access.is_granted_by(&scopes.iter().map(|&scope| scope.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_scope_grants_its_noun_and_verb_only() {
        assert!(may(&["sessions:read"], Access::Read("sessions")));
        assert!(!may(&["sessions:read"], Access::Write("sessions")));
        assert!(may(&["sessions:write"], Access::Read("sessions")), "writing includes reading");
        assert!(!may(&["sessions:write"], Access::Read("cache")));
        assert!(!may(&["sessions:*"], Access::Read("cache")));
        assert!(may(&["sessions:*"], Access::Write("sessions")));
        assert!(!may(&["sessions:*", "cache:*", "tokens:*"], Access::Admin));
        assert!(may(&["admin"], Access::Write("cache")));
        assert!(!may(&[], Access::Metrics));
        assert!(may(&["metrics:read"], Access::Metrics));
        assert!(!may(&["*"], Access::Read("cache")));
    }
}
