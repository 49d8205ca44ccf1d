//! A measured figure beside its target and its peer.

use anyhow::Result;
use serde::Serialize;

/// What was asked for on the command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// One run of small size: shows that every bench works, not how fast it is.
    pub(crate) quick: bool,
    /// Measure only figures whose name contains this text.
    pub(crate) only: Option<String>,
    /// Measure no figure whose name contains this text.
    pub(crate) without: Option<String>,
}

impl Options {
    /// Whether the figure `name` is asked for.
    #[must_use]
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|part| name.contains(part.as_str()))
            && !self.without.as_ref().is_some_and(|part| name.contains(part.as_str()))
    }

    /// How often each figure is measured.
    #[must_use]
    pub(crate) fn runs(&self) -> usize {
        if self.quick { 1 } else { 5 }
    }

    /// `full`, or a hundredth of it (at least 1) when quick: how much work one run does.
    #[must_use]
    pub(crate) fn size(&self, full: u64) -> u64 {
        if self.quick { (full / 100).max(1) } else { full }
    }

    /// Measures one figure as often as asked. `None`: it is not asked for, nothing ran.
    ///
    /// # Errors
    /// The first error of `run`.
    pub(crate) fn measure(&self, plan: Plan, mut run: impl FnMut() -> Result<f64>) -> Result<Option<Figure>> {
        if !self.wants(plan.name) {
            return Ok(None);
        }
        let values = (0..self.runs()).map(|_| run()).collect::<Result<Vec<_>>>()?;
        Ok(Some(Figure { plan, values }))
    }
}

/// What a figure is and what it should reach.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// `noun.what`, as in `cache.hit_p50`.
    pub(crate) name: &'static str,
    /// As in `ns`, `ms`, `/s`, `MB`.
    pub(crate) unit: &'static str,
    /// What it should reach.
    pub(crate) target: Target,
    /// The figure of the peers that it stands beside, as in `moka.hit_p50`; `bench/peers/src/main.rs`
    /// knows their names.
    pub(crate) peer: Option<&'static str>,
}

/// What a figure should reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
    /// At least this part of the peer's figure, as in 0.6.
    OfPeer(f64),
}

/// A plan and what was measured, one value a run.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) plan: Plan,
    /// The value of each run, in the order of the runs.
    pub(crate) values: Vec<f64>,
}

impl Figure {
    /// The median of the runs.
    #[must_use]
    pub(crate) fn median(&self) -> f64 {
        median(&self.values)
    }

    /// Whether the target is reached, given the peer's value. `None`: it is a part of a peer that was
    /// not measured.
    #[must_use]
    pub(crate) fn is_met(&self, peer: Option<f64>) -> Option<bool> {
        match self.plan.target {
            Target::AtLeast(target) => Some(self.median() >= target),
            Target::AtMost(target) => Some(self.median() <= target),
            Target::OfPeer(part) => peer.map(|peer| self.median() >= part * peer),
        }
    }
}

/// What a peer prints, one JSON object a line; also how peers inside this binary report.
#[derive(Clone, Debug, Serialize, serde::Deserialize)]
pub(crate) struct PeerValue {
    /// `peer.what`, as in `moka.hit_p50`.
    pub(crate) name: String,
    /// One run's value.
    pub(crate) value: f64,
    /// The unit.
    pub(crate) unit: String,
}

/// The middle value; the mean of the two middle ones when their number is even; 0 for none.
#[must_use]
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_the_sorted_runs() {
        assert_eq!(median(&[9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(&[1.0, 3.0]), 2.0);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn a_part_of_a_peer_that_was_not_measured_is_neither_met_nor_missed() {
        let plan = Plan { name: "x", unit: "/s", target: Target::OfPeer(0.6), peer: Some("y") };
        let figure = Figure { plan, values: vec![60.0] };
        assert_eq!(figure.is_met(Some(100.0)), Some(true));
        assert_eq!(figure.is_met(Some(101.0)), Some(false));
        assert_eq!(figure.is_met(None), None);
    }
}
