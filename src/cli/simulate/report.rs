//! The outcome of a replay as a table.

use std::time::Duration;

use crate::cli::output;
use crate::simulate::{DAY, Outcome, Scenario, span_words, thousands};

pub(super) fn report(scenario: &Scenario, outcome: &Outcome) -> String {
    let row = |what: &str, how_much: String| [what.to_owned(), how_much];
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
                "{} ({} validations, {} while the CA was away)",
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
                    "{}, the worst without a certificate for {}",
                    n(count),
                    about(outcome.longest_expired)
                ),
            },
        ),
        row("expired after leaving", n(outcome.expired_departed)),
        row(
            "longest queue",
            format!("{} orders for a slot", n(outcome.longest_queue)),
        ),
        row(
            "held back by a limit",
            format!(
                "{} domains at most, put off {} times",
                n(outcome.most_held_back),
                n(outcome.held_back)
            ),
        ),
        row("longest wait for a first", about(outcome.longest_wait)),
        row(
            "without a first in the end",
            format!(
                "{} waiting, {} that the CA cannot validate",
                n(outcome.still_waiting),
                n(outcome.never_issued)
            ),
        ),
    ];
    if let (Some(left), Some(share)) = (outcome.least_left, outcome.least_left_share) {
        let text = format!("{}, {:.0} % of the life", about(left), share * 100.0);
        rows.push(row("least left at renewal", text));
    }
    rows.push(row(
        "account's limit used",
        format!(
            "{} of {} orders ({:.0} %), at {} a {}",
            n(outcome.account_taken),
            n(outcome.account_allowed),
            100.0 * outcome.account_taken as f64 / outcome.account_allowed.max(1) as f64,
            orders.count,
            span_words(orders.per)
        ),
    ));
    rows.push(row(
        "such an account carries",
        if scenario.ari {
            format!(
                "any number of renewals (exempt by ARI), {} new ones a day",
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
    rows.push(row("renewal information asked", n(outcome.renewal_info_requests)));
    if outcome.replaced_after_move > 0 {
        let last = about(outcome.longest_after_move);
        let text = format!("{} certificates, the last after {last}", n(outcome.replaced_after_move));
        rows.push(row("replaced early at the CA's word", text));
    }
    let mut text = output::table(None, &rows);
    let refused = outcome.refused_account + outcome.refused_name;
    if refused > 0 {
        text.push_str(&format!(
            "\nTHE CA REFUSED {} ORDERS: its limits are tighter than those that acme.limits counts by.\n",
            n(refused)
        ));
    }
    if outcome.expired > 0 {
        text.push_str(&format!(
            "\nCERTIFICATES EXPIRE: {} ran out before they were replaced.\n",
            n(outcome.expired)
        ));
    }
    text
}

/// A span as people say it, in its two largest units.
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
    fn spans_are_told_in_two_units() {
        for (secs, text) in [(5, "5 s"), (65, "1 min 5 s"), (7_260, "2 h 1 min"), (90_000, "1 d 1 h")] {
            assert_eq!(about(Duration::from_secs(secs)), text);
        }
    }
}
