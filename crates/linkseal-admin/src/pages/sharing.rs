//! `/domains/{name}/share`: creating a link for the domain's owner, and revoking all links.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use linkseal_config::admin::Role;
use linkseal_domain::{DomainName, Language};
use maud::{Markup, html};
use serde::Deserialize;

use super::form::Form;
use super::page::{Html, Page};
use super::visitor::{Subject, Visitor};
use super::{freeze, layout};
use crate::context::Context;
use crate::i18n;
use crate::problem::Problem;
use crate::query::share::{ShareLink, ShareRequest, create_share_link};
use crate::scope::Reach;

/// The lifetimes to choose from: as in the API, and as text.
const LIFETIMES: [(&str, &str, &str); 3] = [
    ("24h", "1 day", "1 Tag"),
    ("7d", "7 days", "7 Tage"),
    ("30d", "30 days", "30 Tage"),
];

pub(super) fn pages() -> Vec<Page> {
    let (get, post) = (MethodFilter::GET, MethodFilter::POST);
    let path = "/domains/{name}/share";
    vec![
        Page::new(get, path, Role::Support, Reach::Domain, show),
        Page::new(post, path, Role::Support, Reach::Domain, share),
        Page::new(post, "/domains/{name}/share/end", Role::Support, Reach::Domain, end),
    ]
}

async fn show(State(context): State<Arc<Context>>, visitor: Visitor, Subject(name): Subject) -> Result<Html, Problem> {
    let banner = freeze::banner(&context, &visitor).await?;
    Ok(page(&visitor, &name, banner))
}

async fn share(
    State(context): State<Arc<Context>>,
    visitor: Visitor,
    Subject(name): Subject,
    Form(request): Form<ShareRequest>,
) -> Result<Html, Problem> {
    let ShareLink { url, expires } = create_share_link(&context, &name, request, &visitor.actor()).await?;
    let v = &visitor;
    let made = html! {
        div.card role="status" {
            h2 { (v.say("Share link", "Link zum Teilen")) }
            p { code { (url) } " " (layout::copy_link(v, &url, v.say("link", "Link"))) }
            p.muted { (v.say("Valid until", "Gültig bis")) " " (i18n::time(expires, v.lang)) "." }
            @if url.starts_with('/') {
                p.muted { (v.say("pages.url is not configured. Prepend the address of this server.",
                    "pages.url ist nicht konfiguriert. Stellen Sie die Adresse dieses Servers voran.")) }
            }
        }
    };
    Ok(page(v, &name, made))
}

/// Only the form token, which was checked before.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn end(
    State(context): State<Arc<Context>>,
    visitor: Visitor,
    Subject(name): Subject,
    Form(Nothing {}): Form<Nothing>,
) -> Result<Response, Problem> {
    context.control.operator().end_shares(&name, &visitor.actor()).await?;
    let done = visitor.say(
        "All links to this domain have been revoked.",
        "Alle Links zu dieser Domain wurden widerrufen.",
    );
    let done = html! { p.alert.good role="status" { (done) } };
    Ok(page(&visitor, &name, done).into_response())
}

fn page(visitor: &Visitor, name: &DomainName, above: Markup) -> Html {
    let v = visitor;
    let path = v.domain_path(name, "");
    let body = html! {
        a.back href=(path) { "‹ " (name) }
        h1 { (v.say("Share with the domain’s owner", "Mit dem Inhaber der Domain teilen")) }
        (above)
        form.card.form.narrow method="post" action={ (path) "/share" } {
            (layout::form_token(v))
            p { (v.say("Anyone with the link can see this domain, including what to change, and verify it. No token is needed.",
                "Mit dem Link kann der Inhaber diese Domain und die nötigen Änderungen sehen und sie überprüfen lassen. Dafür ist kein Token nötig.")) }
            div.field {
                label for="expires_in" { (v.say("Valid for", "Gültig für")) }
                select #expires_in name="expires_in" {
                    @for (span, en, de) in LIFETIMES {
                        option value=(span) selected[span == "7d"] { (v.say(en, de)) }
                    }
                }
            }
            div.field {
                label for="language" { (v.say("Language", "Sprache")) }
                select #language name="lang" {
                    option value="" { (v.say("as in the visitor’s browser", "wie im Browser des Besuchers")) }
                    @for language in Language::ALL {
                        option value=(language.tag()) { (language.name()) }
                    }
                }
            }
            div.actions { button.primary { (v.say("Create link", "Link erstellen")) } }
        }
        form.card.form.narrow method="post" action={ (path) "/share/end" } {
            (layout::form_token(v))
            p { (v.say("All existing links to this domain:", "Alle bisherigen Links zu dieser Domain:")) }
            div.actions { button { (v.say("Revoke", "Widerrufen")) } }
        }
    };
    layout::document(v, v.say("Share", "Teilen"), body)
}
