//! What all pages have around them.

use maud::{DOCTYPE, Markup, html};

use super::Html;
use super::assets::{SCRIPT, STYLE};
use super::visitor::Visitor;
use crate::admin::problem::Problem;
use crate::domain::Language;

/// A page. `title` stands before the platform's name.
pub(super) fn page(visitor: &Visitor, title: &str, body: Markup) -> Html {
    let brand = &visitor.brand;
    Html(html! {
        (DOCTYPE)
        html lang=(visitor.lang.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · " (brand.name) }
                link rel="stylesheet" href=(brand.colours.path);
                link rel="stylesheet" href=(STYLE.path);
                script src=(SCRIPT.path) defer {}
            }
            body {
                header {
                    @if let Some(logo) = &brand.logo { img src=(logo.path) alt=""; }
                    @if visitor.is_guest() { strong { (brand.name) } } @else { a href="/" { (brand.name) } }
                    nav aria-label=(visitor.say("Language", "Sprache")) {
                        @for language in Language::ALL.into_iter().filter(|l| *l != visitor.lang) {
                            a href=(visitor.in_language(language)) lang=(language.tag()) hreflang=(language.tag()) {
                                (match language { Language::En => "English", Language::De => "Deutsch" })
                            }
                        }
                    }
                    @if let Some(name) = visitor.signed_in_as() {
                        form method="post" action="/sign-out" {
                            (form_token(visitor))
                            button { (visitor.say("Sign out", "Abmelden")) " (" (name) ")" }
                        }
                    }
                }
                main { h1 { (title) } (body) }
                @if let Some(support) = &brand.support {
                    footer { a href=(support) rel="noopener" { (visitor.say("Help", "Hilfe")) } }
                }
            }
        }
    })
}

/// What every form begins with.
pub(super) fn form_token(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name="csrf" value=(visitor.csrf); }
}

/// Why a page is not shown, or a form was not taken.
pub(super) fn problem(visitor: &Visitor, problem: &Problem) -> Html {
    let title = match problem.status().as_u16() {
        401 | 403 => visitor.say("Not allowed", "Nicht erlaubt"),
        404 => visitor.say("Not found", "Nicht gefunden"),
        429 => visitor.say("Too many attempts", "Zu viele Versuche"),
        400..=499 => visitor.say("This did not work", "Das hat nicht geklappt"),
        _ => visitor.say("Not possible right now", "Gerade nicht möglich"),
    };
    page(visitor, title, html! { p { (problem.detail()) } })
}
