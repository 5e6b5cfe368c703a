//! DKIM keys at the sending domain (RFC 6376 §3.6): an alias to the platform's key, or the same
//! key as text. Reported only, never a gate.

use serde::{Deserialize, Serialize};

use super::look::Look;
use super::lookup::{Kind, normal};
use super::row::{Hint, Purpose, RecordReport, Word};

/// A DKIM key that customers are asked to publish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dkim {
    /// The selector: the label before `_domainkey`.
    pub selector: String,
    /// The name whose TXT record holds the key; customers publish a CNAME to it.
    pub cname: String,
}

/// Checks one key of `domain`.
pub(super) async fn check(look: &Look<'_>, domain: &str, wanted: &Dkim) -> RecordReport {
    let host = format!("{}._domainkey.{domain}", normal(&wanted.selector));
    let target = normal(&wanted.cname);
    let row = RecordReport::new("CNAME", Purpose::Mail, &host, vec![target.clone()]);
    match look.get(&host, Kind::Cname).await {
        Ok(answer) => {
            let found = answer.names().next().unwrap_or_default().to_owned();
            let row = row.found([&found], answer.ttl());
            if found == target || same_key(look, &host, &target).await == Some(true) {
                return row;
            }
            row.leads_elsewhere(&found, &target)
        }
        Err(e) if e.is_absent() => match look.get(&host, Kind::Txt).await {
            // Some providers write the alias's text instead of the alias; some people copy it.
            Ok(text) => {
                let row = row.found(text.texts(), text.ttl());
                match same_key(look, &host, &target).await {
                    Some(true) => row,
                    Some(false) => row.is(
                        Word::Wrong,
                        Hint::new(
                            format!("{host} holds another key as TXT: replace it by CNAME {target}."),
                            format!("{host} enthält einen anderen Schlüssel als TXT: Ersetzen Sie ihn durch CNAME {target}."),
                        ),
                    ),
                    None => row.is(
                        Word::NotChecked,
                        Hint::new(
                            format!("{host} holds a key as TXT that cannot be compared now; CNAME {target} is asked for."),
                            format!("{host} enthält einen Schlüssel als TXT, der gerade nicht verglichen werden kann; erwartet wird CNAME {target}."),
                        ),
                    ),
                }
            }
            Err(_) => row.without(look, Kind::Cname, &e).await,
        },
        Err(e) => row.failed(&e),
    }
}

/// Whether both names hold the same key. `None`: the platform's own key cannot be had.
async fn same_key(look: &Look<'_>, host: &str, target: &str) -> Option<bool> {
    let ours = look.get(target, Kind::Txt).await.ok()?;
    let ours = ours.texts().find_map(key)?;
    let theirs = look.get(host, Kind::Txt).await.ok();
    Some(theirs.and_then(|t| t.texts().find_map(key)).is_some_and(|k| k == ours))
}

/// The public key of a DKIM record: its `p=` tag without white space (RFC 6376 §3.6.1).
fn key(text: &str) -> Option<String> {
    text.split(';').find_map(|tag| {
        let (name, value) = tag.split_once('=')?;
        let value: String = value.chars().filter(|c| !c.is_whitespace()).collect();
        (name.trim() == "p" && !value.is_empty()).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::super::lookup::LookupError;
    use super::super::script::{NEGATIVE_TTL, Script};
    use super::*;

    const HOST: &str = "ps1._domainkey.customer.example";
    const TARGET: &str = "ps1.dkim.platform.example";

    fn script() -> Script {
        let script = Script::new();
        script.add(TARGET, Kind::Txt, "v=DKIM1; k=rsa; p=QUJD REVG");
        script
    }

    async fn report(script: &Script) -> RecordReport {
        let wanted = Dkim {
            selector: "ps1".into(),
            cname: "PS1.dkim.platform.example.".into(),
        };
        script
            .with_look(async |look| check(look, "customer.example", &wanted).await)
            .await
    }

    #[tokio::test]
    async fn an_alias_or_the_same_key_is_right() {
        let alias = script();
        alias.add(HOST, Kind::Cname, TARGET);
        let row = report(&alias).await;
        assert_eq!((row.verdict, row.host_short.as_str()), (Word::Ok, "ps1._domainkey"));
        let text = script();
        text.add(HOST, Kind::Txt, "v=DKIM1;p=QUJDREVG");
        assert_eq!(report(&text).await.verdict, Word::Ok);
        let through = script();
        through.add(HOST, Kind::Cname, "keys.customer.example");
        through.add(HOST, Kind::Txt, "v=DKIM1;p=QUJDREVG");
        assert_eq!(report(&through).await.verdict, Word::Ok);
    }

    #[tokio::test]
    async fn anything_else_says_what_to_change() {
        let missing = report(&script()).await;
        assert_eq!((missing.verdict, missing.ttl), (Word::Missing, Some(NEGATIVE_TTL)));
        assert_eq!(
            missing.hint.en,
            "Create the record ps1._domainkey.customer.example CNAME ps1.dkim.platform.example."
        );

        let twice = script();
        twice.add("ps1._domainkey.customer.example.customer.example", Kind::Cname, TARGET);
        let row = report(&twice).await;
        assert!(
            row.hint.en.contains("enter only ps1._domainkey as the host"),
            "{}",
            row.hint.en
        );

        let no_dot = script();
        no_dot.add(HOST, Kind::Cname, "ps1.dkim.platform.example.customer.example");
        let row = report(&no_dot).await;
        assert_eq!(row.verdict, Word::Wrong);
        assert!(row.hint.de.contains("Punkt am Ende"), "{}", row.hint.de);

        let other = script();
        other.add(HOST, Kind::Txt, "v=DKIM1; p=T1RIRVI=");
        assert_eq!(report(&other).await.verdict, Word::Wrong);

        let revoked = script();
        revoked.add(HOST, Kind::Txt, "v=DKIM1; p=");
        assert_eq!(report(&revoked).await.verdict, Word::Wrong);

        let failing = script();
        failing.fail(HOST, Kind::Cname, LookupError::Refused { text: None });
        assert_eq!(report(&failing).await.verdict, Word::Error);
    }

    #[tokio::test]
    async fn without_our_own_key_nothing_is_held_against_the_customer() {
        let ours_fails = Script::new();
        ours_fails.fail(TARGET, Kind::Txt, LookupError::Timeout);
        ours_fails.add(HOST, Kind::Txt, "v=DKIM1; p=QUJDREVG");
        assert_eq!(report(&ours_fails).await.verdict, Word::NotChecked);
    }
}
