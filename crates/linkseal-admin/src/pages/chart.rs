//! A chart of opens and clicks per hour, as SVG.

use linkseal_base::clock::Timestamp;
use linkseal_domain::Language;
use linkseal_event::{HOURS, Hour, Recent};
use maud::{Markup, html};

use crate::i18n;

/// The width of a bar and of the space of an hour, in units of the drawing.
const BAR: usize = 9;
const STEP: usize = 12;
/// The height of the tallest bar, and of the space above it.
const HEIGHT: u32 = 90;
const TOP: u32 = 6;

/// The chart, with its totals as text.
pub(super) fn chart(recent: &Recent, now: Timestamp, l: Language) -> Markup {
    let hours = recent.last_hours(now);
    let most = hours.iter().map(|h| h.opens + h.clicks).max().unwrap_or(0).max(1);
    let sum = |of: fn(&Hour) -> u32| hours.iter().map(|h| u64::from(of(h))).sum::<u64>();
    let (opens, clicks, machines) = (sum(|h| h.opens), sum(|h| h.clicks), sum(|h| h.machines));
    let (opens, clicks) = (i18n::count(opens, l), i18n::count(clicks, l));
    let title = l.pick(
        format!("{opens} opens and {clicks} clicks in the last {HOURS} hours"),
        format!("{opens} Öffnungen und {clicks} Klicks in den letzten {HOURS} Stunden"),
    );
    if hours.iter().all(|h| h.opens + h.clicks == 0) {
        return html! {
            p.muted {
                (l.pick("No opens or clicks by people in the last 48 hours.", "Keine Öffnungen oder Klicks durch Personen in den letzten 48 Stunden."))
                @if machines > 0 { " " (not_counted(machines, l)) }
            }
        };
    }
    let width = HOURS * STEP;
    let bottom = TOP + HEIGHT;
    let tall = |count: u32| (u64::from(count) * u64::from(HEIGHT)).div_ceil(u64::from(most)) as u32;
    html! {
        figure.chart {
            svg viewBox={ "0 0 " (width) " " (bottom + 2) } role="img" aria-label=(title) preserveAspectRatio="none" {
                @for (i, hour) in hours.iter().enumerate() {
                    @let (opens, clicks) = (tall(hour.opens), tall(hour.clicks));
                    @let x = i * STEP + (STEP - BAR) / 2;
                    @if opens > 0 {
                        rect.opens x=(x) y=(bottom - opens) width=(BAR) height=(opens) {}
                    }
                    @if clicks > 0 {
                        rect.clicks x=(x) y=(bottom.saturating_sub(opens + clicks)) width=(BAR) height=(clicks) {}
                    }
                }
                line.axis x1="0" y1=(bottom + 1) x2=(width) y2=(bottom + 1) {}
            }
            div.scale aria-hidden="true" {
                span { (l.pick("48 h ago", "vor 48 h")) }
                span { (l.pick("maximum", "maximal")) " " (i18n::count(most, l)) " / h" }
                span { (l.pick("now", "jetzt")) }
            }
            figcaption {
                span.key.opens { strong { (opens) } " " (l.pick("opens", "Öffnungen")) }
                span.key.clicks { strong { (clicks) } " " (l.pick("clicks", "Klicks")) }
                @if machines > 0 {
                    span.muted { (not_counted(machines, l)) }
                }
            }
        }
    }
}

fn not_counted(machines: u64, l: Language) -> String {
    if machines == 1 {
        let (en, de) = (
            "1 automated request is not counted.",
            "1 automatischer Abruf ist nicht mitgezählt.",
        );
        return l.pick(en, de).to_owned();
    }
    let count = i18n::count(machines, l);
    l.pick(
        format!("{count} automated requests are not counted."),
        format!("{count} automatische Abrufe sind nicht mitgezählt."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recent(hours: &[(i64, u32, u32)]) -> Recent {
        let hours = hours.iter().map(|&(hour, opens, clicks)| Hour {
            hour,
            opens,
            clicks,
            machines: 0,
        });
        Recent {
            hours: hours.collect(),
            ..Recent::default()
        }
    }

    #[test]
    fn bars_are_proportional_and_stacked() {
        let now = Timestamp::from_secs(1_000 * 3600 + 17);
        let drawn = chart(
            &recent(&[(1_000, 100, 50), (953, 30, 0), (900, 9, 9)]),
            now,
            Language::En,
        )
        .into_string();
        // The last hour has the maximum of 150: opens take 60 of 90 units, clicks the 30 above.
        assert!(
            drawn.contains(r#"<rect class="opens" x="565" y="36" width="9" height="60">"#),
            "{drawn}"
        );
        assert!(
            drawn.contains(r#"<rect class="clicks" x="565" y="6" width="9" height="30">"#),
            "{drawn}"
        );
        assert!(
            drawn.contains(r#"<rect class="opens" x="1" y="78" width="9" height="18">"#),
            "{drawn}"
        );
        assert_eq!(
            drawn.matches("<rect").count(),
            3,
            "hours before the last 48 are not drawn"
        );
    }

    #[test]
    fn without_data_there_is_no_chart() {
        let drawn = chart(&Recent::default(), Timestamp::from_secs(0), Language::De).into_string();
        assert!(!drawn.contains("<rect") && !drawn.contains("<svg"));
        assert!(drawn.contains("Keine Öffnungen oder Klicks"), "{drawn}");
    }

    #[test]
    fn automated_requests_alone_make_no_chart() {
        let now = Timestamp::from_secs(1_000 * 3600);
        let machines = Recent {
            hours: [Hour {
                hour: 1_000,
                opens: 0,
                clicks: 0,
                machines: 2,
            }]
            .into(),
            ..Recent::default()
        };
        let said = chart(&machines, now, Language::En).into_string();
        assert!(
            !said.contains("<svg") && said.contains("2 automated requests are not counted"),
            "{said}"
        );
    }
}
