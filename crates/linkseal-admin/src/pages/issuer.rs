//! `/issuer`: how the orders stand: accounts, what is left of the CA's limits, the queue, and when
//! it will be through.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use axum::routing::MethodFilter;
use linkseal_config::admin::Role;
use linkseal_control::Holds;
use linkseal_domain::Language;
use maud::{Markup, html};
use serde::Deserialize;

use super::form::Form;
use super::page::{Html, Page, see_other};
use super::visitor::Visitor;
use super::{freeze, layout};
use crate::context::Context;
use crate::i18n::{self, count};
use crate::problem::Problem;
use crate::query::issuer::{Account, Budget, Issuer};
use crate::scope::Reach;

pub(super) fn pages() -> Vec<Page> {
    vec![
        Page::new(MethodFilter::GET, "/issuer", Role::Viewer, Reach::Fleet, show),
        Page::new(
            MethodFilter::POST,
            "/issuer/release",
            Role::Admin,
            Reach::Fleet,
            release,
        ),
    ]
}

async fn show(State(context): State<Arc<Context>>, visitor: Visitor) -> Result<Html, Problem> {
    let issuer = Issuer::from(context.control.overview().await?);
    let l = visitor.lang;
    let banner = freeze::banner(&context, &visitor).await?;
    let body = html! {
        (banner)
        @if issuer.certificates_at_risk > 0 {
            p.alert role="status" {
                (count(issuer.certificates_at_risk, l)) " "
                (l.pick("certificates at risk: their renewal fails or is overdue.",
                    "Zertifikate sind gefährdet: Ihre Erneuerung scheitert oder ist überfällig."))
            }
        }
        @for message in issuer.target_caa.iter().filter_map(|caa| caa.message.as_ref()) {
            p.alert.note role="status" { (l.pick(&message.en, &message.de)) }
        }
        @if let Some(until) = issuer.held_back {
            p.alert.note role="status" {
                (l.pick("The CA holds all orders back until", "Die CA hält alle Bestellungen auf bis")) " "
                (i18n::time(until)) "."
            }
        }
        div.columns {
            div.stack {
                (queue(&issuer, l))
                section.card aria-labelledby="budgets" {
                    h2 #budgets { (l.pick("What is left of the CA’s limits", "Was von den Limits der CA übrig ist")) }
                    ul.plain { @for one in &issuer.budgets { li.budget { (budget(one, l)) } } }
                }
            }
            section.card aria-labelledby="accounts" {
                h2 #accounts { (l.pick("Certificate authorities", "Zertifizierungsstellen")) }
                @for one in &issuer.accounts { (account(one, &visitor)) }
            }
        }
    };
    Ok(layout::page(&visitor, visitor.say("Issuance", "Ausstellung"), body))
}

/// Which CA's waits to end.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Released {
    /// Its directory URL.
    ca: String,
}

async fn release(
    State(context): State<Arc<Context>>,
    visitor: Visitor,
    Form(released): Form<Released>,
) -> Result<Response, Problem> {
    let holds = Holds {
        ca: Some(released.ca),
        domain: None,
    };
    context.control.release(&holds, &visitor.actor()).await?;
    Ok(see_other("/issuer"))
}

