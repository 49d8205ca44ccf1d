//! `POST /v1/sessions/check` with wrk over 64 connections, beside a bare axum handler.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    Figure, Options, Plan, Target,
    figure::median,
    peers::Measured,
    server::{Process, Server},
};

const CHECK: Plan = Plan {
    name: "http.session_check",
    unit: "/s",
    target: Target::OfPeer(0.6),
    peer: Some("axum.bare_json"),
};
/// So many sessions are checked in turn.
const SESSIONS: usize = 1000;
const CONNECTIONS: &str = "64";

/// Measures server and peer in turn, so that both see the same machine.
///
/// # Errors
/// When wrk is not there or an answer was not 200.
pub(crate) fn run(options: &Options, binary: &Path) -> Result<(Vec<Figure>, Measured)> {
    if !options.wants(CHECK.name) {
        return Ok((Vec::new(), Measured::new()));
    }
    let folder = tempfile::tempdir()?;
    let server = Server::start(binary, &folder.path().join("data"))?;
    let script = folder.path().join("check.lua");
    write_script(&script, &server)?;
    let bare = bare()?;

    let mut bare_values = Vec::new();
    let figure = options.measure(CHECK, || {
        bare_values.push(wrk(options, &bare.url, &script)?);
        wrk(options, &server.url, &script)
    })?;
    let name = CHECK.peer.unwrap_or_default().to_owned();
    Ok((figure.into_iter().collect(), Measured::from([(name, median(&bare_values))])))
}

/// The bare handler, which is built beside this binary.
fn bare() -> Result<Process> {
    let mut child = Command::new(std::env::current_exe()?.with_file_name("mainstay-bench-bare"))
        .stdout(Stdio::piped())
        .spawn()
        .context("the bare axum handler does not start")?;
    let stdout = child.stdout.take().context("stdout is piped")?;
    let mut url = String::new();
    BufReader::new(stdout).read_line(&mut url)?;
    ensure!(url.starts_with("http://"), "the bare axum handler printed {url:?}");
    Ok(Process { child, url: url.trim().to_owned() })
}

/// Creates sessions and writes what wrk sends.
fn write_script(path: &Path, server: &Server) -> Result<()> {
    let mut file = std::fs::File::create(path)?;
    writeln!(file, "local bodies = {{")?;
    for number in 0..SESSIONS {
        let body = serde_json::json!({ "user": format!("user-{number}"), "device": { "ip": "127.0.0.1" } });
        let answer: serde_json::Value = ureq::post(format!("{}/v1/sessions", server.url))
            .header("Authorization", format!("Bearer {}", server.token))
            .send_json(&body)?
            .body_mut()
            .read_json()?;
        let token = answer["token"].as_str().context("a token in the answer")?;
        writeln!(file, "  '{{\"token\":\"{token}\"}}',")?;
    }
    writeln!(file, "}}")?;
    writeln!(
        file,
        "local requests, turn = {{}}, 0\n\
         function init()\n\
         \x20 wrk.method = 'POST'\n\
         \x20 wrk.headers['Content-Type'] = 'application/json'\n\
         \x20 wrk.headers['Authorization'] = 'Bearer {}'\n\
         \x20 for i, body in ipairs(bodies) do requests[i] = wrk.format(nil, '/v1/sessions/check', nil, body) end\n\
         end\n\
         function request() turn = turn % #requests + 1 return requests[turn] end",
        server.token
    )?;
    Ok(())
}

/// Requests per second. An answer other than 2xx is an error: it would be cheaper to give.
fn wrk(options: &Options, url: &str, script: &Path) -> Result<f64> {
    let seconds = if options.quick { "1s" } else { "5s" };
    let output = Command::new("wrk")
        .args(["-t1", "-c", CONNECTIONS, "-d", seconds, "-s"])
        .arg(script)
        .arg(url)
        .output()
        .context("wrk does not start")?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.success() && !text.contains("Non-2xx") && !text.contains("Socket errors"),
        "wrk:\n{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    Ok(rate.context("wrk prints a rate")?.trim().parse()?)
}
