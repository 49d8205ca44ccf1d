//! `mainstay doctor`: looks at everything that a server needs and says what is wrong.
//!
//! It opens no file that a running server holds, and changes nothing.

use std::path::{Path, PathBuf};

use mainstay_core::{Clock, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::{
    Global,
    client::Client,
    exit::{Exit, Failure},
    output::Output,
};

/// With less space the store may soon refuse writes.
const SPACE_WARN_BYTES: u64 = 1 << 30;
/// With less space it will.
const SPACE_FAIL_BYTES: u64 = 64 << 20;
/// No clock that is right shows a time before this program was written: 2026-01-01.
const CLOCK_MIN: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// Kinds of file systems on which locks of SQLite cannot be trusted, as `statfs` tells them.
const NETWORK_FILE_SYSTEMS: [(u64, &str); 8] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0102_1997, "9P"),
    (0x5346_414f, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x7461_636f, "OCFS2"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    detail: String,
}

fn finding(check: &'static str, verdict: Verdict, detail: impl Into<String>) -> Finding {
    Finding { check, verdict, detail: detail.into() }
}

/// Runs every check. Fails when one of them does.
pub(super) fn run(global: &Global, output: &Output) -> Result<Exit, Failure> {
    let mut findings = Vec::new();
    match global.settings(Vec::new()) {
        Ok(found) => {
            let detail =
                format!("listen {}, data_dir {}", found.config.listen, found.config.data_dir.display());
            findings.push(finding("config", Verdict::Ok, detail));
            findings.extend(found.warnings.into_iter().map(|text| finding("config", Verdict::Warn, text)));
            look_at_folder(&found.config.data_dir, &mut findings);
        }
        Err(failure) => findings.push(finding("config", Verdict::Fail, failure.to_string())),
    }
    findings.push(sqlite());
    findings.push(clock());
    findings.push(server(&Client::new(global)));
    let worst = findings.iter().map(|finding| finding.verdict).max();
    let rows: Vec<Value> = findings.iter().filter_map(|row| serde_json::to_value(row).ok()).collect();
    output.list(&rows, &["check", "verdict", "detail"])?;
    Ok(if worst == Some(Verdict::Fail) { Exit::Failed } else { Exit::Ok })
}

fn look_at_folder(folder: &Path, findings: &mut Vec<Finding>) {
    // Of a folder that is to be made, the nearest one that is there tells the rest.
    let place =
        folder.ancestors().find(|path| path.is_dir()).map_or_else(|| PathBuf::from("."), Path::to_owned);
    findings.push(writable(folder, &place));
    findings.push(file_system(&place));
    findings.push(space(&place));
    if !folder.is_dir() {
        return;
    }
    match mainstay::check_folder(folder) {
        Ok(()) => findings.push(finding("store", Verdict::Ok, "every page was read and hangs together")),
        Err(error) if error.is_retryable() => {
            let reason =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            findings.push(finding("store", Verdict::Warn, format!("not looked into: {reason}")));
        }
        Err(error) => {
            findings.push(finding("store", Verdict::Fail, format!("{:#}", anyhow::Error::new(error))));
        }
    }
}

fn writable(folder: &Path, place: &Path) -> Finding {
    use rustix::fs::{Access, access};
    let shown = folder.display();
    let may = access(place, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    match (may, folder.is_dir()) {
        (true, true) => finding("folder", Verdict::Ok, format!("{shown} can be written")),
        (true, false) => {
            finding("folder", Verdict::Ok, format!("{shown} is not there; the first start makes it"))
        }
        (false, _) => {
            finding("folder", Verdict::Fail, format!("{} cannot be written by this user", place.display()))
        }
    }
}

fn file_system(place: &Path) -> Finding {
    let Ok(stat) = rustix::fs::statfs(place) else {
        return finding("file system", Verdict::Warn, "cannot be told");
    };
    // The kernel gives 32 bits, with or without a sign.
    let kind = stat.f_type as u64 & 0xffff_ffff;
    match NETWORK_FILE_SYSTEMS.iter().find(|(known, _)| *known == kind) {
        Some((_, name)) => finding(
            "file system",
            Verdict::Fail,
            format!("{} is on {name}; a SQLite file needs a local disk", place.display()),
        ),
        None => finding("file system", Verdict::Ok, "local"),
    }
}

fn space(place: &Path) -> Finding {
    let Ok(stat) = rustix::fs::statvfs(place) else {
        return finding("space", Verdict::Warn, "cannot be told");
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let verdict = if free < SPACE_FAIL_BYTES {
        Verdict::Fail
    } else if free < SPACE_WARN_BYTES {
        Verdict::Warn
    } else {
        Verdict::Ok
    };
    finding("space", verdict, format!("{} MiB free", free >> 20))
}

/// Opens a store in a temporary folder, as no other way proves that one can be opened.
fn sqlite() -> Finding {
    let version = super::runtime().and_then(|runtime| {
        runtime.block_on(async {
            let mainstay = mainstay::Mainstay::embedded(":memory:").await?;
            let stats = mainstay.store_stats().await;
            mainstay.close().await;
            Ok(stats?.version)
        })
    });
    match version {
        Ok(version) => finding("sqlite", Verdict::Ok, version),
        Err(failure) => finding("sqlite", Verdict::Fail, failure.to_string()),
    }
}

fn clock() -> Finding {
    let now = Clock::system().now();
    if now < CLOCK_MIN {
        return finding(
            "clock",
            Verdict::Fail,
            format!("{now} is in the past: sessions would end at the wrong time"),
        );
    }
    finding("clock", Verdict::Ok, now.to_string())
}

fn server(client: &Client) -> Finding {
    match client.healthcheck() {
        Ok(_) => finding("server", Verdict::Ok, format!("{} is ready", client.url())),
        Err(failure) if failure.exit == Exit::Unavailable => {
            finding("server", Verdict::Ok, format!("none answers at {}", client.url()))
        }
        Err(failure) => finding("server", Verdict::Fail, failure.to_string()),
    }
}