/// Who waits, and until when.
fn queue(issuer: &Issuer, l: Language) -> Markup {
    let (queue, forecast) = (&issuer.queue, &issuer.forecast);
    let lanes = [
        (
            l.pick("Certificates that run out", "Ablaufende Zertifikate"),
            queue.expiring,
        ),
        (l.pick("A visitor waits", "Ein Besucher wartet"), queue.handshake),
        (l.pick("Verified by hand", "Manuell überprüft"), queue.verify),
        (l.pick("All others", "Alle anderen"), queue.bulk),
    ];
    html! {
        section.card aria-labelledby="queue" {
            h2 #queue { (l.pick("Orders that wait", "Wartende Bestellungen")) }
            p.sentence {
                @match forecast.done_by {
                    Some(t) => {
                        (count(forecast.queued, l)) " "
                        (l.pick("wait; the last is expected to be through by", "warten; die letzte ist voraussichtlich durch am"))
                        " " (i18n::time(t)) "."
                    },
                    None if forecast.queued > 0 => {
                        (count(forecast.queued, l)) " " (l.pick("wait.", "warten."))
                    },
                    None => (l.pick("None waits.", "Keine wartet.")),
                }
            }
            table {
                caption.sr-only { (l.pick("Orders that wait, the most urgent first", "Wartende Bestellungen, die dringendsten zuerst")) }
                thead {
                    tr {
                        th scope="col" { (l.pick("Why", "Weshalb")) }
                        th.number scope="col" { (l.pick("Orders", "Bestellungen")) }
                    }
                }
                tbody {
                    @for (lane, waiting) in lanes {
                        tr { th scope="row" { (lane) } td.number { (count(waiting as u64, l)) } }
                    }
                }
            }
            h3 { (l.pick("Renewals to come", "Kommende Erneuerungen")) }
            dl.facts {
                dt { (l.pick("Today", "Heute")) }
                dd { (count(forecast.renewals.today, l)) }
                dt { (l.pick("In 7 days", "In 7 Tagen")) }
                dd { (count(forecast.renewals.seven_days, l)) }
                dt { (l.pick("In 28 days", "In 28 Tagen")) }
                dd { (count(forecast.renewals.four_weeks, l)) }
            }
        }
    }
}

fn budget(budget: &Budget, l: Language) -> Markup {
    let name = match budget.limit {
        "orders_per_account" => l.pick("Orders of the account", "Bestellungen des Kontos"),
        "per_registered_domain" => l.pick(
            "Certificates under one registered domain",
            "Zertifikate unter einer registrierten Domain",
        ),
        "failed_per_name" => l.pick("Failed checks of one name", "Gescheiterte Prüfungen eines Namens"),
        other => other,
    };
    let per = i18n::span(Duration::from_secs(budget.per_seconds), l);
    let of = format!("{} / {per}", count(budget.count, l));
    html! {
        div.heading {
            strong { (name) }
            span.muted {
                @if let Some(left) = budget.remaining { (count(left, l)) " " (l.pick("left of", "übrig von")) " " }
                (of)
                @if budget.remaining.is_none() { ", " (l.pick("counted for each apart", "einzeln gezählt")) }
            }
        }
        @if let Some(left) = budget.remaining {
            meter min="0" max=(budget.count) low=(budget.count / 10) value=(left) aria-label=(name) { (left) " / " (budget.count) }
        }
    }
}

fn account(account: &Account, visitor: &Visitor) -> Markup {
    let l = visitor.lang;
    html! {
        dl.facts {
            dt { (l.pick("Directory", "Verzeichnis")) }
            dd.mono { (account.directory) }
            dt { (l.pick("State", "Zustand")) }
            dd {
                (match account.state {
                    "in_use" => l.pick("in use", "in Gebrauch"),
                    "standby" => l.pick("stands by", "in Bereitschaft"),
                    "held_back" => l.pick("has said to wait", "hat zu warten verlangt"),
                    "ours" => l.pick("cannot be used from here", "von hier aus nicht nutzbar"),
                    _ => l.pick("keeps failing", "scheitert wiederholt"),
                })
                @if let Some(until) = account.until { " (" (l.pick("until", "bis")) " " (i18n::time(until)) ")" }
                @if let Some(why) = &account.why { ": " (why) }
            }
            dt { (l.pick("Account", "Konto")) }
            dd.mono {
                @match &account.kid {
                    Some(kid) => (kid),
                    None => span.muted { (l.pick("made with the first order", "entsteht mit der ersten Bestellung")) },
                }
            }
            @if let Some(created) = account.created {
                dt { (l.pick("Since", "Seit")) }
                dd { (i18n::time(created)) }
            }
        }
        @if account.until.is_some() && visitor.can(Role::Admin) {
            form.field method="post" action="/issuer/release" {
                (layout::form_token(visitor))
                input type="hidden" name="ca" value=(account.directory);
                div { button { (l.pick("Order again now", "Jetzt wieder bestellen")) } }
                span.hint {
                    (l.pick("Ends the wait at this CA, even if it asked for it.",
                        "Beendet das Warten bei dieser CA, auch wenn sie es verlangt hat."))
                }
            }
        }
    }
}
