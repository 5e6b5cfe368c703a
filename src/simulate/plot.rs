//! The plot: one self-contained SVG file that follows the reader's light or dark theme.

use std::fmt::Write;
use std::time::Duration;

use super::tally::{Outcome, Series};
use super::{DAY, Scenario};

/// Sizes in pixels.
const WIDTH: f64 = 960.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 64.0;
const PANEL: f64 = 110.0;
/// Between two panels; contains the title of the lower one.
const GAP: f64 = 46.0;
const BOTTOM: f64 = 52.0;
/// Maximum number of marks on the axis of days.
const DAY_MARKS: f64 = 12.0;

/// A curve: its legend, class and values.
type Curve<'a> = (&'a str, &'static str, &'a [u64]);

/// Draws the outcome of a scenario.
pub(crate) fn plot(scenario: &Scenario, outcome: &Outcome) -> String {
    let series = &outcome.series;
    let step = span_words(series.step);
    let panels: [(String, Vec<Curve<'_>>); 4] = [
        (
            "Waiting domains, maximum".to_owned(),
            vec![
                ("held back by a limit", "b", &series.held_back),
                ("for an order slot", "a", &series.queue),
            ],
        ),
        (
            format!("Certificates per {step}"),
            vec![("renewals", "a", &series.renewals), ("first", "b", &series.first)],
        ),
        (
            format!("Failed orders per {step}"),
            vec![("failed", "c", &series.failures)],
        ),
        (
            "Domains with an expired certificate".to_owned(),
            vec![("expired", "c", &series.expired)],
        ),
    ];
    let height = TOP + 4.0 * PANEL + 3.0 * GAP + BOTTOM;
    let title = title(scenario);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-labelledby=\"title desc\" font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <title id=\"title\">{}</title>\n<desc id=\"desc\">{}</desc>\n{STYLE}\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text class=\"ink\" x=\"{LEFT}\" y=\"26\" font-size=\"16\" font-weight=\"600\">{}</text>\n",
        escape(&title),
        escape(&description(outcome)),
        escape(&title),
    );
    for (number, (name, curves)) in panels.iter().enumerate() {
        let top = TOP + number as f64 * (PANEL + GAP);
        panel(&mut svg, top, name, curves, series, scenario.span);
    }
    writeln!(
        svg,
        "<text class=\"soft\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">days since the start</text>\n</svg>",
        LEFT + (WIDTH - LEFT - RIGHT) / 2.0,
        height - 12.0
    )
    .ok();
    svg
}

const STYLE: &str = "<style>\n\
    .paper{fill:#fff}.ink{fill:#1f2328}.soft{fill:#59636e}.grid{stroke:#d1d9e0;stroke-width:1}\n\
    .a{fill:#0969da}.b{fill:#bc4c00}.c{fill:#a40e26}\n\
    @media (prefers-color-scheme:dark){.paper{fill:#0d1117}.ink{fill:#f0f6fc}.soft{fill:#9198a1}\
    .grid{stroke:#3d444d}.a{fill:#4493f8}.b{fill:#f0883e}.c{fill:#ff7b72}}\n\
    </style>\n";

fn panel(svg: &mut String, top: f64, name: &str, curves: &[Curve<'_>], series: &Series, span: Duration) {
    let (width, bottom) = (WIDTH - LEFT - RIGHT, top + PANEL);
    let days = span.div_duration_f64(DAY);
    let most = curves.iter().flat_map(|(_, _, values)| *values).max().copied();
    let (mark, ceiling) = scale(most.unwrap_or(0));
    // Writing to a String cannot fail.
    writeln!(
        svg,
        "<text class=\"ink\" x=\"{LEFT}\" y=\"{}\" font-weight=\"600\">{}</text>",
        top - 10.0,
        escape(name)
    )
    .ok();
    let mut at = 0;
    while at <= ceiling {
        let y = bottom - PANEL * at as f64 / ceiling as f64;
        writeln!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {y:.1}h{width}\"/><text class=\"soft\" x=\"{}\" y=\"{:.1}\" \
             text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + 4.0,
            thousands(at)
        )
        .ok();
        at += mark;
    }
    let day_mark = nice(days / DAY_MARKS).max(1.0);
    let mut day = 0.0;
    while day <= days {
        let x = LEFT + width * day / days;
        writeln!(
            svg,
            "<path class=\"grid\" d=\"M{x:.1} {bottom}v5\"/><text class=\"soft\" x=\"{x:.1}\" y=\"{}\" \
             text-anchor=\"middle\">{day}</text>",
            bottom + 17.0
        )
        .ok();
        day += day_mark;
    }
    let mut legend = WIDTH - RIGHT;
    for (label, class, values) in curves {
        // A curve without a value above zero would only be a line on the axis.
        if values.iter().any(|v| *v > 0) {
            area(
                svg,
                class,
                values,
                series.step.div_duration_f64(span),
                (bottom, ceiling),
            );
        }
        writeln!(
            svg,
            "<text class=\"soft\" x=\"{legend}\" y=\"{y}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"10\" height=\"10\"/>",
            escape(label),
            legend - label.len() as f64 * 6.4 - 14.0,
            top - 19.0,
            y = top - 10.0,
        )
        .ok();
        legend -= label.len() as f64 * 6.4 + 34.0;
    }
}

