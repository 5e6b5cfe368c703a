//! `/`: the list of domains, filtered by name, state, reason and tenant, page by page.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::MethodFilter;
use linkseal_config::admin::Role;
use linkseal_domain::ssl::{Reason, State as SslState};
use maud::{Markup, html};

use super::page::{Html, Page};
use super::visitor::Visitor;
use super::{freeze, layout};
use crate::context::Context;
use crate::i18n::{self, count};
use crate::input::Params;
use crate::problem::Problem;
use crate::query::domains::{DomainFilter, Listed, listed};
use crate::scope::{Reach, Scope};
use crate::view::{Counts, DomainView, Viewer};

pub(super) fn pages() -> Vec<Page> {
    vec![Page::new(MethodFilter::GET, "/", Role::Viewer, Reach::Narrowed, show)]
}

async fn show(
    State(context): State<Arc<Context>>,
    visitor: Visitor,
    Params(mut list): Params<DomainFilter>,
) -> Result<Html, Problem> {
    // Visitors paste URLs and names with spaces.
    list.q = list.q.map(|q| search_text(&q)).filter(|q| !q.is_empty());
    list.tenant = list.tenant.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
    let _turn = visitor.list_turn(&context).await?;
    let Listed { records, next, counts } = listed(&context, &visitor.scope, list.clone()).await?;
    let viewer = Viewer::new(&context.control);
    let domains: Vec<_> = records.iter().map(|r| viewer.domain(r)).collect();
    let title = visitor.say("Domains", "Domains");
    let shown = ListView {
        visitor: &visitor,
        list: &list,
        counts: &counts,
    };
    let banner = freeze::banner(&context, &visitor).await?;
    let body = html! {
        div.heading {
            h1 { (title) }
            @if visitor.can(Role::Admin) {
                div.actions {
                    a.button href="/import" { (visitor.say("Import", "Importieren")) }
                    a.button.primary href="/register" { (visitor.say("Register a domain", "Domain eintragen")) }
                }
            }
        }
        (banner)
        (shown.counts())
        (shown.filter())
        (shown.table(&domains))
        (shown.pager(next.as_deref()))
    };
    Ok(layout::document(&visitor, title, body))
}

/// The start of a name, from a pasted URL or host.
fn search_text(text: &str) -> String {
    let text = text.trim();
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = text.split(['/', ':', '?', '#']).next().unwrap_or_default();
    host.to_lowercase()
}

struct ListView<'a> {
    visitor: &'a Visitor,
    list: &'a DomainFilter,
    counts: &'a Counts,
}

