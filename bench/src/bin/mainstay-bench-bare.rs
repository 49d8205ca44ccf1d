//! The peer of the HTTP figure: axum alone, with as much JSON in and out as a session check.
//!
//! A binary of its own, since the allocator that counts for the benches would slow it down.

#![allow(clippy::print_stdout, reason = "the address goes to stdout")]

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use axum::{Json, Router, routing::post, serve::ListenerExt};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Check {
    token: String,
}

#[derive(Clone, Serialize)]
struct Answer {
    session: Session,
}

/// The fields of the session object, so that the answers are of one size.
#[derive(Clone, Serialize)]
struct Session {
    id: String,
    user: String,
    kind: &'static str,
    data: Fields,
    metadata: Fields,
    device: Device,
    second_factor: Option<()>,
    created_at: &'static str,
    last_seen_at: &'static str,
    idle_expires_at: &'static str,
    absolute_expires_at: &'static str,
}

#[derive(Clone, Serialize)]
struct Fields {}

#[derive(Clone, Serialize)]
struct Device {
    ip: IpAddr,
}

/// Serves on a free port until killed, and prints the address first.
///
/// # Errors
/// When no port can be bound.
fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("http://{}", listener.local_addr()?);
        let routes = Router::new().route("/v1/sessions/check", post(check));
        // As our server does: small answers leave at once.
        let listener = listener.tap_io(|stream| {
            // Without it the figure would be worse, nothing else.
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, routes).await?;
        Ok(())
    })
}

async fn check(Json(check): Json<Check>) -> Json<Answer> {
    let at = "2026-11-20T08:00:00.000Z";
    Json(Answer {
        session: Session {
            id: "01936f6e-0000-7000-8000-000000000000".to_owned(),
            user: check.token,
            kind: "login",
            data: Fields {},
            metadata: Fields {},
            device: Device { ip: IpAddr::V4(Ipv4Addr::LOCALHOST) },
            second_factor: None,
            created_at: at,
            last_seen_at: at,
            idle_expires_at: at,
            absolute_expires_at: at,
        },
    })
}
