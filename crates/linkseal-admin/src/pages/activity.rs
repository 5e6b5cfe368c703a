//! A domain's history, and its recent opens and clicks.

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainRecord;
use linkseal_event::Activity;
use linkseal_store::TimelineEntry;
use maud::{Markup, html};

use super::visitor::Visitor;
use super::{chart, timeline};
use crate::i18n;
use crate::scope::Scope;

/// Opens and clicks on this node, with the latest events.
pub(super) fn events(visitor: &Visitor, activity: &Activity, record: &DomainRecord, now: Timestamp) -> Markup {
    let l = visitor.lang;
    let recent = match visitor.scope {
        Scope::All => activity.of(record.name.as_str()),
        _ => activity.of_tenant(
            record.name.as_str(),
            &record.tenant,
            record.own_since.unwrap_or(record.created),
        ),
    };
    html! {
        section.card #events data-part aria-labelledby="events-title" {
            h2 #events-title { (l.pick("Opens and clicks", "Öffnungen und Klicks")) }
            @if recent.last.is_empty() {
                p.muted { (l.pick("No opens or clicks yet.", "Noch keine Öffnungen oder Klicks.")) }
            } @else {
                (chart::chart(&recent, now, l))
                details #last-events {
                    summary { (l.pick("Recent events", "Letzte Ereignisse")) }
                    ul.events {
                        @for seen in &recent.last {
                            li {
                                span {
                                    (i18n::event(seen.kind, l))
                                    @if let Some(class) = seen.class { span.muted { " · " (i18n::class(class, l)) } }
                                }
                                (i18n::second(seen.time, l))
                            }
                        }
                    }
                }
            }
            @if !visitor.is_guest() {
                p.muted.small {
                    (l.pick("On this node since", "Auf diesem Knoten seit")) " " (i18n::time(activity.since(), l))
                    (l.pick(", at most 48 hours.", ", höchstens 48 Stunden."))
                }
            }
        }
    }
}

/// Entries of the history, newest first. `more`: the address of older entries.
pub(super) fn history(visitor: &Visitor, entries: &[TimelineEntry], more: Option<&str>) -> Markup {
    let l = visitor.lang;
    html! {
        section.card #history data-part aria-labelledby="history-title" {
            h2 #history-title { (l.pick("History", "Verlauf")) }
            ol.history {
                @for entry in entries {
                    @let (event, tone) = timeline::event(&entry.event, l);
                    li class=(tone.class()) {
                        strong { (event) }
                        (i18n::second(entry.at, l))
                        @if let Some(detail) = entry.detail.as_ref().filter(|_| !by_operator(entry, visitor)) {
                            span.detail { (timeline::detail(detail, l)) }
                        }
                    }
                }
            }
            @if let Some(more) = more {
                p { a href=(more) { (l.pick("Older entries", "Ältere Einträge")) } }
            }
        }
    }
}

/// Whether the detail names who of the platform did something, which guests do not see.
fn by_operator(entry: &TimelineEntry, visitor: &Visitor) -> bool {
    visitor.is_guest() && entry.detail.as_deref().and_then(timeline::who).is_some()
}
