//! The frame of all pages (head, header, footer) and the components that several of them use.

use linkseal_config::admin::Role;
use linkseal_domain::Language;
use linkseal_domain::ssl::State;
use maud::{DOCTYPE, Markup, html};

use super::assets::{ICON, SCRIPT, STYLE};
use super::icons;
use super::page::Html;
use super::visitor::Visitor;
use crate::i18n;
use crate::problem::Problem;
use crate::scope::Scope;

/// A page with its title as heading.
pub(super) fn page(visitor: &Visitor, title: &str, body: Markup) -> Html {
    let heading = html! { h1 { (title) } };
    document(visitor, title, html! { (heading) (body) })
}

/// A page whose body contains its heading.
pub(super) fn document(visitor: &Visitor, title: &str, body: Markup) -> Html {
    with_head(visitor, title, html! {}, body)
}

/// The same, with additional elements in its head.
pub(super) fn with_head(visitor: &Visitor, title: &str, head: Markup, body: Markup) -> Html {
    let brand = &visitor.brand;
    Html(html! {
        (DOCTYPE)
        html lang=(visitor.lang.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · " (brand.name) }
                link rel="icon" type="image/svg+xml" href=(ICON.path);
                link rel="stylesheet" href=(brand.colours.path);
                link rel="stylesheet" href=(STYLE.path);
                script src=(SCRIPT.path) defer {}
                (head)
            }
            body {
                a.skip href="#main" { (visitor.say("Skip to content", "Zum Inhalt springen")) }
                (header(visitor))
                main #main tabindex="-1" { (body) }
                (footer(visitor))
                div #announce .sr-only role="status" {}
            }
        }
    })
}

fn header(visitor: &Visitor) -> Markup {
    let brand = &visitor.brand;
    let name = html! {
        @match &brand.logo {
            Some(logo) => img src=(logo.path) alt="";,
            None => (icons::seal()),
        }
        span { (brand.name) }
    };
    let path = visitor.here.split('?').next().unwrap_or_default();
    let link = |to: &str, text: &str, is_here: bool| {
        html! { a href=(to) aria-current=[is_here.then_some("page")] { (text) } }
    };
    html! {
        header.top {
            div {
                @if visitor.is_guest() { span.brand { (name) } } @else { a.brand href="/" { (name) } }
                @if visitor.can(Role::Viewer) {
                    nav aria-label=(visitor.say("Main", "Hauptmenü")) {
                        (link("/", visitor.say("Domains", "Domains"), path == "/" || path.starts_with("/domains/")))
                        @if visitor.can(Role::Admin) {
                            (link("/register", visitor.say("Register", "Eintragen"), path == "/register" || path == "/import"))
                        }
                        @if visitor.scope == Scope::All {
                            (link("/issuer", visitor.say("Issuance", "Ausstellung"), path == "/issuer"))
                        }
                    }
                }
                @if let Some(name) = visitor.signed_in_as() {
                    form.who method="post" action="/sign-out" {
                        (form_token(visitor))
                        span.muted.small { (visitor.say("Signed in as", "Angemeldet als")) " " (name) }
                        button.quiet { (visitor.say("Sign out", "Abmelden")) }
                    }
                }
            }
        }
    }
}

fn footer(visitor: &Visitor) -> Markup {
    html! {
        footer {
            div {
                ul.languages aria-label=(visitor.say("Language", "Sprache")) {
                    @for language in Language::ALL {
                        li {
                            a href=(visitor.in_language(language)) lang=(language.tag()) hreflang=(language.tag())
                                aria-current=[(language == visitor.lang).then_some("true")] {
                                (language.name())
                            }
                        }
                    }
                }
                @if let Some(support) = &visitor.brand.support {
                    a href=(support) rel="noopener noreferrer" { (visitor.say("Help", "Hilfe")) }
                }
            }
        }
    }
}

/// The form token, for every form.
pub(super) fn form_token(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name="csrf" value=(visitor.csrf); }
}

/// A form with a single button. `busy`: the label while waiting for the answer.
pub(super) fn button(visitor: &Visitor, action: &str, class: &str, text: &str, busy: Option<&str>) -> Markup {
    html! {
        form method="post" action=(action) {
            (form_token(visitor))
            button class=(class) data-busy=[busy] { (text) }
        }
    }
}

/// The badge of a state; its icon conveys the same as its colour.
pub(super) fn badge(state: State, l: Language) -> Markup {
    html! {
        span class={ "badge " (state.as_str()) } {
            @match state {
                State::Issued => (icons::check()),
                State::Pending => (icons::clock()),
                State::Unknown => (icons::question()),
            }
            (i18n::state(state, l))
        }
    }
}

/// A button that copies a text; the script shows it where copying is possible.
pub(super) fn copy(visitor: &Visitor, text: &str, what: &str) -> Markup {
    copy_button(visitor, text, what, false)
}

/// The same for a link; a path is copied with the address of this server.
pub(super) fn copy_link(visitor: &Visitor, url: &str, what: &str) -> Markup {
    copy_button(visitor, url, what, true)
}

fn copy_button(visitor: &Visitor, text: &str, what: &str, is_link: bool) -> Markup {
    html! {
        button.small type="button" hidden data-copy=(text) data-link[is_link] aria-label={ (visitor.say("Copy", "Kopieren")) ": " (what) }
            data-done=(visitor.say("Copied", "Kopiert"))
            data-failed=(visitor.say("Copying is not supported here", "Kopieren ist hier nicht möglich")) {
            (visitor.say("Copy", "Kopieren"))
        }
    }
}

/// The page for a problem.
pub(super) fn problem(visitor: &Visitor, problem: &Problem) -> Html {
    let title = match problem.status().as_u16() {
        401 | 403 => visitor.say("Not allowed", "Nicht erlaubt"),
        404 => visitor.say("Not found", "Nicht gefunden"),
        429 => visitor.say("Please wait", "Bitte warten"),
        400..=499 => visitor.say("Request failed", "Anfrage fehlgeschlagen"),
        _ => visitor.say("Not available at the moment", "Derzeit nicht möglich"),
    };
    refusal(visitor, title, html! { (problem.page_text(visitor.lang)) }, "/")
}

/// The page for an action that was refused. `back`: where its link leads.
pub(super) fn refusal(visitor: &Visitor, title: &str, why: Markup, back: &str) -> Html {
    let body = html! {
        div.card.narrow {
            p { (why) }
            @if !visitor.is_guest() || back != "/" {
                p { a href=(back) { "‹ " (visitor.say("Back", "Zurück")) } }
            }
        }
    };
    page(visitor, title, body)
}
