//! The table of figures.

use std::fmt::Write as _;

use crate::{Figure, Target, peers::Measured};

/// One line a figure: name, target, median and range of the runs, peer, ratio to it, met or not; a small run does not say.
#[must_use]
pub(crate) fn render(figures: &[Figure], peers: &Measured) -> String {
    let mut rows = vec![["figure", "target", "ours", "range", "peer", "ratio", "met"].map(str::to_owned)];
    rows.extend(figures.iter().map(|figure| row(figure, peers)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..7).map(width).collect();
    let mut out = String::from("\n");
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(out, "{cell:<width$}  ", width = widths[column]);
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

fn row(figure: &Figure, peers: &Measured) -> [String; 7] {
    let unit = figure.plan.unit;
    let peer = figure.plan.peer.and_then(|name| Some((name, *peers.get(name)?)));
    let low = figure.values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = figure.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    [
        figure.plan.name.to_owned(),
        match figure.plan.target {
            Target::AtLeast(target) => format!("≥ {}", number(target, unit)),
            Target::AtMost(target) => format!("≤ {}", number(target, unit)),
            Target::OfPeer(part) => format!("≥ {:.0} % of peer", part * 100.0),
        },
        number(figure.median(), unit),
        if figure.values.len() > 1 { format!("{} … {}", digits(low), digits(high)) } else { String::new() },
        peer.map_or_else(String::new, |(name, value)| format!("{name} {}", number(value, unit))),
        peer.map_or_else(String::new, |(_, value)| format!("{:.2}", figure.median() / value)),
        // One value is not a measurement.
        match figure.is_met(peer.map(|(_, value)| value)).filter(|_| figure.values.len() > 1) {
            Some(true) => "yes".to_owned(),
            Some(false) => "NO".to_owned(),
            None => String::new(),
        },
    ]
}

fn number(value: f64, unit: &str) -> String {
    if unit.starts_with('/') || unit.is_empty() {
        format!("{}{unit}", digits(value))
    } else {
        format!("{} {unit}", digits(value))
    }
}

/// Three digits or more, thousands apart.
fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 || v == v.trunc() => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(w, f)| (w, Some(f)));
    let mut out = String::new();
    for (at, digit) in whole.chars().enumerate() {
        let left = whole.len() - at;
        if at > 0 && left.is_multiple_of(3) && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    match fraction {
        Some(fraction) => format!("{out}.{fraction}"),
        None => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Plan;

    #[test]
    fn thousands_are_apart_and_small_numbers_keep_digits() {
        assert_eq!(digits(1_234_567.8), "1,234,568");
        assert_eq!(digits(300_000.0), "300,000");
        assert_eq!(digits(31.25), "31.2");
        assert_eq!(digits(0.0), "0");
        assert_eq!(digits(1.234), "1.23");
    }

    #[test]
    fn a_row_says_what_was_reached() {
        let plan = Plan { name: "a.b", unit: "/s", target: Target::OfPeer(0.5), peer: Some("p.b") };
        let figures = [Figure { plan, values: vec![60.0, 50.0, 70.0] }];
        let table = render(&figures, &Measured::from([("p.b".to_owned(), 100.0)]));
        let row = table.lines().last().unwrap();
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>().join(" "),
            "a.b ≥ 50 % of peer 60/s 50 … 70 p.b 100/s 0.60 yes"
        );
    }
}
