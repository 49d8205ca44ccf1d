//! The server as clients see it: a real one on a free port, in this process.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod cache;
mod cli;
mod edge;
mod health;
mod isolation;
mod secrets;
mod server;
mod sessions;
mod tokens;
