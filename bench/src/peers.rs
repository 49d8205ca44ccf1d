//! Runs the peers, which are a binary of their own since they bring their own SQLite.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    Figure, Options,
    figure::{PeerValue, median},
};

/// What was measured of the peers: name and median.
pub(crate) type Measured = BTreeMap<String, f64>;

/// Measures the peers of `figures` as often as the figures.
///
/// # Errors
/// When they cannot run, or do not print what they should.
pub(crate) fn run(options: &Options, figures: &[Figure], binary: &Path) -> Result<Measured> {
    let mut wanted: Vec<_> = figures.iter().filter_map(|figure| figure.plan.peer).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..options.runs() {
        let mut command = Command::new(binary);
        command.args(options.quick.then_some("--quick")).args(&wanted).stderr(Stdio::inherit());
        let output = command.output().with_context(|| format!("{} does not start", binary.display()))?;
        ensure!(output.status.success(), "the peers ended with {}", output.status);
        for line in String::from_utf8(output.stdout)?.lines() {
            let peer: PeerValue = serde_json::from_str(line).with_context(|| line.to_owned())?;
            values.entry(peer.name).or_default().push(peer.value);
        }
    }
    Ok(values.into_iter().map(|(name, values)| (name, median(&values))).collect())
}
