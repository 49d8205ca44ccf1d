//! A client that writes down what it asked for and what it was told.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::history::{Action, Answer, Event, Fields, Id, Token};

const NAMESPACE: &str = "torture";
/// A call that takes longer has an unknown outcome.
const CALL_WITHIN: Duration = Duration::from_secs(5);

/// One connection to the server.
#[derive(Debug)]
pub(crate) struct Client {
    agent: ureq::Agent,
    url: String,
    authorization: String,
    origin: Instant,
}

/// Sessions that clients have told each other of.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Vec<Known>>);

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) id: Id,
    pub(crate) user: String,
    /// Every token it has had, the current one last.
    pub(crate) tokens: Vec<Token>,
    /// The client that made it; only this one rotates it.
    owner: usize,
}

impl Pool {
    /// A copy of what is known.
    pub(crate) fn all(&self) -> Vec<Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn pick(&self, rng: &mut fastrand::Rng, owner: Option<usize>) -> Option<Known> {
        let pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Mostly the newest ones, so that several clients meet at the same session.
        let recent = &pool[pool.len().saturating_sub(12)..];
        let mine: Vec<_> =
            recent.iter().filter(|known| owner.is_none_or(|owner| known.owner == owner)).collect();
        rng.choice(mine).cloned()
    }

    fn add(&self, known: Known) {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !pool.iter().any(|other| other.id == known.id) {
            pool.push(known);
        }
    }

    fn rotated(&self, id: &Id, token: Token) {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = pool.iter_mut().find(|known| known.id == *id) {
            known.tokens.push(token);
        }
    }
}

/// What one client does until the server is gone; returns its history.
pub(crate) fn work(
    client: &Client,
    pool: &Pool,
    number: usize,
    round: u32,
    rng: &mut fastrand::Rng,
) -> Vec<Event> {
    let mut history = Vec::new();
    let mut counter = u64::from(round) << 32;
    let mut keys: Vec<String> = Vec::new();
    let mut call = |action| -> Option<Event> {
        let event = client.call(action);
        history.push(event.clone());
        (event.answer != Answer::Unknown).then_some(event)
    };
    loop {
        counter += 1;
        let user = format!("user-{round}-{}", rng.u8(0..4));
        let known = pool.pick(rng, None);
        let cached = format!("{number}-{}", rng.u8(0..6));
        let answered = match (rng.u8(0..100), known) {
            (0..25, _) | (_, None) => {
                call(Action::Create { user, key: None }).inspect(|e| remember(pool, e, number))
            }
            (25..35, _) => {
                let again = keys.last().filter(|_| rng.bool()).cloned();
                let key = again.unwrap_or_else(|| format!("key-{number}-{counter}"));
                keys.push(key.clone());
                // The user belongs to the body, which the key stands for.
                let user = format!("keyed-{round}-{number}");
                call(Action::Create { user, key: Some(key) }).inspect(|e| remember(pool, e, number))
            }
            (35..58, Some(known)) => {
                let token = rng.choice(&known.tokens).cloned().unwrap_or_default();
                call(Action::Check { token })
            }
            (58..72, Some(known)) => {
                call(Action::Patch { id: known.id, field: format!("f{number}"), value: counter })
            }
            (72..80, Some(_)) => match pool.pick(rng, Some(number)) {
                Some(mine) => rotate(&mut call, pool, &mine, if rng.bool() { 0 } else { 60 }),
                None => call(Action::List { user }),
            },
            (80..88, Some(known)) => revoke(&mut call, known, rng.u8(0..8) == 0),
            (88..91, Some(_)) => call(Action::List { user }),
            (91..95, Some(_)) => call(Action::CachePut { key: cached, value: counter }),
            (95..98, Some(_)) => call(Action::CacheGet { key: cached }),
            (_, Some(_)) => call(Action::CacheInvalidate { key: cached, by_tag: rng.bool() }),
        };
        if answered.is_none() {
            return history;
        }
    }
}

fn remember(pool: &Pool, event: &Event, owner: usize) {
    if let (Action::Create { user, .. }, Answer::Session { id, token: Some(token), .. }) =
        (&event.action, &event.answer)
    {
        pool.add(Known { id: id.clone(), user: user.clone(), tokens: vec![token.clone()], owner });
    }
}

/// Rotates, and shows the old token again.
fn rotate(
    call: &mut impl FnMut(Action) -> Option<Event>,
    pool: &Pool,
    mine: &Known,
    grace_ms: u64,
) -> Option<Event> {
    let token = mine.tokens.last().cloned().unwrap_or_default();
    let event = call(Action::Rotate { token: token.clone(), grace: Duration::from_millis(grace_ms) })?;
    if let Answer::Session { id, token: Some(next), .. } = &event.answer {
        pool.rotated(id, next.clone());
    }
    call(Action::Check { token })
}

/// Checks, so that copies are warm, revokes, and checks again.
fn revoke(call: &mut impl FnMut(Action) -> Option<Event>, known: Known, all: bool) -> Option<Event> {
    let token = known.tokens.last().cloned().unwrap_or_default();
    call(Action::Check { token: token.clone() })?;
    call(if all {
        Action::RevokeAll { user: known.user, except: None }
    } else {
        Action::Revoke { id: known.id }
    })?;
    call(Action::Check { token })
}

