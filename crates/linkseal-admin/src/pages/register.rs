//! `/register` and `/import`: registering one domain, or many.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use futures_util::{StreamExt, stream};
use http::StatusCode;
use linkseal_config::admin::Role;
use linkseal_control::{Import, NewDomain, Registered};
use linkseal_domain::DomainName;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;

use super::domain_actions::Done;
use super::form::Form;
use super::layout;
use super::page::{Html, Page};
use super::visitor::Visitor;
use crate::context::Context;
use crate::i18n;
use crate::problem::Problem;
use crate::query::import::{in_flight, is_comment, without_bom, without_state};
use crate::scope::Reach;

/// The most lines of an import by the page, whose result people read; programs use the API.
const MAX_LINES: usize = 5_000;

pub(super) fn pages() -> Vec<Page> {
    let (get, post) = (MethodFilter::GET, MethodFilter::POST);
    vec![
        Page::new(get, "/register", Role::Admin, Reach::Narrowed, show),
        Page::new(post, "/register", Role::Admin, Reach::Narrowed, register),
        Page::new(get, "/import", Role::Admin, Reach::Narrowed, show_import),
        Page::new(post, "/import", Role::Admin, Reach::Narrowed, import),
    ]
}

/// The form as it was typed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Typed {
    name: String,
    tenant: Option<String>,
    sending_domain: Option<String>,
}

/// The errors by field.
#[derive(Default)]
struct Wrong {
    name: Option<String>,
    sending_domain: Option<String>,
    /// Not about a single field.
    form: Option<String>,
}

async fn show(visitor: Visitor) -> Html {
    form(&visitor, &Typed::default(), &Wrong::default())
}

async fn register(
    State(context): State<Arc<Context>>,
    visitor: Visitor,
    Form(typed): Form<Typed>,
) -> Result<Response, Problem> {
    let name_error = |e| i18n::name_error(e, visitor.lang);
    let name = DomainName::parse(&typed.name);
    let sending = typed.sending_domain.as_deref().map(DomainName::parse).transpose();
    let (name, sending_domain) = match (name, sending) {
        (Ok(name), Ok(sending)) => (name, sending),
        (name, sending) => {
            let wrong = Wrong {
                name: name.err().map(name_error),
                sending_domain: sending.err().map(name_error),
                form: None,
            };
            return Ok((StatusCode::BAD_REQUEST, form(&visitor, &typed, &wrong)).into_response());
        }
    };
    let new = NewDomain {
        name,
        tenant: typed.tenant.clone(),
        sending_domain,
        records: None,
    };
    let _turn = visitor.registration_turn(&context).await?;
    match context.control.operator().register(new, &visitor.actor()).await {
        Ok(Registered { record, created }) => {
            let done = if created {
                Done::Registered
            } else {
                Done::AlreadyRegistered
            };
            Ok(done.page(&visitor, &record.name))
        }
        Err(error) => {
            let wrong = Wrong {
                form: Some(i18n::operator_error(&error, visitor.lang)),
                ..Wrong::default()
            };
            let problem = Problem::from(error);
            context.log(&problem);
            Ok((problem.status(), form(&visitor, &typed, &wrong)).into_response())
        }
    }
}

