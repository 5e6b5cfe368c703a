//! What may be done with a domain: pause and resume, a new certificate, tracking over HTTP while
//! none is held. What is not within someone's role is not shown to them.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::StatusCode;
use linkseal_config::admin::Role;
use linkseal_control::{Holds, Patch, REISSUES, Reissue};
use linkseal_domain::ssl::Reason;
use linkseal_domain::{DomainName, Language};
use maud::{Markup, html};
use serde::Deserialize;

use super::form::Form;
use super::layout;
use super::page::{Page, see_other};
use super::visitor::{Subject, Visitor};
use crate::context::Context;
use crate::i18n;
use crate::problem::Problem;
use crate::scope::Reach;
use crate::view::DomainView;

pub(super) fn pages() -> Vec<Page> {
    let post = MethodFilter::POST;
    vec![
        Page::new(post, "/domains/{name}/pause", Role::Support, Reach::Domain, pause),
        Page::new(post, "/domains/{name}/http", Role::Admin, Reach::Domain, http),
        Page::new(post, "/domains/{name}/reissue", Role::Admin, Reach::Domain, reissue),
        Page::new(post, "/domains/{name}/release", Role::Admin, Reach::Fleet, release),
    ]
}

/// What a button has done; the page after it says so.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Done {
    Registered,
    Known,
    Paused,
    Resumed,
    HttpOn,
    HttpOff,
    Reissue,
    Released,
}

impl Done {
    /// As it stands in an address.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Known => "known",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::HttpOn => "http_on",
            Self::HttpOff => "http_off",
            Self::Reissue => "reissue",
            Self::Released => "released",
        }
    }

    pub(super) fn text(self, l: Language) -> &'static str {
        let (en, de) = match self {
            Self::Known => (
                "The domain was registered already.",
                "Die Domain war bereits eingetragen.",
            ),
            Self::Registered => ("The domain is registered.", "Die Domain ist eingetragen."),
            Self::Paused => (
                "Issuance is paused. A certificate that is held stays in use.",
                "Die Ausstellung ist angehalten. Ein vorhandenes Zertifikat bleibt im Einsatz.",
            ),
            Self::Resumed => ("Issuance goes on.", "Die Ausstellung geht weiter."),
            Self::HttpOn => (
                "Links work over HTTP while there is no certificate.",
                "Links funktionieren über HTTP, solange es kein Zertifikat gibt.",
            ),
            Self::HttpOff => (
                "Links do not work until there is a certificate.",
                "Links funktionieren erst, wenn es ein Zertifikat gibt.",
            ),
            Self::Reissue => (
                "A new certificate is on its way.",
                "Ein neues Zertifikat ist unterwegs.",
            ),
            Self::Released => ("The next attempt is made now.", "Der nächste Versuch läuft jetzt."),
        };
        l.pick(en, de)
    }

    /// The domain's page, which says it.
    pub(super) fn page(self, visitor: &Visitor, name: &DomainName) -> Response {
        see_other(&visitor.domain_path(name, &format!("?done={}", self.word())))
    }
}

/// The buttons.
pub(super) fn section(visitor: &Visitor, domain: &DomainView<'_>) -> Markup {
    let l = visitor.lang;
    if !visitor.can(Role::Support) {
        return html! {};
    }
    let switch = |rest: &str, on: bool, text: &str, hint: &str| {
        html! {
            form.field method="post" action=(visitor.domain_path(domain.name, rest)) {
                (layout::form_token(visitor))
                input type="hidden" name="on" value=(on);
                div { button { (text) } }
                span.hint { (hint) }
            }
        }
    };
    // A second step, without a script too: what is asked for is done by the button inside.
    let confirmed = |id: &str, rest: &str, on: Option<bool>, text: &str, hint: Markup, yes: &str| {
        html! {
            details.confirm id=(id) {
                summary { (text) }
                form.field method="post" action=(visitor.domain_path(domain.name, rest)) {
                    (layout::form_token(visitor))
                    @if let Some(on) = on { input type="hidden" name="on" value=(on); }
                    span.hint { (hint) }
                    div { button { (yes) } }
                }
            }
        }
    };
    html! {
        section.card #settings data-part aria-labelledby="settings-title" {
            h2 #settings-title { (l.pick("Settings", "Einstellungen")) }
            div.field {
                div {
                    a.button href=(visitor.domain_path(domain.name, "/share")) {
                        (l.pick("Share with its owner", "Mit dem Inhaber teilen"))
                    }
                }
                span.hint { (l.pick("A link to this page, without a token.", "Ein Link zu dieser Seite, ohne Token.")) }
            }
            @if domain.paused {
                (switch("/pause", false, l.pick("Resume", "Fortsetzen"),
                    l.pick("Issuance is paused.", "Die Ausstellung ist angehalten.")))
            } @else {
                (confirmed("confirm-pause", "/pause", Some(true), l.pick("Pause", "Anhalten"),
                    html! { (l.pick("No certificate is ordered or renewed until it is resumed; the present one expires.",
                        "Bis zum Fortsetzen wird kein Zertifikat bestellt oder erneuert; das jetzige läuft ab.")) },
                    l.pick("Yes, pause", "Ja, anhalten")))
            }
            @if visitor.can(Role::Admin) {
                @if domain.http_while_pending {
                    (confirmed("confirm-http", "/http", Some(false), l.pick("Switch HTTP off", "HTTP ausschalten"),
                        html! { (l.pick("While there is no certificate, links work over HTTP. Without it they do not work until there is one.",
                            "Solange es kein Zertifikat gibt, funktionieren Links über HTTP. Ohne HTTP funktionieren sie bis dahin nicht.")) },
                        l.pick("Yes, switch HTTP off", "Ja, HTTP ausschalten")))
                } @else {
                    (switch("/http", true, l.pick("Switch HTTP on", "HTTP einschalten"),
                        l.pick("While there is no certificate, links do not work.",
                            "Solange es kein Zertifikat gibt, funktionieren Links nicht.")))
                }
                (confirmed("confirm-reissue", "/reissue", None, l.pick("New certificate", "Neues Zertifikat"),
                    reissue_costs(l), l.pick("Yes, order a new certificate", "Ja, neues Zertifikat bestellen")))
                @if visitor.scope.tenant().is_none() && waits(domain) {
                    form.field method="post" action=(visitor.domain_path(domain.name, "/release")) {
                        (layout::form_token(visitor))
                        div { button { (l.pick("Try now", "Jetzt versuchen")) } }
                        span.hint {
                            (l.pick("Ends the wait for the next attempt, even if the CA asked for it.",
                                "Beendet das Warten auf den nächsten Versuch, auch wenn die CA es verlangt hat."))
                        }
                    }
                }
            }
        }
    }
}

