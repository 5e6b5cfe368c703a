//! The four steps to HTTPS, and which of them a domain has reached.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::Language;
use linkseal_domain::ssl::{Reason, State};
use maud::{Markup, html};

use super::icons;

/// How often a page refreshes while an order is in progress.
const SOON: Duration = Duration::from_millis(1_500);
/// How often it refreshes while the next attempt is further away.
const LATER: Duration = Duration::from_secs(15);
/// An attempt that is due within this time counts as in progress.
const AT_ONCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Done,
    Now,
    Stuck,
    Todo,
}

/// The steps; `None` if the domain is paused or denied. `points_here`: the result of the last DNS check.
pub(super) fn steps(reason: Reason, points_here: bool, is_due: bool, l: Language) -> Option<Markup> {
    let [dns, queue, order, https] = step_states(reason, points_here, is_due)?;
    let step = |step: Step, title: &str, text: &str| {
        let (class, icon, says) = match step {
            Step::Done => ("done", icons::check(), l.pick("done", "erledigt")),
            Step::Now => ("now", icons::spinner(), l.pick("in progress", "läuft")),
            Step::Stuck => ("stuck", icons::cross(), l.pick("blocked", "blockiert")),
            Step::Todo => ("todo", icons::circle(), l.pick("pending", "steht noch aus")),
        };
        html! {
            li class=(class) aria-current=[(step == Step::Now).then_some("step")] {
                strong { (icon) (title) }
                span { (text) span.sr-only { " (" (says) ")" } }
            }
        }
    };
    Some(html! {
        ol.steps aria-label=(l.pick("Steps to HTTPS", "Schritte zu HTTPS")) {
            (step(dns, "DNS", l.pick("DNS points here", "Die DNS-Einträge stimmen")))
            (step(queue, l.pick("Order", "Bestellung"), l.pick("A certificate is ordered", "Das Zertifikat wird bestellt")))
            (step(order, l.pick("Validation", "Prüfung"), l.pick("The CA validates the domain", "Die CA prüft die Domain")))
            (step(https, "HTTPS", l.pick("The certificate is in use", "Das Zertifikat ist aktiv")))
        }
    })
}

fn step_states(reason: Reason, points_here: bool, is_due: bool) -> Option<[Step; 4]> {
    use Step::{Done, Now, Stuck, Todo};
    Some(match reason {
        Reason::Ok | Reason::Renewing | Reason::RenewalFailing | Reason::Moved if points_here => {
            [Done, Done, Done, Done]
        }
        // The certificate is served, but DNS prevents its renewal.
        Reason::Ok | Reason::Renewing | Reason::RenewalFailing | Reason::Moved => [Stuck, Done, Done, Done],
        Reason::Queued => [Done, Now, Todo, Todo],
        Reason::Ordering => [Done, Now, Todo, Todo],
        Reason::Validating => [Done, Done, Now, Todo],
        Reason::RateLimited | Reason::CaUnreachable => [Done, Stuck, Todo, Todo],
        Reason::RetryScheduled | Reason::ValidationFailed | Reason::GivenUp => [Done, Done, Stuck, Todo],
        Reason::NeverRequested | Reason::Expired if points_here && is_due => [Done, Now, Todo, Todo],
        Reason::NeverRequested | Reason::Expired if points_here => [Done, Todo, Todo, Todo],
        Reason::NeverRequested | Reason::Expired if is_due => [Now, Todo, Todo, Todo],
        Reason::NeverRequested | Reason::Expired => [Todo, Todo, Todo, Todo],
        Reason::DnsMissing
        | Reason::DnsElsewhere
        | Reason::Proxied
        | Reason::StrayAaaa
        | Reason::CaaForbids
        | Reason::DnsError => [Stuck, Todo, Todo, Todo],
        Reason::Denied | Reason::Paused => return None,
    })
}

/// Whether the next attempt is about to start.
pub(super) fn is_due(next: Option<Timestamp>, now: Timestamp) -> bool {
    next.is_some_and(|next| next <= now + AT_ONCE)
}

/// How often a page refreshes itself, in milliseconds; 0 if it does not.
pub(super) fn refresh_interval(reason: Reason, is_due: bool) -> u64 {
    let wait = match reason {
        Reason::Queued | Reason::Ordering | Reason::Validating | Reason::Renewing => SOON,
        // Visitors do not wait for a renewal.
        Reason::Ok | Reason::RenewalFailing | Reason::Moved => return 0,
        _ if is_due => SOON,
        reason if reason.state() == State::Pending => LATER,
        _ => return 0,
    };
    wait.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_match_the_reason() {
        for &reason in Reason::ALL {
            for (points_here, is_due) in [(false, false), (false, true), (true, false), (true, true)] {
                let Some(all) = step_states(reason, points_here, is_due) else {
                    assert!(matches!(reason, Reason::Denied | Reason::Paused));
                    continue;
                };
                if reason.state() == State::Issued {
                    assert_eq!(all[0], if points_here { Step::Done } else { Step::Stuck }, "{reason:?}");
                    assert!(all[1..].iter().all(|s| *s == Step::Done), "{reason:?}");
                    continue;
                }
                assert!(all.iter().any(|s| *s != Step::Done), "{reason:?}");
                // At most one is in progress or blocked; all before it are done, all after it are pending.
                let at = all.iter().position(|s| matches!(s, Step::Now | Step::Stuck));
                let done = all.iter().take_while(|s| **s == Step::Done).count();
                assert!(at.is_none_or(|at| at == done), "{reason:?}");
                assert!(all.iter().skip(done + 1).all(|s| *s == Step::Todo), "{reason:?}");
                assert_eq!(
                    refresh_interval(reason, is_due) > 0,
                    match reason.state() {
                        State::Issued | State::Pending => true,
                        State::Unknown => is_due,
                    }
                );
            }
        }
        for &reason in Reason::ALL.iter().filter(|r| r.state() == State::Issued) {
            for is_due in [false, true] {
                assert_eq!(refresh_interval(reason, is_due) > 0, reason == Reason::Renewing);
            }
        }
    }
}
