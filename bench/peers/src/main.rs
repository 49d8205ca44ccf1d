//! What others do in the benches of Mainstay: measures the named figures once each and prints a
//! JSON object a line, `{"name", "value", "unit"}`. Started by `mainstay-bench`.

mod caches;
mod tower_sessions;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    let before = names.len();
    names.retain(|name| name != "--quick");
    let size = if names.len() < before { 100 } else { 1 };
    for name in names {
        let (value, unit) = match name.as_str() {
            "moka.hit_p50" => (caches::moka(size, 1000)?, "ns"),
            "moka.hit_p50_of_10k" => (caches::moka(size, 10_000)?, "ns"),
            "quick_cache.hit_p50" => (caches::quick_cache(size, 1000)?, "ns"),
            "quick_cache.hit_p50_of_10k" => (caches::quick_cache(size, 10_000)?, "ns"),
            "tower_sessions.load" => (tower_sessions::load(size)?, "/s"),
            "tower_sessions.create" => (tower_sessions::create(size)?, "/s"),
            // Measured by mainstay-bench itself.
            "axum.bare_json" => continue,
            _ => bail!("no peer is called {name}"),
        };
        println!("{}", serde_json::json!({ "name": name, "value": value, "unit": unit }));
    }
    Ok(())
}
