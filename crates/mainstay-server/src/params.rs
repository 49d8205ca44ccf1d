//! Parameters in the address: as strict as bodies.

use std::borrow::Cow;

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use mainstay_core::{
    CacheKey, Name, PageRequest,
    page::{PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX},
    sessions::SessionId,
    tokens::TokenId,
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::error::{Code, Problem};

/// The longest cursor that a list has ever given out.
const CURSOR_BYTES_MAX: usize = 512;

/// The parameters after the `?`, each decoded once.
///
/// A route takes what it knows and then calls [`Query::finish`], which refuses the rest.
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::parse(parts.uri.query().unwrap_or_default())
    }
}

impl Query {
    fn parse(text: &str) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = unescape(name).ok_or_else(|| Problem::invalid("query", "It must be UTF-8."))?;
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(Problem::invalid(clip(name), "It may stand only once."));
            }
            let value = unescape(value)
                .filter(|value| !value.contains('\0'))
                .ok_or_else(|| Problem::invalid(clip(name.clone()), "It must be UTF-8 without NUL."))?;
            pairs.push((name, value));
        }
        Ok(Self { pairs })
    }

    /// The value of `name`, if it was given.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.pairs.iter().position(|(known, _)| known == name)?;
        Some(self.pairs.swap_remove(at).1)
    }

    /// A whole number between `min` and `max`.
    pub(crate) fn take_number(
        &mut self,
        name: &'static str,
        min: u64,
        max: u64,
    ) -> Result<Option<u64>, Problem> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let is_plain = text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse::<u64>().ok().filter(|n| is_plain && (min..=max).contains(n));
        number.map(Some).ok_or_else(|| {
            Problem::invalid(name, format!("It must be a whole number between {min} and {max}."))
        })
    }

    /// What part of a list is asked for.
    pub(crate) fn take_page(&mut self) -> Result<PageRequest, Problem> {
        let limit = self.take_number("limit", 1, PAGE_LIMIT_MAX.into())?;
        let cursor = self.take("cursor");
        if cursor.as_ref().is_some_and(|text| text.is_empty() || text.len() > CURSOR_BYTES_MAX) {
            return Err(Problem::invalid("cursor", "It must be the next_cursor of the page before."));
        }
        let limit = limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(PAGE_LIMIT_DEFAULT);
        Ok(PageRequest { cursor, limit })
    }

    /// Refuses what no one took.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        match self.pairs.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::invalid(clip(name), "There is no such parameter.")),
        }
    }
}

/// A route without parameters after the `?`.
pub(crate) struct NoQuery;

impl<S: Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.uri.query() {
            None | Some("") => Ok(Self),
            Some(text) => Query::parse(text)?.finish().map(|()| Self),
        }
    }
}

/// The parameters of a list, for the documents; [`Query::take_page`] reads them.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)]
pub(crate) struct PageParams {
    /// The `next_cursor` of the page before.
    #[param(min_length = 1, max_length = 512)]
    cursor: Option<String>,
    /// How many items are wanted; 20 unless given.
    #[param(minimum = 1, maximum = 1000, default = 20)]
    limit: Option<u32>,
}

/// Undoes `%41` and `+` once. `None`: the result is not UTF-8.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut ahead = rest.clone();
                let mut digit = || ahead.next().and_then(|b| char::from(b).to_digit(16));
                match (digit(), digit()) {
                    (Some(high), Some(low)) => {
                        rest = ahead;
                        u8::try_from(high * 16 + low).unwrap_or(b'%')
                    }
                    _ => b'%',
                }
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Names come from the client; answers repeat only so much of them.
fn clip(name: String) -> Cow<'static, str> {
    if name.chars().count() > 128 { name.chars().take(128).collect::<String>().into() } else { name.into() }
}

