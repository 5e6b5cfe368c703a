//! What a domain's owner reads: one sentence for each reason, in English and German. It says what to
//! change, or that nothing needs to be changed.
//!
//! `{…}` in a sentence is filled in from the record. A test checks that both languages fill in
//! everything.

mod sentences;

use linkseal_base::clock::Timestamp;
use std::net::IpAddr;

use self::sentences::Sentence;
use crate::DomainRecord;
use crate::language::{Language, Text};
use crate::ssl::Preflight;

/// What a sentence needs besides the record.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The CNAME target (`edge.name`).
    pub target: &'a str,
    /// The edge's public addresses, for names that cannot have a CNAME. Empty: not configured.
    pub addresses: &'a [IpAddr],
    /// The CA's CAA identity, such as `letsencrypt.org`. `None`: unknown; the CA's host name is shown.
    pub ca_id: Option<&'a str>,
    /// The CA's host name, for states in which no order has chosen a CA yet.
    pub ca: &'a str,
}

/// The sentence for a domain's present state.
pub fn message(record: &DomainRecord, context: Context<'_>) -> Text {
    let template = sentences::of(record, context);
    let sentence = |language| filled(template, record, context, language).trim_end().to_owned();
    Text {
        en: sentence(Language::En),
        de: sentence(Language::De),
    }
}

/// The result of the preflight, for the page and the report of a domain.
pub fn preflight(found: &Preflight) -> Text {
    let (en, de) = match (&found.miss, &found.through) {
        (Some(miss), _) => (
            format!("Our own test request for the CA's challenge does not arrive: {miss}."),
            format!("Unsere eigene Testanfrage für die CA-Prüfung kommt nicht an: {miss}."),
        ),
        (None, Some(provider)) => (
            format!(
                "Our own test request for the CA's challenge arrives through the {provider} proxy. \"DNS only\" is safer: a proxy setting can block renewals."
            ),
            format!(
                "Unsere eigene Testanfrage für die CA-Prüfung kommt über den Proxy von {provider} an. „Nur DNS“ ist sicherer: Eine Proxy-Einstellung kann Erneuerungen verhindern."
            ),
        ),
        (None, None) => (
            "Our own test request for the CA's challenge arrives.".to_owned(),
            "Unsere eigene Testanfrage für die CA-Prüfung kommt an.".to_owned(),
        ),
    };
    Text { en, de }
}

/// `2026-11-22 09:30 UTC`, in German `22.11.2026, 09:30 UTC`: to the minute, which is enough for planning.
pub fn minute(t: Timestamp, language: Language) -> String {
    let t = t.to_datetime();
    let (year, month, day) = (t.year(), u8::from(t.month()), t.day());
    let time = format!("{:02}:{:02} UTC", t.hour(), t.minute());
    match language {
        Language::En => format!("{year:04}-{month:02}-{day:02} {time}"),
        Language::De => format!("{day:02}.{month:02}.{year:04}, {time}"),
    }
}

fn filled((en, de): Sentence, record: &DomainRecord, context: Context<'_>, language: Language) -> String {
    let template = language.pick(en, de);
    let mut out = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some((before, tail)) = rest.split_once('{') {
        let (key, after) = tail.split_once('}').unwrap_or((tail, ""));
        out.push_str(before);
        out.push_str(&value_of(key, record, context, language));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The value of one placeholder; an ellipsis if it is unknown.
fn value_of(key: &str, record: &DomainRecord, context: Context<'_>, language: Language) -> String {
    let ssl = &record.ssl;
    let facts = &ssl.facts;
    let time = |t: Option<Timestamp>| t.map(|t| minute(t, language));
    let pick = |(en, de): Sentence| language.pick(en, de).to_owned();
    let value = match key {
        "name" => Some(record.name.to_unicode().into_owned()),
        "target" => Some(context.target.to_owned()),
        "addresses" => Some(sentences::join(context.addresses)),
        "ca" => Some(facts.ca.clone().unwrap_or_else(|| context.ca.to_owned())),
        "ca_id" => Some(context.ca_id.unwrap_or(context.ca).to_owned()),
        "found" => Some(facts.found.clone().unwrap_or_else(|| pick(("nothing", "nichts")))),
        "points" => {
            let (en, de) = sentences::points(facts.found.as_deref());
            Some(language.pick(en, de))
        }
        "provider" => facts.provider.clone(),
        // A CAA record at the name itself overrides all others.
        "host" => Some(facts.host.clone().unwrap_or_else(|| record.name.to_string())),
        "zone" => facts.zone.clone(),
        "error" => facts.error.clone(),
        "detail" => ssl
            .last_error
            .as_ref()
            .map(|e| e.detail.trim_end_matches('.').to_owned()),
        "attempts" => Some(ssl.attempts.to_string()),
        "since" => time(Some(record.paused.unwrap_or(ssl.since))),
        "stopped" => time(Some(ssl.since)),
        "retired" => time(record.retired),
        "eta" => time(ssl.eta.or(ssl.next_attempt)),
        "next_attempt" => time(ssl.next_attempt),
        "renew_at" => time(ssl.renewal_planned()),
        "not_after" => time(ssl.certificate.as_ref().map(|c| c.not_after)),
        "cause" => Some(pick(sentences::cause(facts.cause))),
        "fix" => {
            let fix = filled(sentences::fix(record, context), record, context, language);
            let own_request = pick(sentences::own_request(record));
            Some(format!("{fix} {own_request}").trim_end().to_owned())
        }
        _ => None,
    };
    value.unwrap_or_else(|| "…".to_owned())
}

#[cfg(test)]
mod tests;