impl Client {
    /// A client of the server at `url`; `origin` is when the rig was started.
    pub(crate) fn new(url: &str, admin_token: &str, origin: Instant) -> Self {
        let config =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(CALL_WITHIN));
        Self {
            agent: config.build().new_agent(),
            url: url.to_owned(),
            authorization: format!("Bearer {admin_token}"),
            origin,
        }
    }

    /// Makes one call and writes it down.
    pub(crate) fn call(&self, action: Action) -> Event {
        let start = self.origin.elapsed();
        let answer = match self.send(&action) {
            Ok(response) => read(&action, response).unwrap_or(Answer::Unknown),
            Err(_) => Answer::Unknown,
        };
        Event { start, end: self.origin.elapsed(), action, answer }
    }

    fn send(&self, action: &Action) -> Result<Response, ureq::Error> {
        match action {
            Action::Create { user, key } => {
                self.body("POST", "/v1/sessions", key.as_deref(), &json!({ "user": user }))
            }
            Action::Check { token } => {
                self.body("POST", "/v1/sessions/check", None, &json!({ "token": token }))
            }
            Action::Patch { id, field, value } => {
                self.body("PATCH", &format!("/v1/sessions/{id}"), None, &json!({ "data": { field: value } }))
            }
            Action::Rotate { token, grace } => {
                let body = json!({ "token": token, "grace_ms": u64::try_from(grace.as_millis()).unwrap_or(u64::MAX) });
                self.body("POST", "/v1/sessions/rotate", None, &body)
            }
            Action::Revoke { id } => self.plain("DELETE", &format!("/v1/sessions/{id}")),
            Action::RevokeAll { user, except } => {
                let except = except.as_ref().map_or_else(String::new, |id| format!("?except={id}"));
                self.plain("DELETE", &format!("/v1/users/{user}/sessions{except}"))
            }
            Action::List { user } => self.plain("GET", &format!("/v1/users/{user}/sessions?limit=1000")),
            Action::CachePut { key, value } => {
                let path = format!("{}/v1/cache/{NAMESPACE}/{key}?ttl_ms=3600000&tags=tag-{key}", self.url);
                let request = self.agent.put(&path).header("Authorization", &self.authorization);
                request.header("Content-Type", "text/plain").send(value.to_string())
            }
            Action::CacheGet { key } => self.plain("GET", &format!("/v1/cache/{NAMESPACE}/{key}")),
            Action::CacheInvalidate { key, by_tag } => {
                let body = if *by_tag {
                    json!({ "tags": [format!("tag-{key}")] })
                } else {
                    json!({ "ns": NAMESPACE, "keys": [key] })
                };
                self.body("POST", "/v1/cache/invalidate", None, &body)
            }
        }
    }

    fn body(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> Result<Response, ureq::Error> {
        let url = format!("{}{path}", self.url);
        let request = if method == "PATCH" { self.agent.patch(&url) } else { self.agent.post(&url) };
        let request = request.header("Authorization", &self.authorization);
        match key {
            Some(key) => request.header("Idempotency-Key", key).send_json(body),
            None => request.send_json(body),
        }
    }

    fn plain(&self, method: &str, path: &str) -> Result<Response, ureq::Error> {
        let url = format!("{}{path}", self.url);
        let request = if method == "DELETE" { self.agent.delete(&url) } else { self.agent.get(&url) };
        request.header("Authorization", &self.authorization).call()
    }
}

type Response = ureq::http::Response<ureq::Body>;

/// What an answer says. An answer that was cut off says nothing.
fn read(action: &Action, mut response: Response) -> Result<Answer, ureq::Error> {
    let status = response.status().as_u16();
    let text = response.body_mut().read_to_string()?;
    let json = || serde_json::from_str::<Value>(&text).unwrap_or_default();
    Ok(match (action, status) {
        (_, 503) => Answer::Unknown,
        (Action::CacheGet { .. }, 200) => Answer::Cached(text.parse().ok()),
        (Action::CacheGet { .. }, 404) => Answer::Cached(None),
        (Action::List { .. }, 200) => {
            let items = json()["items"].as_array().cloned().unwrap_or_default();
            Answer::Listed(items.iter().filter_map(|item| item["id"].as_str().map(str::to_owned)).collect())
        }
        (
            Action::Create { .. } | Action::Check { .. } | Action::Patch { .. } | Action::Rotate { .. },
            200 | 201,
        ) => session(&json()).unwrap_or_else(|| Answer::Broken(format!("no session in {text}"))),
        (_, 200 | 204) => Answer::Done,
        (Action::Check { .. } | Action::Rotate { .. }, 401) => Answer::Refused,
        (Action::Patch { .. } | Action::Revoke { .. }, 404) => Answer::Refused,
        _ => Answer::Broken(format!("status {status}: {text}")),
    })
}

fn session(answer: &Value) -> Option<Answer> {
    let session = &answer["session"];
    let fields: Fields = session["data"]
        .as_object()?
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), value.as_u64()?)))
        .collect();
    Some(Answer::Session {
        id: session["id"].as_str()?.to_owned(),
        token: answer["token"].as_str().map(str::to_owned),
        fields,
    })
}
