//! Accepts connections and watches over them.
//!
//! `axum::serve` has no limit on the time that headers may take, and hyper's own limit counts the
//! idle time of a connection as if it were header time. So the loop is ours: a connection that
//! sends half a request, or nothing, is closed in time whatever protocol it speaks.

mod activity;
mod stream;

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use axum::body::Body;
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};

use crate::{
    edge::{Edge, HEADERS_BYTES_MAX, HEADERS_MAX, URI_BYTES_MAX},
    server::Shared,
};
use activity::Activity;
use stream::Watched;

/// The most requests that one HTTP/2 connection may have open.
const STREAMS_MAX: u32 = 128;
/// How often a connection is looked at within the time that its headers may take.
const LOOKS: u32 = 4;
/// How long accepting rests when the system has no more descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// How long a new connection may take for its first request when the server goes down.
const FIRST_REQUEST: Duration = Duration::from_millis(100);
/// What is answered when there are too many connections.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// How far the server is on its way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It serves.
    Serving,
    /// It finishes what it accepted and takes nothing new.
    Draining,
    /// Time is over: connections are closed as they are.
    Closing,
}

/// Serves until `phase` says otherwise, then finishes what was accepted, within `drain`.
pub(crate) async fn listen(
    listener: TcpListener,
    edge: Edge,
    server: Shared,
    phase: watch::Sender<Phase>,
    drain: Duration,
) {
    // Every connection holds a clone; the receiver ends when the last is gone.
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    let gate = Arc::new(Gate::default());
    let mut draining = phase.subscribe();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = draining.wait_for(|phase| *phase > Phase::Serving) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => welcome(stream, peer, &gate, &edge, &server, &phase, &alive),
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
    // What the system has accepted for us would be reset with the listener.
    while let Ok(Ok((stream, peer))) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
        welcome(stream, peer, &gate, &edge, &server, &phase, &alive);
    }
    drop(listener);
    drop(alive);
    if tokio::time::timeout(drain, all_gone.recv()).await.is_err() {
        tracing::warn!(drain_ms = drain.as_millis(), "connections are closed before they were done");
        phase.send_replace(Phase::Closing);
        all_gone.recv().await;
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn welcome(
    stream: TcpStream,
    peer: SocketAddr,
    gate: &Arc<Gate>,
    edge: &Edge,
    server: &Shared,
    phase: &watch::Sender<Phase>,
    alive: &mpsc::Sender<()>,
) {
    let config = &server.config;
    let Some(place) = gate.enter(peer.ip(), config.connections_max, config.connections_per_ip_max, server)
    else {
        server.metrics.connections_refused.fetch_add(1, Relaxed);
        // Best effort: who cannot take these bytes at once gets none.
        let _ = stream.try_write(TOO_MANY);
        return;
    };
    server.metrics.connections_accepted.fetch_add(1, Relaxed);
    let serving = serve(stream, edge.clone(), server.clone(), phase.subscribe());
    let alive = alive.clone();
    tokio::spawn(async move {
        serving.await;
        drop((place, alive));
    });
}

/// Serves one connection until it is done, idle for too long, or the server closes.
async fn serve(stream: TcpStream, edge: Edge, server: Shared, mut phase: watch::Receiver<Phase>) {
    // Answers are written whole; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let activity = Arc::new(Activity::default());
    let io = TokioIo::new(Watched::new(stream, activity.clone()));
    let service = {
        let activity = activity.clone();
        hyper::service::service_fn(move |request: Request<Incoming>| {
            let edge = edge.clone();
            let activity = activity.clone();
            let open = activity.begin(request.version());
            let request = request.map(|body| Body::new(activity.watch_body(body)));
            async move {
                let mut answer = edge.answer(request).await?;
                if activity.must_close() {
                    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                drop(open);
                Ok::<_, Infallible>(answer)
            }
        })
    };
    let builder = protocol();
    let mut connection = pin!(builder.serve_connection(io, service));
    let config = &server.config;
    let look = config.header_timeout.get() / LOOKS;
    let mut looks = tokio::time::interval(look);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut patience = activity::Patience::new(look, config.header_timeout.get(), config.idle_timeout.get());
    let mut seen = Phase::Serving;
    loop {
        tokio::select! {
            biased;
            // A connection that the client broke is no news.
            _ = connection.as_mut() => return,
            _ = looks.tick() => {
                if patience.is_over(&activity) {
                    return;
                }
            }
            next = later(&mut phase, seen) => {
                if next == Phase::Closing {
                    return;
                }
                seen = next;
                if activity.is_new() {
                    // Shutting down now would drop a first request that has arrived unread.
                    let _ = tokio::time::timeout(FIRST_REQUEST, connection.as_mut()).await;
                }
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The next phase after `seen`.
async fn later(phase: &mut watch::Receiver<Phase>, seen: Phase) -> Phase {
    phase.wait_for(|phase| *phase > seen).await.map_or(Phase::Closing, |phase| *phase)
}

fn protocol() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        // Ours counts from the first byte of a request; see the head of this file.
        .header_read_timeout(None)
        .max_headers(HEADERS_MAX)
        // More than the edge lets pass, so that the edge answers with a problem.
        .max_buf_size(2 * (URI_BYTES_MAX + HEADERS_BYTES_MAX));
    builder
        .http2()
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(2 * HEADERS_BYTES_MAX as u32)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(256)
        .max_send_buf_size(64 * 1024);
    builder
}

/// Counts connections, in all and by address.
#[derive(Debug, Default)]
struct Gate {
    by_ip: Mutex<HashMap<IpAddr, u32>>,
}

impl Gate {
    /// `None`: there are as many as allowed. A limit of 0 by address means none.
    fn enter(self: &Arc<Self>, ip: IpAddr, max: u32, per_ip_max: u32, server: &Shared) -> Option<Place> {
        let open = &server.metrics.connections_open;
        if open.load(Relaxed) >= i64::from(max) {
            return None;
        }
        if per_ip_max > 0 {
            let mut by_ip = self.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
            let count = by_ip.entry(ip).or_default();
            if *count >= per_ip_max {
                return None;
            }
            *count += 1;
        }
        open.fetch_add(1, Relaxed);
        let gate = (per_ip_max > 0).then(|| self.clone());
        Some(Place { ip, gate, server: server.clone() })
    }
}

/// The place of one connection; given back when it is dropped.
struct Place {
    ip: IpAddr,
    gate: Option<Arc<Gate>>,
    server: Shared,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.server.metrics.connections_open.fetch_sub(1, Relaxed);
        let Some(gate) = &self.gate else { return };
        let mut by_ip = gate.by_ip.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                by_ip.remove(&self.ip);
            }
        }
    }
}