/// What a new certificate costs of the limits.
fn reissue_costs(l: Language) -> Markup {
    let per = i18n::span(REISSUES.per, l);
    html! {
        (l.pick("Orders a new one even if the current one is valid. It uses up: one order of the account and one certificate under the registered domain at the CA, and one of",
            "Stellt ein neues aus, auch wenn das jetzige noch gilt. Das verbraucht: eine Bestellung des Kontos und ein Zertifikat unter der registrierten Domain bei der CA sowie eine von"))
        " " (REISSUES.count) " "
        (l.pick("manual orders of this name per", "manuellen Bestellungen dieses Namens je")) " " (per) "."
    }
}

/// Whether the next attempt is put off by a CA, by a failure, or by something that is ours.
fn waits(domain: &DomainView<'_>) -> bool {
    let waits = matches!(
        domain.ssl.reason,
        Reason::RateLimited
            | Reason::CaUnreachable
            | Reason::RetryScheduled
            | Reason::ValidationFailed
            | Reason::RenewalFailing
    );
    waits && domain.ssl.next_attempt.is_some()
}

/// Whether something is to be on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    /// `true` or `false`.
    on: String,
}

impl Switch {
    fn is_on(&self) -> Result<bool, Problem> {
        self.on.parse().map_err(|_| Problem::invalid("on: true or false"))
    }
}

async fn pause(
    State(context): State<Arc<Context>>,
    visitor: Visitor,
    Subject(name): Subject,
    Form(switch): Form<Switch>,
) -> Result<Response, Problem> {
    let paused = switch.is_on()?;
    let patch = Patch {
        paused: Some(paused),
        ..Patch::default()
    };
    context.control.patch(&name, patch, &visitor.actor()).await?;
    let done = if paused { Done::Paused } else { Done::Resumed };
    Ok(done.page(&visitor, &name))
}

async fn http(
    State(context): State<Arc<Context>>,
    visitor: Visitor,
    Subject(name): Subject,
    Form(switch): Form<Switch>,
) -> Result<Response, Problem> {
    let on = switch.is_on()?;
    let patch = Patch {
        http_while_pending: Some(on),
        ..Patch::default()
    };
    context.control.patch(&name, patch, &visitor.actor()).await?;
    let done = if on { Done::HttpOn } else { Done::HttpOff };
    Ok(done.page(&visitor, &name))
}

async fn release(
    State(context): State<Arc<Context>>,
    visitor: Visitor,
    Subject(name): Subject,
) -> Result<Response, Problem> {
    let holds = Holds {
        ca: None,
        domain: Some(name.clone()),
    };
    context.control.release(&holds, &visitor.actor()).await?;
    Ok(Done::Released.page(&visitor, &name))
}

async fn reissue(
    State(context): State<Arc<Context>>,
    visitor: Visitor,
    Subject(name): Subject,
) -> Result<Response, Problem> {
    let refusal = match context.control.reissue(&name, &visitor.actor()).await {
        Ok(Reissue::Accepted(_)) => return Ok(Done::Reissue.page(&visitor, &name)),
        Ok(Reissue::NotBefore(until)) => {
            let sentence = html! {
                (visitor.say("The CA’s limits allow the next order at", "Die Limits der CA erlauben die nächste Bestellung am"))
                " " (i18n::time(until)) "."
            };
            (StatusCode::TOO_MANY_REQUESTS, sentence)
        }
        Err(error) => {
            let sentence = i18n::operator_error(&error, visitor.lang);
            (Problem::from(error).status(), html! { (sentence) })
        }
    };
    let title = visitor.say("No new certificate now", "Jetzt kein neues Zertifikat");
    let back = visitor.domain_path(&name, "");
    Ok((refusal.0, layout::refusal(&visitor, title, refusal.1, &back)).into_response())
}