fn form(visitor: &Visitor, typed: &Typed, wrong: &Wrong) -> Html {
    let field = |id: &str, label: &str, hint: &str, value: &str, wrong: Option<&str>, required: bool| {
        let described = format!("{id}-hint {id}-error");
        html! {
            div.field {
                label for=(id) { (label) }
                input id=(id) name=(id) value=(value) required[required] autocomplete="off" autocapitalize="none"
                    spellcheck="false" maxlength="253" aria-describedby=(described)
                    aria-invalid=[wrong.is_some().then_some("true")];
                span.hint id={ (id) "-hint" } { (hint) }
                span.error id={ (id) "-error" } { (wrong.unwrap_or_default()) }
            }
        }
    };
    let v = visitor;
    let body = html! {
        form.card.form.narrow method="post" action="/register" {
            (layout::form_token(v))
            @if let Some(wrong) = &wrong.form { p.alert role="alert" { (wrong) } }
            (field("name", v.say("Domain", "Domain"),
                v.say("The full host name, such as links.customer.example", "Der vollständige Hostname, zum Beispiel links.kunde.example"),
                &typed.name, wrong.name.as_deref(), true))
            (field("tenant", v.say("Tenant (optional)", "Mandant (optional)"),
                v.say("The tenant whose links are served. By default, the domain is its own tenant.", "Der Mandant, dem die Links gehören. Ohne Angabe ist die Domain ihr eigener Mandant."),
                typed.tenant.as_deref().unwrap_or_default(), None, false))
            (field("sending_domain", v.say("Sending domain (optional)", "Absenderdomain (optional)"),
                v.say("The domain of the sender’s address; its SPF, DKIM and DMARC records are checked.",
                    "Die Domain der Absenderadresse; ihre SPF-, DKIM- und DMARC-Einträge werden geprüft."),
                typed.sending_domain.as_deref().unwrap_or_default(), wrong.sending_domain.as_deref(), false))
            div.actions {
                button.primary { (v.say("Register", "Eintragen")) }
                a href="/import" { (v.say("Import several domains", "Mehrere Domains importieren")) }
            }
        }
    };
    layout::page(v, v.say("Register a domain", "Domain eintragen"), body)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ImportForm {
    lines: String,
}

async fn show_import(visitor: Visitor) -> Html {
    import_page(&visitor, "", None)
}

async fn import(
    State(context): State<Arc<Context>>,
    visitor: Visitor,
    Form(sent): Form<ImportForm>,
) -> Result<Response, Problem> {
    let lines = (1..).zip(without_bom(&sent.lines).lines().map(str::trim));
    let lines: Vec<(usize, String)> = lines
        .filter(|(_, l)| !is_comment(l))
        .map(|(n, l)| (n, as_json(l)))
        .collect();
    if lines.is_empty() || lines.len() > MAX_LINES {
        let wrong = if lines.is_empty() {
            visitor
                .say("There are no lines to import.", "Es gibt keine Zeilen zum Importieren.")
                .to_owned()
        } else {
            format!(
                "{} {MAX_LINES} {}",
                visitor.say("At most", "Höchstens"),
                visitor.say(
                    "lines at a time; use POST /v1/domains/import for more.",
                    "Zeilen auf einmal; für mehr nutzen Sie POST /v1/domains/import."
                )
            )
        };
        let alert = html! { p.alert role="alert" { (wrong) } };
        return Ok((StatusCode::BAD_REQUEST, import_page(&visitor, &sent.lines, Some(alert))).into_response());
    }
    let _turn = visitor.registration_turn(&context).await?;
    let (control, actor) = (&context.control, &visitor.actor());
    let done: Vec<Import> = stream::iter(lines)
        .map(|(number, line)| async move { control.operator().import_line(number, &line, actor).await })
        .buffered(in_flight(&visitor.scope))
        .collect()
        .await;
    // Only the failed lines stay in the form, to be corrected and sent again.
    let failed = |number: usize| done.iter().any(|i| i.line == number && i.error.is_some());
    let again: Vec<&str> = (1..)
        .zip(sent.lines.lines())
        .filter(|(n, _)| failed(*n))
        .map(|(_, line)| line)
        .collect();
    Ok(import_page(&visitor, &again.join("\n"), Some(results(&visitor, &done))).into_response())
}

/// A line in the format of the API: a JSON object unchanged; else a name, its tenant and its sending
/// domain, separated by commas, semicolons or tabs.
fn as_json(line: &str) -> String {
    if line.starts_with('{') {
        return without_state(line.to_owned());
    }
    let mut cells = line.split([',', ';', '\t']).map(|cell| cell.trim().trim_matches('"'));
    let mut cell = || cells.next().filter(|cell| !cell.is_empty());
    let mut new = json!({"name": cell().unwrap_or_default(), "tenant": cell(), "sending_domain": cell()});
    if let (Some(rest), Some(object)) = (cells.next(), new.as_object_mut()) {
        // An unknown key, so that the line is refused with this name.
        object.insert("a fourth column".to_owned(), json!(rest));
    }
    new.to_string()
}

fn import_page(visitor: &Visitor, lines: &str, result: Option<Markup>) -> Html {
    let v = visitor;
    let body = html! {
        (result.unwrap_or_default())
        form.card.form method="post" action="/import" {
            (layout::form_token(v))
            div.field hidden {
                label for="file" { (v.say("From a file", "Aus einer Datei")) }
                input #file type="file" accept=".txt,.csv,.ndjson,text/plain,text/csv" data-into="lines";
            }
            div.field {
                label for="lines" { (v.say("One domain per line", "Eine Domain pro Zeile")) }
                textarea #lines name="lines" rows="12" required spellcheck="false" autocapitalize="none"
                    aria-describedby="lines-hint" { (lines) }
                span.hint #lines-hint {
                    (v.say("The name, optionally followed by the tenant and the sending domain, separated by commas. Lines of an export work, too.",
                        "Der Name, optional gefolgt von Mandant und Absenderdomain, durch Kommas getrennt. Zeilen eines Exports funktionieren ebenfalls."))
                }
            }
            div.actions {
                button.primary data-busy=(v.say("Importing …", "Wird importiert …")) { (v.say("Import", "Importieren")) }
                a href="/register" { (v.say("Register a single domain", "Eine einzelne Domain eintragen")) }
            }
        }
    };
    layout::page(v, v.say("Import domains", "Domains importieren"), body)
}