impl ListView<'_> {
    /// The number of domains in each state, as links that filter by it.
    fn counts(&self) -> Markup {
        let (v, c) = (self.visitor, self.counts);
        let all = c.issued + c.pending + c.unknown;
        let states = [
            None,
            Some(SslState::Issued),
            Some(SslState::Pending),
            Some(SslState::Unknown),
        ];
        html! {
            nav aria-label=(v.say("States", "Status")) {
                ul.counts {
                    @for state in states {
                        @let (text, number) = match state {
                            None => (v.say("all", "alle"), all),
                            Some(SslState::Issued) => (i18n::state(SslState::Issued, v.lang), c.issued),
                            Some(SslState::Pending) => (i18n::state(SslState::Pending, v.lang), c.pending),
                            Some(SslState::Unknown) => (i18n::state(SslState::Unknown, v.lang), c.unknown),
                        };
                        @let here = self.list.state == state && self.list.reason.is_none();
                        @let list = DomainFilter { state, reason: None, cursor: None, ..self.list.clone() };
                        li class=(state.map_or("all", SslState::as_str)) {
                            a href=(address(&list)) aria-current=[here.then_some("true")] {
                                strong { (count(number, v.lang)) }
                                span { (text) }
                            }
                        }
                    }
                }
            }
        }
    }

    fn filter(&self) -> Markup {
        let (v, list) = (self.visitor, self.list);
        html! {
            form.card role="search" method="get" action="/" {
                div.filter {
                    div.field {
                        label for="q" { (v.say("Name starts with", "Name beginnt mit")) }
                        input #q type="search" name="q" value=[list.q.as_deref()] placeholder="links.customer.example"
                            autocomplete="off" autocapitalize="none" spellcheck="false" maxlength="253";
                    }
                    div.field {
                        label for="reason" { (v.say("Reason", "Grund")) }
                        select #reason name="reason" {
                            option value="" { (v.say("any", "alle")) }
                            @for state in SslState::ALL {
                                optgroup label=(i18n::state(state, v.lang)) {
                                    @for reason in Reason::ALL.iter().filter(|r| r.state() == state) {
                                        option value=(reason.as_str()) selected[list.reason == Some(*reason)] {
                                            (i18n::reason(*reason, v.lang))
                                        }
                                    }
                                }
                            }
                        }
                    }
                    @if v.scope == Scope::All {
                        div.field {
                            label for="tenant" { (v.say("Tenant", "Mandant")) }
                            input #tenant name="tenant" value=[list.tenant.as_deref()] autocomplete="off"
                                autocapitalize="none" spellcheck="false" maxlength="253";
                        }
                    }
                    @if let Some(state) = list.state.filter(|_| list.reason.is_none()) {
                        input type="hidden" name="state" value=(state.as_str());
                    }
                    div.actions {
                        button.primary { (v.say("Find", "Suchen")) }
                        @if *list != DomainFilter::default() {
                            a href="/" { (v.say("Show all", "Alle anzeigen")) }
                        }
                    }
                }
            }
        }
    }

    fn table(&self, domains: &[DomainView<'_>]) -> Markup {
        let v = self.visitor;
        if domains.is_empty() {
            return html! { div.card { p { (self.nothing()) } } };
        }
        html! {
            div.card.flush {
                table.blocks role="table" {
                    caption.sr-only { (v.say("Domains, sorted by name", "Domains, nach Namen sortiert")) }
                    thead role="rowgroup" {
                        tr role="row" {
                            th role="columnheader" scope="col" { (v.say("Domain", "Domain")) }
                            th role="columnheader" scope="col" { "SSL" }
                            th role="columnheader" scope="col" { (v.say("Reason", "Grund")) }
                            th role="columnheader" scope="col" { (v.say("Tenant", "Mandant")) }
                            th role="columnheader" scope="col" { (v.say("Valid until", "Gültig bis")) }
                        }
                    }
                    tbody role="rowgroup" { @for domain in domains { (self.row(domain)) } }
                }
            }
        }
    }

    fn row(&self, domain: &DomainView<'_>) -> Markup {
        let v = self.visitor;
        html! {
            tr role="row" {
                th role="rowheader" scope="row" {
                    a href=(v.domain_path(domain.name, "")) { (domain.unicode_name) }
                    @if domain.unicode_name != domain.name.as_str() { " " span.muted.small { (domain.name) } }
                    @if domain.retired.is_some() { " " span.tag { (v.say("retired", "stillgelegt")) } }
                }
                td.nowrap role="cell" { (layout::badge(domain.ssl.state, v.lang)) }
                td role="cell" { (i18n::reason(domain.ssl.reason, v.lang)) }
                td.extra role="cell" data-label=(v.say("Tenant:", "Mandant:")) {
                    @if domain.tenant != domain.name.as_str() { (domain.tenant) }
                    @else { span.muted { (v.say("own", "eigener")) } }
                }
                td.extra role="cell" data-label=(v.say("until", "bis")) {
                    @if let Some(t) = domain.ssl.not_after { (i18n::day(t, v.lang)) } @else { span.muted { "–" } }
                }
            }
        }
    }

    /// Why the list is empty.
    fn nothing(&self) -> Markup {
        let (v, list) = (self.visitor, self.list);
        let all = self.counts.issued + self.counts.pending + self.counts.unknown;
        html! {
            @if let Some(q) = &list.q {
                (v.say("No domains found whose name starts with", "Keine Domains gefunden, deren Name beginnt mit"))
                " " strong { (q) } "."
            } @else if all == 0 && list.tenant.is_none() {
                (v.say("There are no domains yet.", "Es gibt noch keine Domains."))
            } @else {
                (v.say("No domains found.", "Keine Domains gefunden."))
            }
        }
    }

    fn pager(&self, next: Option<&str>) -> Markup {
        let (v, list) = (self.visitor, self.list);
        let first = DomainFilter {
            cursor: None,
            ..list.clone()
        };
        let next = next.map(|next| DomainFilter {
            cursor: Some(next.to_owned()),
            ..list.clone()
        });
        html! {
            @if list.cursor.is_some() || next.is_some() {
                nav.pager aria-label=(v.say("Pages", "Seiten")) {
                    @if list.cursor.is_some() {
                        a.button href=(address(&first)) { "« " (v.say("First page", "Erste Seite")) }
                    } @else { span {} }
                    @if let Some(next) = next {
                        a.button rel="next" href=(address(&next)) { (v.say("Next page", "Nächste Seite")) " ›" }
                    }
                }
            }
        }
    }
}

/// The address of the list with a filter.
fn address(list: &DomainFilter) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let pairs = [
        ("q", list.q.as_deref()),
        ("state", list.state.map(SslState::as_str)),
        ("reason", list.reason.map(Reason::as_str)),
        ("tenant", list.tenant.as_deref()),
        ("limit", list.limit.as_deref()),
        ("cursor", list.cursor.as_deref()),
    ];
    for (key, value) in pairs {
        if let Some(value) = value {
            query.append_pair(key, value);
        }
    }
    let query = query.finish();
    if query.is_empty() {
        "/".to_owned()
    } else {
        format!("/?{query}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pasted_urls_are_searched_by_host() {
        for (given, found) in [
            (" Links.Customer.example ", "links.customer.example"),
            ("https://links.customer.example/c/abc?x=1", "links.customer.example"),
            ("links.customer.example:443", "links.customer.example"),
            ("https://links.B\u{fc}cher.example/x", "links.b\u{fc}cher.example"),
            ("lin", "lin"),
            ("", ""),
        ] {
            assert_eq!(search_text(given), found, "{given}");
        }
    }

    #[test]
    fn an_address_contains_the_filter() {
        assert_eq!(address(&DomainFilter::default()), "/");
        let list = DomainFilter {
            q: Some("a&b".into()),
            state: Some(SslState::Pending),
            tenant: Some("kö x".into()),
            cursor: Some("YQ".into()),
            ..DomainFilter::default()
        };
        assert_eq!(address(&list), "/?q=a%26b&state=pending&tenant=k%C3%B6+x&cursor=YQ");
    }
}
