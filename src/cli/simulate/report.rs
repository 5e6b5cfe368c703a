//! The outcome of a replay as a table.

use std::time::Duration;

use crate::cli::output;
use crate::simulate::{DAY, Outcome, Scenario, span_words, thousands};

pub(super) fn report(scenario: &Scenario, outcome: &Outcome) -> String {
    let row = |label: &str, value: String| [label.to_owned(), value];
    let n = thousands;
    let orders = &scenario.limits.orders_per_account;
    let mut rows = vec![
        row("domains", n(outcome.domains)),
        row("days", n(scenario.span.as_secs() / DAY.as_secs())),
        row(
            "orders",
            format!("{} (busiest day {})", n(outcome.orders), n(outcome.busiest_day)),
        ),
        row("first certificates", n(outcome.first)),
        row("renewals", n(outcome.renewals)),
        row(
            "failed orders",
            format!(
                "{} ({} validations, {} during outages)",
                n(outcome.failed_validations + outcome.failed_unreachable),
                n(outcome.failed_validations),
                n(outcome.failed_unreachable)
            ),
        ),
        row(
            "refused by the CA's limits",
            format!(
                "{} ({} for the account, {} for a name)",
                n(outcome.refused_account + outcome.refused_name),
                n(outcome.refused_account),
                n(outcome.refused_name)
            ),
        ),
        row(
            "expired",
            match outcome.expired {
                0 => "none".to_owned(),
                count => format!(
                    "{}, for up to {} without a certificate",
                    n(count),
                    about(outcome.longest_expired)
                ),
            },
        ),
        row("expired after leaving", n(outcome.expired_departed)),
        row(
            "longest queue",
            format!("{} orders waiting for a slot", n(outcome.longest_queue)),
        ),
        row(
            "held back by a limit",
            format!(
                "at most {} domains at once, {} times in all",
                n(outcome.most_held_back),
                n(outcome.held_back)
            ),
        ),
        row("longest wait for issuance", about(outcome.longest_wait)),
        row(
            "no certificate at the end",
            format!(
                "{} waiting, {} that the CA cannot validate",
                n(outcome.still_waiting),
                n(outcome.never_issued)
            ),
        ),
    ];
    if let (Some(left), Some(share)) = (outcome.least_left, outcome.least_left_share) {
        let text = format!("{}, {:.0} % of the lifetime", about(left), share * 100.0);
        rows.push(row("least time left at renewal", text));
    }
    rows.push(row(
        "account's limit used",
        format!(
            "{} of {} orders ({:.0} %), at {} per {}",
            n(outcome.account_taken),
            n(outcome.account_allowed),
            100.0 * outcome.account_taken as f64 / outcome.account_allowed.max(1) as f64,
            orders.count,
            span_words(orders.per)
        ),
    ));
    rows.push(row(
        "the account can carry",
        if scenario.ari {
            format!(
                "any number of renewals (exempt by ARI), {} new domains a day",
                n(scenario.orders_per_day() as u64)
            )
        } else {
            format!(
                "{} domains, {} orders a day",
                n(scenario.carried()),
                n(scenario.orders_per_day() as u64)
            )
        },
    ));
    rows.push(row("ARI requests", n(outcome.renewal_info_requests)));
    if outcome.replaced_after_move > 0 {
        let last = about(outcome.longest_after_move);
        let text = format!("{} certificates, the last after {last}", n(outcome.replaced_after_move));
        rows.push(row("replaced early by ARI", text));
    }
    let mut text = output::table(None, &rows);
    let refused = outcome.refused_account + outcome.refused_name;
    if refused > 0 {
        text.push_str(&format!(
            "\nTHE CA REFUSED {} ORDERS: its limits are tighter than acme.limits.\n",
            n(refused)
        ));
    }
    if outcome.expired > 0 {
        text.push_str(&format!(
            "\nCERTIFICATES EXPIRED: {} were not replaced in time.\n",
            n(outcome.expired)
        ));
    }
    text
}

/// A span in its two largest units.
fn about(span: Duration) -> String {
    let secs = span.as_secs();
    let (days, hours, minutes) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, _) => format!("{minutes} min {} s", secs % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units() {
        for (secs, text) in [(5, "5 s"), (65, "1 min 5 s"), (7_260, "2 h 1 min"), (90_000, "1 d 1 h")] {
            assert_eq!(about(Duration::from_secs(secs)), text);
        }
    }
}
