//! Talks to a server.

use std::time::Duration;

use serde_json::Value;
use ureq::{
    Agent, Body,
    http::{Request, Response},
};

use super::{
    Global,
    exit::{Exit, Failure},
};
use crate::secret::Secret;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long the answer of a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// What of a path part is written as it is.
const PLAIN: &[u8] = b"-._~:@";

/// A server as seen from the command line.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    url: String,
    token: Option<Secret>,
    app: Option<String>,
}

/// An answer that is a success.
pub(crate) struct Answer(Response<Body>);

impl Client {
    pub(crate) fn new(global: &Global) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .proxy(None)
            .build();
        Self {
            agent: config.new_agent(),
            url: global.url.trim_end_matches('/').to_owned(),
            token: global.token.clone(),
            app: global.app.clone(),
        }
    }

    /// Where the server is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.send("GET", path, None)
    }

    pub(crate) fn delete(&self, path: &str) -> Result<Answer, Failure> {
        self.send("DELETE", path, None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        self.send("POST", path, Some(("application/json", body.to_string().into_bytes())))
    }

    pub(crate) fn put(&self, path: &str, media: &str, body: Vec<u8>) -> Result<Answer, Failure> {
        self.send("PUT", path, Some((media, body)))
    }

    fn send(&self, method: &str, path: &str, body: Option<(&str, Vec<u8>)>) -> Result<Answer, Failure> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.reveal()));
        }
        if let Some(app) = &self.app {
            request = request.header("mainstay-app", app);
        }
        let wrong = |error: ureq::http::Error| Failure::usage(format!("cannot ask {}: {error}", self.url));
        let answer = match body {
            Some((media, body)) => {
                self.agent.run(request.header("content-type", media).body(body).map_err(wrong)?)
            }
            None => self.agent.run(request.body(()).map_err(wrong)?),
        };
        let answer = answer.map_err(|error| self.unreachable(&error))?;
        if answer.status().is_success() { Ok(Answer(answer)) } else { Err(self.refused(answer)) }
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        Failure::new(Exit::Unavailable, format!("no answer from {}: {error}", self.url))
    }

    fn refused(&self, mut answer: Response<Body>) -> Failure {
        let status = answer.status().as_u16();
        let problem: Value = answer.body_mut().read_json().unwrap_or_default();
        let exit = match status {
            404 => Exit::NotFound,
            409 | 412 => Exit::Conflict,
            400 | 413 | 415 | 422 => Exit::Usage,
            503 => Exit::Unavailable,
            _ => Exit::Failed,
        };
        let mut message = problem["title"].as_str().map_or_else(|| format!("status {status}"), str::to_owned);
        for (before, field) in [(": ", "field"), (": ", "detail")] {
            if let Some(text) = problem[field].as_str() {
                message.push_str(before);
                message.push_str(text);
            }
        }
        if status == 401 && self.token.is_none() {
            message.push_str(" Give one with --token or MAINSTAY_TOKEN.");
        }
        Failure::new(exit, message)
    }

    /// Asks `/readyz`.
    pub(crate) fn healthcheck(&self) -> Result<Exit, Failure> {
        let request = self.agent.get(format!("{}/readyz", self.url)).config();
        let mut answer = request
            .timeout_global(Some(PROBE_TIMEOUT))
            .build()
            .call()
            .map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        let body: Value = answer.body_mut().read_json().unwrap_or_default();
        match body["status"].as_str() {
            Some("pass" | "warn") if status.is_success() => Ok(Exit::Ok),
            Some(_) => Err(Failure::failed("the server is not ready")),
            None => Err(Failure::new(Exit::Unavailable, format!("{} is no Mainstay server", self.url))),
        }
    }

    /// All items of a list, page after page, at most `limit`.
    pub(crate) fn list(&self, path: &str, limit: usize) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        let mut cursor = None::<String>;
        loop {
            let page_limit = (limit - items.len()).clamp(1, 1000);
            let mut page = format!("{path}?limit={page_limit}");
            if let Some(cursor) = &cursor {
                page.push_str("&cursor=");
                page.push_str(&escape(cursor));
            }
            let mut body = self.get(&page)?.json()?;
            items.extend(body["items"].as_array_mut().map(std::mem::take).unwrap_or_default());
            cursor = body["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() || items.len() >= limit {
                items.truncate(limit);
                return Ok(items);
            }
        }
    }
}

impl Answer {
    pub(crate) fn json(mut self) -> Result<Value, Failure> {
        let body = self.0.body_mut().with_config().limit(64 << 20);
        body.read_json().map_err(|error| Failure::failed(format!("the answer is not JSON: {error}")))
    }

    pub(crate) fn bytes(mut self) -> Result<Vec<u8>, Failure> {
        let body = self.0.body_mut().with_config().limit(64 << 20);
        body.read_to_vec().map_err(|error| Failure::failed(format!("the answer broke off: {error}")))
    }
}

/// A part of a path, with everything escaped that could mean something.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || PLAIN.contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_part_stays_one_part() {
        assert_eq!(escape("a/b?c#d e%é"), "a%2Fb%3Fc%23d%20e%25%C3%A9");
        assert_eq!(escape("user:1@x"), "user:1@x");
    }
}
