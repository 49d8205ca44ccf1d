//! A server for one test, and a client for it.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use mainstay_server::{
    config::{Config, Span},
    secret::Secret,
    server::Running,
};
use serde_json::Value;
use ureq::http::Request;

/// The admin token of every test server.
pub(crate) const ADMIN: &str = "the-admin-token-of-a-test";

/// A server that stops with its test.
pub(crate) struct Server {
    running: Option<Running>,
    runtime: tokio::runtime::Runtime,
    pub(crate) address: SocketAddr,
    folder: tempfile::TempDir,
    admin: Client,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// As [`Server::start`], with settings changed by `change`.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: folder.path().join("data"),
            admin_token: Secret::new(ADMIN),
            drain_timeout: Span::seconds(5),
            ..Config::default()
        };
        change(&mut config);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let running = runtime.block_on(Running::start(config)).unwrap();
        let address = running.address();
        let admin = Client::new(address, ADMIN);
        Self { running: Some(running), runtime, address, folder, admin }
    }

    pub(crate) fn data_dir(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client that shows the admin token.
    pub(crate) fn admin(&self) -> &Client {
        &self.admin
    }

    /// A client with a fresh token of `app` that may do what `scopes` say.
    pub(crate) fn client(&self, app: &str, scopes: &[&str]) -> Client {
        let body = serde_json::json!({ "name": "test", "app": app, "scopes": scopes });
        let created = self.admin.post("/v1/tokens", &body);
        assert_eq!(created.status, 201, "{:?}", created.body);
        Client::new(self.address, created.body["token"].as_str().unwrap())
    }

    /// A client without a token.
    pub(crate) fn anyone(&self) -> Client {
        Client { token: None, ..Client::new(self.address, "") }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Begins to stop; the handle ends when the server has stopped.
    pub(crate) fn stop(&mut self) -> tokio::task::JoinHandle<anyhow::Result<()>> {
        let running = self.running.take().unwrap();
        self.runtime.spawn(running.stop())
    }

    pub(crate) fn wait<T>(&self, handle: tokio::task::JoinHandle<T>) -> T {
        self.runtime.block_on(handle).unwrap()
    }

    /// Sends bytes as they are and gives all that comes back until the server closes.
    pub(crate) fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // A server that closes early may reset the connection; what came before counts.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = self.runtime.block_on(running.stop());
        }
    }
}

/// A client of a test server.
#[derive(Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    url: String,
    token: Option<String>,
    headers: Vec<(&'static str, String)>,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) bytes: Vec<u8>,
    /// The body as JSON; null if it is none.
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.bytes));
        self
    }
}

impl Client {
    pub(crate) fn new(address: SocketAddr, token: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(60)))
            .build();
        let (url, token) = (format!("http://{address}"), Some(token.to_owned()));
        Self { agent: config.new_agent(), url, token, headers: Vec::new() }
    }

    /// The same client with one more header in each request.
    pub(crate) fn header(&self, name: &'static str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name, value.to_owned()));
        client
    }

    pub(crate) fn app(&self, app: &str) -> Self {
        self.header("mainstay-app", app)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None)
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, Some(("application/json", body.to_string().as_bytes())))
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, Some(("application/json", body.to_string().as_bytes())))
    }

    pub(crate) fn put(&self, path: &str, media: &str, body: &[u8]) -> Answer {
        self.send("PUT", path, Some((media, body)))
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: Option<(&str, &[u8])>) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let answer = match body {
            Some((media, body)) => {
                if !media.is_empty() {
                    request = request.header("content-type", media);
                }
                self.agent.run(request.body(body).unwrap())
            }
            None => self.agent.run(request.body(()).unwrap()),
        };
        let mut answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let bytes = answer.body_mut().with_config().limit(64 << 20).read_to_vec().unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), bytes, body }
    }

    /// Creates a session and gives its token and id.
    #[track_caller]
    pub(crate) fn session(&self, user: &str) -> (String, String) {
        let created = self.post("/v1/sessions", &serde_json::json!({ "user": user })).expect(201);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&created.body["token"]), text(&created.body["session"]["id"]))
    }

    pub(crate) fn check(&self, token: &str) -> Answer {
        self.post("/v1/sessions/check", &serde_json::json!({ "token": token }))
    }
}
