//! A domain's page: its state and what to do about it, DNS records, certificate, history and actions.
//! Guests see it through a share link, without anything of the fleet.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use linkseal_config::admin::Role;
use linkseal_dns::DnsReport;
use linkseal_domain::ssl::State as SslState;
use linkseal_domain::{DomainName, DomainRecord};
use maud::{Markup, html};
use serde::Deserialize;

use super::domain_actions::{self, Done};
use super::page::{Html, Page, see_other};
use super::state::PagesState;
use super::visitor::{Subject, Visitor};
use super::{activity, freeze, layout, progress, records};
use crate::context::Context;
use crate::i18n;
use crate::input::{Paging, Params};
use crate::problem::Problem;
use crate::query;
use crate::query::timeline::timeline_page;
use crate::scope::{Reach, Scope};
use crate::tokens::share::ShareUse;
use crate::view::{DomainView, Viewer};

/// The number of history entries on the page.
const LATEST: &str = "10";

pub(super) fn pages() -> Vec<Page> {
    let (get, post) = (MethodFilter::GET, MethodFilter::POST);
    vec![
        Page::new(get, "/domains/{name}", Role::Viewer, Reach::Domain, show).shared(ShareUse::View),
        Page::new(get, "/domains/{name}/dns", Role::Viewer, Reach::Domain, dns).shared(ShareUse::Check),
        Page::new(get, "/domains/{name}/history", Role::Viewer, Reach::Domain, history),
        Page::new(post, "/domains/{name}/verify", Role::Support, Reach::Domain, verify).shared(ShareUse::Check),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShowQuery {
    /// The action that led to the page.
    done: Option<Done>,
}

/// The domain as stored, without a DNS check.
pub(super) async fn show(
    State(context): State<Arc<Context>>,
    visitor: Visitor,
    Subject(name): Subject,
    Params(query): Params<ShowQuery>,
) -> Result<Html, Problem> {
    let record = record(&context, &visitor, &name).await?;
    page(&context, &visitor, &record, None, query.done).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DnsQuery {
    /// The time of the report by "verify" to show, instead of a new one.
    at: Option<String>,
}

/// The domain with its DNS records, checked now.
pub(super) async fn dns(
    State(context): State<Arc<Context>>,
    State(state): State<PagesState>,
    visitor: Visitor,
    Subject(name): Subject,
    Params(query): Params<DnsQuery>,
) -> Result<Html, Problem> {
    let is_asked_for = |report: &Arc<DnsReport>| query.at.as_ref().is_some_and(|at| *at == report.checked.to_string());
    let (record, report) = match state.reports.get(&name).filter(is_asked_for) {
        Some(report) => {
            let record = record(&context, &visitor, &name).await?;
            (context.control.operator().as_found(record, &report), report)
        }
        None => {
            let (record, report) = context.control.operator().dns_report(&name, &visitor.actor()).await?;
            (visitor.scope.shown(record), Arc::new(report))
        }
    };
    let report = match visitor.scope {
        Scope::All => report,
        _ => {
            let mut shown = DnsReport::clone(&report);
            query::dns::redact(&mut shown, &visitor.scope);
            Arc::new(shown)
        }
    };
    page(&context, &visitor, &record, Some(&report), None).await
}

/// Checks DNS and orders a certificate if it is right. The page that follows shows the report.
pub(super) async fn verify(
    State(context): State<Arc<Context>>,
    State(state): State<PagesState>,
    visitor: Visitor,
    Subject(name): Subject,
) -> Result<Response, Problem> {
    let (_, report) = context.control.operator().verify(&name, &visitor.actor()).await?;
    let rest = format!("/dns?at={}", report.checked);
    state.reports.insert(name.clone(), Arc::new(report));
    Ok(see_other(&visitor.domain_path(&name, &rest)))
}

/// The whole history, page by page.
async fn history(
    State(context): State<Arc<Context>>,
    visitor: Visitor,
    Subject(name): Subject,
    Params(paging): Params<Paging>,
) -> Result<Response, Problem> {
    let page = timeline_page(&context, &name, &paging, &visitor.scope).await?;
    let path = visitor.domain_path(&name, "");
    let older = page.next.map(|next| format!("{path}/history?cursor={next}"));
    let title = format!("{}: {}", visitor.say("History", "Verlauf"), name.to_unicode());
    let banner = freeze::banner(&context, &visitor).await?;
    let body = html! {
        a.back href=(path) { "‹ " (name.to_unicode()) }
        h1 { (title) }
        (banner)
        (activity::history(&visitor, &page.entries, older.as_deref()))
    };
    Ok(layout::document(&visitor, &title, body).into_response())
}

async fn record(context: &Context, visitor: &Visitor, name: &DomainName) -> Result<DomainRecord, Problem> {
    let record = context.control.store().domain(name).await?;
    let record = record.ok_or_else(|| Problem::not_registered(name))?;
    Ok(visitor.scope.shown(record))
}

async fn page(
    context: &Context,
    visitor: &Visitor,
    record: &DomainRecord,
    report: Option<&DnsReport>,
    done: Option<Done>,
) -> Result<Html, Problem> {
    let (viewer, now) = (Viewer::new(&context.control), context.now());
    let domain = viewer.domain(record);
    let latest = Paging {
        limit: Some(LATEST.to_owned()),
        cursor: None,
    };
    let history = timeline_page(context, &record.name, &latest, &visitor.scope).await?;
    let path = visitor.domain_path(&record.name, "");
    let older = format!("{path}/history");
    let older = history.next.filter(|_| !visitor.is_guest()).map(|_| older.as_str());
    let is_due = progress::is_due(domain.ssl.next_attempt, now) && !domain.paused && domain.retired.is_none();
    let every = progress::refresh_interval(domain.ssl.reason, is_due);
    let banner = freeze::banner(context, visitor).await?;
    let body = html! {
        @if !visitor.is_guest() {
            a.back href="/" { "‹ " (visitor.say("All domains", "Alle Domains")) }
        }
        div.heading {
            div.group {
                h1 { (domain.unicode_name) }
                @if domain.retired.is_some() { span.tag { (visitor.say("retired", "stillgelegt")) } }
            }
        }
        @if domain.unicode_name != record.name.as_str() {
            p.muted { code { (record.name) } (layout::copy(visitor, record.name.as_str(), visitor.say("name", "Name"))) }
        }
        (banner)
        @if let Some(done) = done { p.alert.good role="status" { (done.text(visitor.lang)) } }
        div.columns {
            div.stack {
                (state(visitor, &domain, is_due, every))
                @if let Some(report) = report {
                    (records::report(visitor, &viewer.report(record, report, None)))
                    (verify_buttons(visitor, &record.name))
                } @else { (verify_link(visitor, &domain)) }
                (activity::events(visitor, &context.activity, record, now))
            }
            div.stack {
                (certificate(visitor, &domain))
                @if !visitor.is_guest() { (facts(visitor, &domain)) }
                (domain_actions::section(visitor, &domain))
                (activity::history(visitor, &history.entries, older))
            }
        }
    };
    // Without the script, the page reloads itself while an order is in progress.
    let head = html! {
        @if every > 0 {
            noscript { meta http-equiv="refresh" content={ (every.div_ceil(1000).max(3)) ";url=" (path) }; }
        }
    };
    Ok(layout::with_head(visitor, &record.name.to_unicode(), head, body))
}

/// The badge, the message and the steps. The script refreshes them every `every` milliseconds.
fn state(visitor: &Visitor, domain: &DomainView<'_>, is_due: bool, every: u64) -> Markup {
    let (l, ssl) = (visitor.lang, &domain.ssl);
    let issued = ssl.state == SslState::Issued;
    // The edge's own name is issued without a DNS check.
    let points_here = domain.dns.https || (issued && domain.dns.checked.is_none());
    html! {
        section.card #state data-part data-live=(visitor.domain_path(domain.name, "")) data-every=(every)
            aria-labelledby="state-title" {
            h2.sr-only #state-title { (l.pick("SSL state", "SSL-Status")) }
            div.heading {
                (layout::badge(ssl.state, l))
                span.muted.small { (l.pick("since", "seit")) " " (i18n::time(ssl.since, l)) }
            }
            p.sentence data-say { (visitor.text(&ssl.message)) }
            @if !domain.paused && domain.retired.is_none() {
                @if let Some(steps) = progress::steps(ssl.reason, points_here, is_due, l) { (steps) }
            }
            @if !(issued && points_here) && ssl.next_attempt.is_some() && every == 0 {
                p.muted {
                    (l.pick("Next automatic check:", "Nächste automatische Prüfung:")) " "
                    @if let Some(t) = ssl.next_attempt { (i18n::time(t, l)) }
                }
            }
            @if let Some(error) = ssl.last_error {
                details #ca-words {
                    summary { (l.pick("Message from the CA", "Meldung der CA")) }
                    div.stack {
                        p { q { (error.detail) } }
                        @for sub in &error.subproblems {
                            p.small { @if let Some(id) = &sub.identifier { (id) ": " } q { (sub.detail) } }
                        }
                        p.muted.small {
                            code { (error.kind) } " · " (i18n::time(error.at, l)) " · "
                            (l.pick("attempt", "Versuch")) " " (ssl.attempts)
                        }
                    }
                }
            }
        }
    }
}

/// The link to the DNS records.
fn verify_link(visitor: &Visitor, domain: &DomainView<'_>) -> Markup {
    html! {
        div.actions {
            a.button.primary[domain.ssl.state != SslState::Issued] href=(visitor.domain_path(domain.name, "/dns"))
                data-busy=(visitor.say("Checking DNS …", "DNS wird geprüft …")) {
                (visitor.say("Verify now", "Jetzt überprüfen"))
            }
        }
    }
}

/// The buttons below the records: verify the domain, or check DNS again.
fn verify_buttons(visitor: &Visitor, name: &DomainName) -> Markup {
    let busy = visitor.say("Verifying …", "Wird überprüft …");
    html! {
        div.actions {
            @if visitor.can_verify() {
                (layout::button(visitor, &visitor.domain_path(name, "/verify"), "primary",
                    visitor.say("Verify domain", "Domain überprüfen"), Some(busy)))
            }
            a.button href=(visitor.domain_path(name, "/dns"))
                data-busy=(visitor.say("Checking DNS …", "DNS wird geprüft …")) {
                (visitor.say("Check DNS again", "DNS erneut prüfen"))
            }
        }
    }
}

fn certificate(visitor: &Visitor, domain: &DomainView<'_>) -> Markup {
    let (l, ssl) = (visitor.lang, &domain.ssl);
    html! {
        section.card #certificate data-part aria-labelledby="certificate-title" {
            h2 #certificate-title { (l.pick("Certificate", "Zertifikat")) }
            @match (ssl.issuer, ssl.not_before, ssl.not_after) {
                (Some(issuer), Some(from), Some(until)) => {
                    dl.facts {
                        dt { (l.pick("Issued by", "Ausgestellt von")) }
                        dd { (issuer) }
                        dt { (l.pick("Validity", "Gültigkeit")) }
                        dd {
                            (i18n::time(from, l)) " – " (i18n::time(until, l))
                            @if ssl.state != SslState::Issued { " " span.badge.bad { (l.pick("expired", "abgelaufen")) } }
                        }
                        @if let Some(renewal) = ssl.renew_at.filter(|_| ssl.state == SslState::Issued) {
                            dt { (l.pick("Renewal", "Erneuerung")) }
                            dd { (i18n::time(renewal, l)) }
                        }
                        dt { (l.pick("Valid for", "Gültig für")) }
                        dd { (ssl.sans.join(", ")) }
                        @if let Some(serial) = ssl.serial {
                            dt { (l.pick("Serial number", "Seriennummer")) }
                            dd { code { (serial) } }
                        }
                    }
                },
                _ => p.muted { (l.pick("No certificate yet.", "Noch kein Zertifikat vorhanden.")) },
            }
        }
    }
}

/// What the platform configured for the domain.
fn facts(visitor: &Visitor, domain: &DomainView<'_>) -> Markup {
    let l = visitor.lang;
    let yes = |is: bool| if is { l.pick("yes", "ja") } else { l.pick("no", "nein") };
    html! {
        section.card #facts data-part aria-labelledby="facts-title" {
            h2 #facts-title { (l.pick("Domain", "Domain")) }
            dl.facts {
                dt { (l.pick("Tenant", "Mandant")) }
                dd { (domain.tenant) }
                @if let Some(sending) = domain.sending_domain {
                    dt { (l.pick("Sending domain", "Absenderdomain")) }
                    dd { (sending) }
                }
                dt { (l.pick("Ready for https links", "Bereit für https-Links")) }
                dd { (yes(domain.https_ready)) }
                dt { (l.pick("DNS checked", "DNS geprüft")) }
                dd {
                    @match domain.dns.checked { Some(t) => (i18n::time(t, l)), None => (l.pick("never", "nie")) }
                }
                dt { (l.pick("Added", "Eingetragen")) }
                dd { (i18n::time(domain.created, l)) }
                @if let Some(url) = domain.fallback_url {
                    dt { (l.pick("Destination of broken links", "Ziel für ungültige Links")) }
                    dd { (url) }
                }
                @if let Some(retired) = domain.retired {
                    dt { (l.pick("Retired", "Stillgelegt")) }
                    dd { (i18n::time(retired, l)) }
                }
            }
        }
    }
}
