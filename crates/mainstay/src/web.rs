//! Tower layers and axum extractors.

mod response_cache;
mod session_layer;

pub use response_cache::*;
pub use session_layer::{CookieOptions, CurrentSession, SameSite, SessionLayer};