/// The result of each line.
fn results(visitor: &Visitor, done: &[Import]) -> Markup {
    let v = visitor;
    let of = |result: &str| i18n::count(done.iter().filter(|i| i.result == result).count() as u64, v.lang);
    let is_fine = done.iter().all(|i| i.error.is_none());
    html! {
        p.alert.good[is_fine] role="status" {
            (of("created")) " " (v.say("registered", "eingetragen")) ", "
            (of("unchanged")) " " (v.say("already registered", "bereits eingetragen")) ", "
            (of("error")) " " (v.say("failed", "fehlgeschlagen")) "."
            @if !is_fine {
                " " (v.say("The lines below failed. Please correct them and import again.",
                    "Die Zeilen unten konnten nicht importiert werden. Bitte korrigieren Sie sie und importieren Sie erneut."))
            }
        }
        div.card.flush {
            table.blocks role="table" {
                caption.sr-only { (v.say("Result of each line", "Ergebnis jeder Zeile")) }
                thead role="rowgroup" {
                    tr role="row" {
                        th.number role="columnheader" scope="col" { (v.say("Line", "Zeile")) }
                        th role="columnheader" scope="col" { (v.say("Domain", "Domain")) }
                        th role="columnheader" scope="col" { (v.say("Result", "Ergebnis")) }
                    }
                }
                tbody role="rowgroup" {
                    @for import in done {
                        tr role="row" {
                            td.number.extra role="cell" data-label=(v.say("Line", "Zeile")) { (import.line) }
                            td.name role="cell" {
                                @match (&import.name, import.error.is_none()) {
                                    (Some(name), true) => a href={ "/domains/" (name) } { (name) },
                                    (name, _) => (name.as_deref().unwrap_or("–")),
                                }
                            }
                            td role="cell" { (result(visitor, import)) }
                        }
                    }
                }
            }
        }
    }
}

fn result(visitor: &Visitor, import: &Import) -> Markup {
    let why = import.refused.as_ref().map(|e| i18n::operator_error(e, visitor.lang));
    html! {
        @match why.as_ref().or(import.error.as_ref()) {
            Some(error) => { span.badge.bad { (visitor.say("failed", "fehlgeschlagen")) } " " (error) },
            None if import.result == "created" => span.badge.ok { (visitor.say("registered", "eingetragen")) },
            None => span.badge { (visitor.say("already registered", "bereits eingetragen")) },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn lines_may_be_csv_or_json() {
        let read = |line: &str| serde_json::from_str::<Value>(&as_json(line)).unwrap();
        let plain = json!({"name": "a.example", "tenant": null, "sending_domain": null});
        assert_eq!(read("a.example"), plain);
        assert_eq!(read("\"a.example\",,"), plain);
        assert_eq!(
            read("a.example; acme ;\tmail.example"),
            json!({"name": "a.example", "tenant": "acme", "sending_domain": null, "a fourth column": "mail.example"})
        );
        assert_eq!(
            read("a.example\tacme\tmail.example"),
            json!({"name": "a.example", "tenant": "acme", "sending_domain": "mail.example"})
        );
        // A line of an export has a state, which is ignored.
        assert_eq!(
            read(r#"{"name":"a.example","tenant":"acme","state":"issued"}"#),
            json!({"name": "a.example", "tenant": "acme"})
        );
        assert!(serde_json::from_str::<NewDomain>(&as_json("a.example,t,b.example,d")).is_err());
        assert!(serde_json::from_str::<NewDomain>(&as_json("a.example,t,b.example")).is_ok());
    }
}
