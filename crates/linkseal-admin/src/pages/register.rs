//! `/register` and `/import`: adding one domain, or many.

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

/// Lines of one import by a page: what people look through; programs send more to the API.
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

/// A domain as it was typed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Typed {
    name: String,
    tenant: Option<String>,
    sending_domain: Option<String>,
}

/// What is wrong with what was typed, by field.
#[derive(Default)]
struct Wrong {
    name: Option<String>,
    sending_domain: Option<String>,
    /// With the whole of it.
    all: Option<String>,
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
                all: None,
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
    match context.control.register(new, &visitor.actor()).await {
        Ok(Registered { record, created }) => {
            let done = if created { Done::Registered } else { Done::Known };
            Ok(done.page(&visitor, &record.name))
        }
        Err(error) => {
            let wrong = Wrong {
                all: Some(i18n::operator_error(&error, visitor.lang)),
                ..Wrong::default()
            };
            let status = Problem::from(error).status();
            Ok((status, form(&visitor, &typed, &wrong)).into_response())
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
            @if let Some(wrong) = &wrong.all { p.alert role="alert" { (wrong) } }
            (field("name", v.say("Domain", "Domain"),
                v.say("The whole host name, such as links.customer.example", "Der ganze Hostname, etwa links.kunde.example"),
                &typed.name, wrong.name.as_deref(), true))
            (field("tenant", v.say("Tenant (optional)", "Mandant (optional)"),
                v.say("Whose links these are. Empty: the domain’s own.", "Wessen Links es sind. Leer: die der Domain selbst."),
                typed.tenant.as_deref().unwrap_or_default(), None, false))
            (field("sending_domain", v.say("Sending domain (optional)", "Absenderdomain (optional)"),
                v.say("What stands in the sender’s address; its SPF, DKIM and DMARC are looked at.",
                    "Was in der Absenderadresse steht; SPF, DKIM und DMARC werden dort geprüft."),
                typed.sending_domain.as_deref().unwrap_or_default(), wrong.sending_domain.as_deref(), false))
            div.actions {
                button.primary { (v.say("Register", "Eintragen")) }
                a href="/import" { (v.say("Import many instead", "Stattdessen viele importieren")) }
            }
        }
    };
    layout::page(v, v.say("Register a domain", "Domain eintragen"), body)
}

/// Lines as they were pasted.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Lines {
    lines: String,
}

async fn show_import(visitor: Visitor) -> Html {
    import_page(&visitor, "", None)
}

async fn import(
    State(context): State<Arc<Context>>,
    visitor: Visitor,
    Form(sent): Form<Lines>,
) -> Result<Response, Problem> {
    let lines = (1..).zip(without_bom(&sent.lines).lines().map(str::trim));
    let lines: Vec<(usize, String)> = lines
        .filter(|(_, l)| !is_comment(l))
        .map(|(n, l)| (n, as_json(l)))
        .collect();
    if lines.is_empty() || lines.len() > MAX_LINES {
        let wrong = if lines.is_empty() {
            visitor
                .say("There is no line to import.", "Es gibt keine Zeile zu importieren.")
                .to_owned()
        } else {
            format!(
                "{} {MAX_LINES} {}",
                visitor.say("At most", "Höchstens"),
                visitor.say(
                    "lines at a time; for more there is POST /v1/domains/import.",
                    "Zeilen auf einmal; für mehr gibt es POST /v1/domains/import."
                )
            )
        };
        let alert = html! { p.alert role="alert" { (wrong) } };
        return Ok((StatusCode::BAD_REQUEST, import_page(&visitor, &sent.lines, Some(alert))).into_response());
    }
    let _turn = visitor.registration_turn(&context).await?;
    let (control, actor) = (&context.control, &visitor.actor());
    let done: Vec<Import> = stream::iter(lines)
        .map(|(number, line)| async move { control.import_line(number, &line, actor).await })
        .buffered(in_flight(&visitor.scope))
        .collect()
        .await;
    // What failed can be mended and sent again; the rest need not be.
    let failed = |number: usize| done.iter().any(|i| i.line == number && i.error.is_some());
    let again: Vec<&str> = (1..)
        .zip(sent.lines.lines())
        .filter(|(n, _)| failed(*n))
        .map(|(_, line)| line)
        .collect();
    Ok(import_page(&visitor, &again.join("\n"), Some(results(&visitor, &done))).into_response())
}

/// A line as the API takes it: a JSON object as it is; else a name, its tenant and its sending
/// domain, set apart by commas, semicolons or tabs.
fn as_json(line: &str) -> String {
    if line.starts_with('{') {
        return without_state(line.to_owned());
    }
    let mut cells = line.split([',', ';', '\t']).map(|cell| cell.trim().trim_matches('"'));
    let mut cell = || cells.next().filter(|cell| !cell.is_empty());
    let mut new = json!({"name": cell().unwrap_or_default(), "tenant": cell(), "sending_domain": cell()});
    if let (Some(rest), Some(object)) = (cells.next(), new.as_object_mut()) {
        // Refused by name, as an unknown key is.
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
                label for="lines" { (v.say("One domain a line", "Eine Domain je Zeile")) }
                textarea #lines name="lines" rows="12" required spellcheck="false" autocapitalize="none"
                    aria-describedby="lines-hint" { (lines) }
                span.hint #lines-hint {
                    (v.say("The name; after it, if wanted, the tenant and the sending domain, with commas between. Lines of an export fit too.",
                        "Der Name; dahinter, wenn gewünscht, Mandant und Absenderdomain, mit Kommas dazwischen. Zeilen eines Exports passen auch."))
                }
            }
            div.actions {
                button.primary data-busy=(v.say("Importing …", "Wird importiert …")) { (v.say("Import", "Importieren")) }
                a href="/register" { (v.say("Register one instead", "Stattdessen eine eintragen")) }
            }
        }
    };
    layout::page(v, v.say("Import domains", "Domains importieren"), body)
}

/// What came of each line.
fn results(visitor: &Visitor, done: &[Import]) -> Markup {
    let v = visitor;
    let of = |result: &str| i18n::count(done.iter().filter(|i| i.result == result).count() as u64, v.lang);
    let is_fine = done.iter().all(|i| i.error.is_none());
    html! {
        p.alert.good[is_fine] role="status" {
            (of("created")) " " (v.say("registered", "eingetragen")) ", "
            (of("unchanged")) " " (v.say("known already", "schon bekannt")) ", "
            (of("error")) " " (v.say("not taken", "nicht übernommen")) "."
            @if !is_fine {
                " " (v.say("The lines below were not taken: mend them and import again.",
                    "Die Zeilen unten wurden nicht übernommen: Bitte berichtigen und noch einmal importieren."))
            }
        }
        div.card.flush {
            table.blocks role="table" {
                caption.sr-only { (v.say("What came of each line", "Was aus jeder Zeile wurde")) }
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
            Some(error) => { span.badge.bad { (visitor.say("not taken", "nicht übernommen")) } " " (error) },
            None if import.result == "created" => span.badge.ok { (visitor.say("registered", "eingetragen")) },
            None => span.badge { (visitor.say("known already", "schon bekannt")) },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn lines_are_read_as_people_write_them() {
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
        // A line of an export tells the state too, which is not registered.
        assert_eq!(
            read(r#"{"name":"a.example","tenant":"acme","state":"issued"}"#),
            json!({"name": "a.example", "tenant": "acme"})
        );
        assert!(serde_json::from_str::<NewDomain>(&as_json("a.example,t,b.example,d")).is_err());
        assert!(serde_json::from_str::<NewDomain>(&as_json("a.example,t,b.example")).is_ok());
    }
}