/// The variable parts of the path, each decoded once.
async fn path_part<S: Send + Sync>(parts: &mut Parts, state: &S, name: &str) -> Result<String, Problem> {
    let params = RawPathParams::from_request_parts(parts, state).await.map_err(|rejection| {
        // Only its words tell which part it is.
        let text = rejection.body_text();
        let part = text.split('`').nth(1).unwrap_or("path").to_owned();
        Problem::invalid(part, "It must be UTF-8.")
    })?;
    let found = params.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned());
    found.ok_or_else(Problem::not_found)
}

/// The session that the path names. What is no id names no session: 404.
pub(crate) struct SessionPath(pub(crate) SessionId);

impl<S: Send + Sync> FromRequestParts<S> for SessionPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        id(&path_part(parts, state, "id").await?).map(Self)
    }
}

/// The API token that the path names. What is no id names no token: 404.
pub(crate) struct TokenPath(pub(crate) TokenId);

impl<S: Send + Sync> FromRequestParts<S> for TokenPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        id(&path_part(parts, state, "id").await?).map(Self)
    }
}

/// One spelling a thing: lower case with hyphens, as the server writes ids.
fn id<T: std::str::FromStr + ToString>(text: &str) -> Result<T, Problem> {
    let parsed = text.parse::<T>().ok().filter(|id| id.to_string() == text);
    parsed.ok_or_else(Problem::not_found)
}

/// The user that the path names.
pub(crate) struct UserPath(pub(crate) Name);

impl<S: Send + Sync> FromRequestParts<S> for UserPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(Name::new("user", &path_part(parts, state, "user").await?)?))
    }
}

/// The cache namespace that the path names.
pub(crate) struct NamespacePath(pub(crate) Name);

impl<S: Send + Sync> FromRequestParts<S> for NamespacePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(Name::new("ns", &path_part(parts, state, "ns").await?)?))
    }
}

/// The cache entry that the path names.
pub(crate) struct EntryPath(pub(crate) Name, pub(crate) CacheKey);

impl<S: Send + Sync> FromRequestParts<S> for EntryPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let NamespacePath(ns) = NamespacePath::from_request_parts(parts, state).await?;
        Ok(Self(ns, CacheKey::new(&path_part(parts, state, "key").await?)?))
    }
}

/// Two headers of one name that is to stand once.
pub(crate) fn only_header<'a>(
    headers: &'a http::HeaderMap,
    name: &'static str,
) -> Result<Option<&'a http::HeaderValue>, Problem> {
    let mut given = headers.get_all(name).iter();
    let first = given.next();
    if given.next().is_some() {
        return Err(Problem::new(Code::BadRequest, format!("The header {name} stands twice.")));
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_decoded_once() {
        let mut query = Query::parse("a=%2541&b=x+y&c=%zz&d").unwrap_or_else(|_| unreachable!());
        assert_eq!(query.take("a").as_deref(), Some("%41"));
        assert_eq!(query.take("b").as_deref(), Some("x y"));
        assert_eq!(query.take("c").as_deref(), Some("%zz"));
        assert_eq!(query.take("d").as_deref(), Some(""));
        assert!(query.finish().is_ok());
    }

    #[test]
    fn what_a_route_does_not_know_is_refused() {
        for text in
            ["limit=0", "limit=1001", "limit=-1", "limit=+5", "limit=1.0", "limit=", "limit=9&limit=9"]
        {
            let page = Query::parse(text).and_then(|mut query| query.take_page());
            assert!(page.is_err(), "{text}");
        }
        assert!(Query::parse("x=1").is_ok_and(|query| query.finish().is_err()));
        assert!(Query::parse("x=%ff").is_err());
        assert!(Query::parse("x=%00").is_err());
    }

    #[test]
    fn an_id_has_one_spelling() {
        let text = SessionId::generate().to_string();
        assert!(id::<SessionId>(&text).is_ok());
        for other in [text.to_uppercase(), text.replace('-', ""), format!("{{{text}}}"), String::new()] {
            assert!(id::<SessionId>(&other).is_err(), "{other}");
        }
    }
}