/// A step curve, filled down to the axis. `share`: the width of a step as a share of the panel's.
fn area(svg: &mut String, class: &str, values: &[u64], share: f64, (bottom, ceiling): (f64, u64)) {
    let width = WIDTH - LEFT - RIGHT;
    write!(svg, "<path class=\"{class}\" fill-opacity=\".85\" d=\"M{LEFT} {bottom}").ok();
    for (number, value) in values.iter().enumerate() {
        let y = bottom - PANEL * *value as f64 / ceiling as f64;
        let x = LEFT + width * ((number + 1) as f64 * share).min(1.0);
        write!(svg, "V{y:.1}H{x:.1}").ok();
    }
    writeln!(svg, "V{bottom}Z\"/>").ok();
}

/// The distance between marks, and the topmost mark: `most` or above.
fn scale(most: u64) -> (u64, u64) {
    let mark = nice(most as f64 / 3.0).max(1.0) as u64;
    (mark, most.div_ceil(mark).max(1) * mark)
}

/// The smallest of 1, 2, 5, 10, 20, 50, … that is at least `least`.
fn nice(least: f64) -> f64 {
    if least <= 0.0 {
        return 0.0;
    }
    let power = 10f64.powf(least.log10().floor());
    let of = |n: f64| n * power;
    [1.0, 2.0, 5.0]
        .map(of)
        .into_iter()
        .find(|n| *n >= least)
        .unwrap_or(10.0 * power)
}

fn title(scenario: &Scenario) -> String {
    let lifetimes: Vec<_> = scenario.lifetimes.iter().map(|(_, life)| span_words(*life)).collect();
    format!(
        "{} domains, certificates of {}, {:.0} days",
        thousands(scenario.domains.into()),
        lifetimes.join(", then "),
        scenario.span.div_duration_f64(DAY)
    )
}

fn description(outcome: &Outcome) -> String {
    format!(
        "{} first certificates, {} renewals, {} failed orders, {} expired.",
        thousands(outcome.first),
        thousands(outcome.renewals),
        thousands(outcome.failed_validations + outcome.failed_unreachable),
        thousands(outcome.expired)
    )
}

/// A span in whole days, else in hours, else in seconds; for one unit only the unit.
pub(crate) fn span_words(span: Duration) -> String {
    let of = |count: u64, unit: &str| match count {
        1 => unit.to_owned(),
        _ => format!("{count} {unit}s"),
    };
    match span.as_secs() {
        secs if secs % 86_400 == 0 => of(secs / 86_400, "day"),
        secs if secs % 3_600 == 0 => of(secs / 3_600, "hour"),
        secs => of(secs, "second"),
    }
}

/// A number with thousands separators.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_numbers_and_the_highest_value_fits() {
        for (most, expected) in [
            (0, (1, 1)),
            (1, (1, 1)),
            (3, (1, 3)),
            (7, (5, 10)),
            (3_400, (2_000, 4_000)),
        ] {
            assert_eq!(scale(most), expected, "{most}");
        }
        assert!((nice(0.3) - 0.5).abs() < 1e-9 && (nice(15.0) - 20.0).abs() < 1e-9);
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(100), "100");
        assert_eq!(escape("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
        assert_eq!(span_words(DAY * 45), "45 days");
        assert_eq!(span_words(Duration::from_secs(160 * 3600)), "160 hours");
    }
}
