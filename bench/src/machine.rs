//! Where the figures were measured, and how durable the stores were.

use std::fs::read_to_string;

use anyhow::Result;

/// A paragraph for above the table.
///
/// # Errors
/// When the system does not tell.
pub(crate) fn describe() -> Result<String> {
    let cpu = read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let memory = read_to_string("/proc/meminfo")?;
    let memory_kb = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or_default();
    let kernel = read_to_string("/proc/sys/kernel/osrelease")?;
    Ok(format!(
        "machine    {} cores, {}, {} GB, Linux {}\n\
         durability mainstay.db WAL synchronous=FULL, cache.db WAL synchronous=NORMAL, peers WAL synchronous=FULL\n\
         place      client and store on this machine, files under {}",
        std::thread::available_parallelism()?,
        model.unwrap_or("unknown processor"),
        memory_kb / 1_000_000,
        kernel.trim(),
        std::env::temp_dir().display(),
    ))
}
