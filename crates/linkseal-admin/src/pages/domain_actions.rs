//! The actions on a domain's page: pause and resume, order a new certificate, links over HTTP while
//! there is no certificate. Visitors see only the actions that their role allows.

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

/// A completed action; the page that follows confirms it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Done {
    Registered,
    #[serde(rename = "known")]
    AlreadyRegistered,
    Paused,
    Resumed,
    HttpOn,
    HttpOff,
    Reissue,
    Released,
}

impl Done {
    /// The value of the query parameter.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::AlreadyRegistered => "known",
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
            Self::AlreadyRegistered => (
                "The domain was already registered.",
                "Die Domain war bereits eingetragen.",
            ),
            Self::Registered => ("The domain is registered.", "Die Domain ist eingetragen."),
            Self::Paused => (
                "Issuance is paused. A certificate that was issued stays in use.",
                "Die Ausstellung ist pausiert. Ein vorhandenes Zertifikat bleibt aktiv.",
            ),
            Self::Resumed => ("Issuance is resumed.", "Die Ausstellung wird fortgesetzt."),
            Self::HttpOn => (
                "Links work over HTTP until a certificate is issued.",
                "Links funktionieren über HTTP, bis ein Zertifikat ausgestellt ist.",
            ),
            Self::HttpOff => (
                "Links do not work until a certificate is issued.",
                "Links funktionieren erst, wenn ein Zertifikat ausgestellt ist.",
            ),
            Self::Reissue => (
                "A new certificate is being ordered.",
                "Ein neues Zertifikat wird bestellt.",
            ),
            Self::Released => ("The next attempt starts now.", "Der nächste Versuch startet jetzt."),
        };
        l.pick(en, de)
    }

    /// Redirects to the domain's page, which confirms the action.
    pub(super) fn page(self, visitor: &Visitor, name: &DomainName) -> Response {
        see_other(&visitor.domain_path(name, &format!("?done={}", self.as_str())))
    }
}

/// The section with the buttons.
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
    // Confirmed in a second step that works without a script: the button is inside.
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
                        (l.pick("Share with the owner", "Mit dem Inhaber teilen"))
                    }
                }
                span.hint { (l.pick("Create a link to this page that works without a token.", "Erstellt einen Link zu dieser Seite, der ohne Token funktioniert.")) }
            }
            @if domain.paused {
                (switch("/pause", false, l.pick("Resume", "Fortsetzen"),
                    l.pick("Issuance is paused.", "Die Ausstellung ist pausiert.")))
            } @else {
                (confirmed("confirm-pause", "/pause", Some(true), l.pick("Pause", "Pausieren"),
                    html! { (l.pick("Until you resume, no certificate is ordered or renewed, and the current one may expire.",
                        "Bis Sie fortsetzen, wird kein Zertifikat bestellt oder erneuert; das aktuelle kann ablaufen.")) },
                    l.pick("Yes, pause", "Ja, pausieren")))
            }
            @if visitor.can(Role::Admin) {
                @if domain.http_while_pending {
                    (confirmed("confirm-http", "/http", Some(false), l.pick("Switch HTTP off", "HTTP ausschalten"),
                        html! { (l.pick("Links currently work over HTTP until a certificate is issued. Without HTTP they do not work until then.",
                            "Bis ein Zertifikat ausgestellt ist, funktionieren Links über HTTP. Ohne HTTP funktionieren sie bis dahin nicht.")) },
                        l.pick("Yes, switch HTTP off", "Ja, HTTP ausschalten")))
                } @else {
                    (switch("/http", true, l.pick("Switch HTTP on", "HTTP einschalten"),
                        l.pick("Links do not work until a certificate is issued.",
                            "Links funktionieren erst, wenn ein Zertifikat ausgestellt ist.")))
                }
                (confirmed("confirm-reissue", "/reissue", None, l.pick("New certificate", "Neues Zertifikat"),
                    reissue_costs(l), l.pick("Yes, order a new certificate", "Ja, neues Zertifikat bestellen")))
                @if visitor.scope.tenant().is_none() && waits(domain) {
                    form.field method="post" action=(visitor.domain_path(domain.name, "/release")) {
                        (layout::form_token(visitor))
                        div { button { (l.pick("Try now", "Jetzt versuchen")) } }
                        span.hint {
                            (l.pick("Starts the next attempt now, even if the CA asked to wait.",
                                "Startet den nächsten Versuch sofort, auch wenn die CA um eine Wartezeit gebeten hat."))
                        }
                    }
                }
            }
        }
    }
}

/// What a new certificate uses up of the CA's rate limits.
fn reissue_costs(l: Language) -> Markup {
    let per = i18n::span(REISSUES.per, l);
    html! {
        (l.pick("Orders a new certificate even if the current one is still valid. At the CA this counts as one order of the account and one certificate under the registered domain. It is also one of",
            "Bestellt ein neues Zertifikat, auch wenn das aktuelle noch gültig ist. Bei der CA zählt das als eine Bestellung des Kontos und ein Zertifikat der registrierten Domain. Außerdem ist es eine von"))
        " " (REISSUES.count) " "
        (l.pick("manual orders allowed for this name per", "manuellen Bestellungen für diesen Namen; Zeitraum:")) " " (per) "."
    }
}

/// Whether the next attempt is delayed by a CA, by a failure, or by a problem on this side.
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
    context.control.operator().patch(&name, patch, &visitor.actor()).await?;
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
    context.control.operator().patch(&name, patch, &visitor.actor()).await?;
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
    context.control.operator().release(&holds, &visitor.actor()).await?;
    Ok(Done::Released.page(&visitor, &name))
}

async fn reissue(
    State(context): State<Arc<Context>>,
    visitor: Visitor,
    Subject(name): Subject,
) -> Result<Response, Problem> {
    let refusal = match context.control.operator().reissue(&name, &visitor.actor()).await {
        Ok(Reissue::Accepted(_)) => return Ok(Done::Reissue.page(&visitor, &name)),
        Ok(Reissue::NotBefore(until)) => {
            let sentence = html! {
                (visitor.say("The next certificate can be ordered at", "Das nächste Zertifikat können Sie bestellen ab"))
                " " (i18n::time(until, visitor.lang)) "."
            };
            (StatusCode::TOO_MANY_REQUESTS, sentence)
        }
        Err(error) => {
            let sentence = i18n::operator_error(&error, visitor.lang);
            let problem = Problem::from(error);
            context.log(&problem);
            (problem.status(), html! { (sentence) })
        }
    };
    let title = visitor.say(
        "No new certificate at the moment",
        "Derzeit kein neues Zertifikat möglich",
    );
    let back = visitor.domain_path(&name, "");
    Ok((refusal.0, layout::refusal(&visitor, title, refusal.1, &back)).into_response())
}
