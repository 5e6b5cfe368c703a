//! `/issuer`: the state of issuance: CAs and accounts, what is left of the CA's rate limits, the queue
//! and its forecast.

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
    let issuer = Issuer::from(context.control.report().overview().await?);
    let l = visitor.lang;
    let banner = freeze::banner(&context, &visitor).await?;
    let body = html! {
        (banner)
        @if issuer.certificates_at_risk > 0 {
            p.alert role="status" {
                (count(issuer.certificates_at_risk, l)) " "
                (l.pick("certificates at risk: their renewal fails or is overdue.",
                    "Zertifikate sind gefährdet: Die Erneuerung ist fehlgeschlagen oder überfällig."))
            }
        }
        @for message in issuer.target_caa.iter().filter_map(|caa| caa.message.as_ref()) {
            p.alert.note role="status" { (l.pick(&message.en, &message.de)) }
        }
        @if let Some(until) = issuer.held_back {
            p.alert.note role="status" {
                (l.pick("No CA accepts orders until", "Keine CA nimmt Bestellungen an bis")) " "
                (i18n::time(until, l)) "."
            }
        }
        div.columns {
            div.stack {
                (queue(&issuer, l))
                section.card aria-labelledby="budgets" {
                    h2 #budgets { (l.pick("Remaining limits of the CA", "Verbleibende Limits der CA")) }
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseForm {
    /// The directory URL.
    ca: String,
}

async fn release(
    State(context): State<Arc<Context>>,
    visitor: Visitor,
    Form(form): Form<ReleaseForm>,
) -> Result<Response, Problem> {
    let holds = Holds {
        ca: Some(form.ca),
        domain: None,
    };
    context.control.operator().release(&holds, &visitor.actor()).await?;
    Ok(see_other("/issuer"))
}

/// The waiting orders and the forecast.
fn queue(issuer: &Issuer, l: Language) -> Markup {
    let (queue, forecast) = (&issuer.queue, &issuer.forecast);
    let lanes = [
        (
            l.pick("Expiring certificates", "Ablaufende Zertifikate"),
            queue.expiring,
        ),
        (l.pick("Visitor waiting", "Besucher wartet"), queue.handshake),
        (l.pick("Verified manually", "Manuell überprüft"), queue.verify),
        (l.pick("All others", "Alle anderen"), queue.bulk),
    ];
    html! {
        section.card aria-labelledby="queue" {
            h2 #queue { (l.pick("Waiting orders", "Wartende Bestellungen")) }
            p.sentence {
                @match forecast.done_by {
                    Some(t) => {
                        (count(forecast.queued, l)) " "
                        (l.pick("waiting; expected to be completed by", "warten; voraussichtlich abgeschlossen am"))
                        " " (i18n::time(t, l)) "."
                    },
                    None if forecast.queued > 0 => {
                        (count(forecast.queued, l)) " " (l.pick("waiting.", "warten."))
                    },
                    None => (l.pick("No orders are waiting.", "Keine wartenden Bestellungen.")),
                }
            }
            table {
                caption.sr-only { (l.pick("Waiting orders, the most urgent first", "Wartende Bestellungen, die dringendsten zuerst")) }
                thead {
                    tr {
                        th scope="col" { (l.pick("Reason", "Grund")) }
                        th.number scope="col" { (l.pick("Orders", "Bestellungen")) }
                    }
                }
                tbody {
                    @for (lane, waiting) in lanes {
                        tr { th scope="row" { (lane) } td.number { (count(waiting as u64, l)) } }
                    }
                }
            }
            h3 { (l.pick("Upcoming renewals", "Anstehende Erneuerungen")) }
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
            "Certificates per registered domain",
            "Zertifikate je registrierter Domain",
        ),
        "failed_per_name" => l.pick("Failed validations per name", "Fehlgeschlagene Prüfungen je Name"),
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
                @if budget.remaining.is_none() { ", " (l.pick("counted separately", "einzeln gezählt")) }
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
            dt { (l.pick("Status", "Status")) }
            dd {
                (match account.state {
                    "in_use" => l.pick("in use", "in Verwendung"),
                    "standby" => l.pick("standby", "in Bereitschaft"),
                    "held_back" => l.pick("asked to wait", "hat um Wartezeit gebeten"),
                    "ours" => l.pick("not usable from here", "von hier aus nicht nutzbar"),
                    _ => l.pick("keeps failing", "wiederholt fehlgeschlagen"),
                })
                @if let Some(until) = account.until { " (" (l.pick("until", "bis")) " " (i18n::time(until, l)) ")" }
                @if let Some(why) = &account.why { ": " (why) }
            }
            dt { (l.pick("Account", "Konto")) }
            dd.mono {
                @match &account.kid {
                    Some(kid) => (kid),
                    None => span.muted { (l.pick("created with the first order", "wird mit der ersten Bestellung angelegt")) },
                }
            }
            @if let Some(created) = account.created {
                dt { (l.pick("Created", "Angelegt")) }
                dd { (i18n::time(created, l)) }
            }
        }
        @if account.until.is_some() && visitor.can(Role::Admin) {
            form.field method="post" action="/issuer/release" {
                (layout::form_token(visitor))
                input type="hidden" name="ca" value=(account.directory);
                div { button { (l.pick("Resume orders now", "Jetzt wieder bestellen")) } }
                span.hint {
                    (l.pick("Ends the wait for this CA, even if the CA asked for it.",
                        "Beendet die Wartezeit bei dieser CA, auch wenn die CA darum gebeten hat."))
                }
            }
        }
    }
}
