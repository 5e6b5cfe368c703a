//! Signing in with a token of the API, and signing out.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::{StatusCode, Uri};
use linkseal_control::{Actor, audit_entry};
use maud::html;
use serde::Deserialize;
use serde_json::Value;

use super::form::Form;
use super::layout;
use super::page::{Html, Page, see_other};
use super::session::SessionChange;
use super::state::PagesState;
use super::visitor::{Visitor, Who};
use crate::context::Context;
use crate::guard::unknown_token;
use crate::input::Params;
use crate::problem::Problem;

/// Where visitors are sent who are not signed in.
pub(super) const SIGN_IN: &str = "/sign-in";

pub(super) fn pages() -> Vec<Page> {
    vec![
        Page::public(MethodFilter::GET, SIGN_IN, show),
        Page::public(MethodFilter::POST, SIGN_IN, sign_in),
        Page::public(MethodFilter::POST, "/sign-out", sign_out),
    ]
}

/// The address of the sign-in that returns to a page.
pub(super) fn returning_to(path: &str) -> String {
    let next: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
    format!("{SIGN_IN}?next={next}")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignInQuery {
    next: Option<String>,
}

async fn show(visitor: Visitor, Params(query): Params<SignInQuery>) -> Response {
    let next = local_path(query.next.as_deref());
    match visitor.who {
        Who::Stranger => form(&visitor, &next, None).into_response(),
        _ => see_other(&next),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attempt {
    #[serde(default)]
    token: String,
    next: Option<String>,
}

async fn sign_in(
    State(context): State<Arc<Context>>,
    State(state): State<PagesState>,
    visitor: Visitor,
    Form(attempt): Form<Attempt>,
) -> Result<Response, Problem> {
    let (now, live) = (context.now(), context.live.load());
    let next = local_path(attempt.next.as_deref());
    let Some(token) = live.access.find(attempt.token.trim().as_bytes()) else {
        unknown_token(&context, visitor.from)?;
        let wrong = visitor.say("Unknown token.", "Dieses Token ist nicht bekannt.");
        return Ok((StatusCode::FORBIDDEN, form(&visitor, &next, Some(wrong))).into_response());
    };
    let actor = Actor {
        who: token.name().to_owned(),
        from: visitor.from,
        tenant: None,
    };
    let line = audit_entry(&actor, now, "sign_in", "pages".to_owned(), Value::Null, Value::Null);
    context.control.store().append_audit(line).await?;
    let session = state.sessions.begin(Some(token), now);
    let mut response = see_other(&next);
    response.extensions_mut().insert(SessionChange::Begin(session));
    Ok(response)
}

async fn sign_out() -> Response {
    let mut response = see_other(SIGN_IN);
    response.extensions_mut().insert(SessionChange::End);
    response
}

fn form(visitor: &Visitor, next: &str, wrong: Option<&str>) -> Html {
    let body = html! {
        form.card.form.narrow method="post" action=(SIGN_IN) {
            (layout::form_token(visitor))
            input type="hidden" name="next" value=(next);
            @if let Some(wrong) = wrong { p.alert #wrong role="alert" { (wrong) } }
            div.field {
                label for="token" { (visitor.say("Admin token", "Admin-Token")) }
                input #token type="password" name="token" required autocomplete="current-password" autofocus
                    aria-describedby={ "token-hint" @if wrong.is_some() { " wrong" } };
                span.hint #token-hint {
                    (visitor.say("A token from admin.tokens in the configuration.",
                        "Ein Token aus admin.tokens in der Konfiguration."))
                }
            }
            div.actions { button.primary { (visitor.say("Sign in", "Anmelden")) } }
        }
    };
    layout::page(visitor, visitor.say("Sign in", "Anmelden"), body)
}

/// Where to go after signing in: only to a path of this server.
fn local_path(next: Option<&str>) -> String {
    let is_local_path = |path: &&str| {
        // Browsers read `//host`, `/\host` and variants with tabs as another host.
        let has_no_host = path.strip_prefix('/').is_some_and(|rest| !rest.starts_with('/'));
        has_no_host && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') && path.parse::<Uri>().is_ok()
    };
    next.filter(is_local_path).unwrap_or("/").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_in_never_redirects_to_another_host() {
        for own in ["/", "/domains/a.example?lang=de", "/issuer#queue", "/?q=a%2Fb"] {
            assert_eq!(local_path(Some(own)), own);
        }
        for other in [
            "",
            "https://evil.example/",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "\\\\evil.example",
            "javascript:alert(1)",
            "evil.example",
            "/a\r\nSet-Cookie: x=y",
            "/a\\..\\b",
        ] {
            assert_eq!(local_path(Some(other)), "/", "{other}");
        }
    }
}
