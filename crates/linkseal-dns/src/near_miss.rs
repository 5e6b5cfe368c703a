//! TXT records that were meant as the requested one, but that receivers do not recognize. Their
//! owner sees a record in the zone, so the report shows it and says what is wrong with it.

use futures_util::future::join;
use linkseal_domain::Text;

use crate::lookup::Kind;
use crate::query::Queries;

/// What a TXT record is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// RFC 7208.
    Spf,
    /// RFC 7489.
    Dmarc,
    /// RFC 6376.
    Dkim,
}

/// A published value, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NearMiss {
    pub(crate) found: String,
    pub(crate) hint: Text,
}

impl Family {
    /// How such a record begins.
    fn version(self) -> &'static str {
        match self {
            Self::Spf => "v=spf1",
            Self::Dmarc => "v=DMARC1",
            Self::Dkim => "v=DKIM1",
        }
    }

    /// What follows the version.
    fn separator(self) -> char {
        if self == Self::Spf { ' ' } else { ';' }
    }

    /// Whether a text is meant as such a record, however it is misspelt.
    pub(crate) fn is_meant(self, text: &str) -> bool {
        let kept = |c: &char| c.is_ascii_alphanumeric() || *c == '=';
        let bare: String = text.chars().filter(kept).collect::<String>().to_ascii_lowercase();
        let version = self.version().to_ascii_lowercase();
        let (_, name) = version.split_once('=').unwrap_or_default();
        // `v=spf10` is another version; a pasted zone file line has the version in the middle.
        let begins = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_digit());
        let whole = bare.split_once(&version).is_some_and(|(_, rest)| begins(rest));
        whole || bare.strip_prefix(name).is_some_and(begins)
    }
}

/// The first text that is meant as a record of the family. Callers pass invalid texts only.
pub(crate) fn among<'a>(texts: impl IntoIterator<Item = &'a str>, family: Family) -> Option<NearMiss> {
    let text = texts.into_iter().find(|t| family.is_meant(t))?;
    Some(NearMiss {
        found: text.to_owned(),
        hint: defect(text, family),
    })
}

/// Why receivers do not read a text as a record of the family.
pub(crate) fn defect(text: &str, family: Family) -> Text {
    const QUOTES: [char; 11] = ['"', '\'', '“', '”', '„', '‟', '‘', '’', '‚', '«', '»'];
    let (version, separator) = (family.version(), family.separator());
    let starts = |t: &str| t.get(..version.len()).is_some_and(|s| s.eq_ignore_ascii_case(version));
    if text.contains(QUOTES) {
        quotation_marks()
    } else if text.contains('\\') {
        Text::new(
            "The value contains a backslash (\\): enter it without backslashes.",
            "Der Wert enthält einen Backslash (\\): Geben Sie ihn ohne Backslash ein.",
        )
    } else if text.starts_with(char::is_whitespace) {
        Text::new(
            format!("The value begins with a space: it must begin with {version}."),
            format!("Der Wert beginnt mit einem Leerzeichen: Er muss mit {version} beginnen."),
        )
    } else if !starts(text) {
        Text::new(
            format!("The value must begin with {version}."),
            format!("Der Wert muss mit {version} beginnen."),
        )
    } else if family != Family::Spf && !text.starts_with(version) {
        Text::new(
            format!("The value must begin with {version}, with exactly this upper and lower case."),
            format!("Der Wert muss mit {version} beginnen, genau in dieser Groß- und Kleinschreibung."),
        )
    } else if !text
        .get(version.len()..)
        .unwrap_or_default()
        .trim_start()
        .starts_with(separator)
        && text.len() > version.len()
    {
        match separator {
            ';' => Text::new(
                format!("A semicolon is missing after {version}."),
                format!("Nach {version} fehlt ein Semikolon."),
            ),
            _ => Text::new(
                format!("{version} must be followed by a space, not by another character."),
                format!("Nach {version} muss ein Leerzeichen folgen, kein anderes Zeichen."),
            ),
        }
    } else {
        Text::new(
            "Receivers cannot read this value.",
            "Empfänger können diesen Wert nicht lesen.",
        )
    }
}

pub(crate) fn quotation_marks() -> Text {
    Text::new(
        "The value contains quotation marks: enter it without them.",
        "Der Wert enthält Anführungszeichen: Geben Sie ihn ohne Anführungszeichen ein.",
    )
}

/// A record that was published at the wrong host.
pub(crate) fn elsewhere(found: &str, at: &str, host_short: &str) -> NearMiss {
    NearMiss {
        found: found.to_owned(),
        hint: Text::new(
            format!("There is such a record at {at}, but the host must be {host_short}."),
            format!("Unter {at} gibt es einen solchen Eintrag, der Host muss aber {host_short} lauten."),
        ),
    }
}

/// The target of a CNAME that was published at `host` as a TXT record.
pub(crate) async fn target_as_text(queries: &Queries<'_>, host: &str, target: &str) -> Option<NearMiss> {
    let answer = queries.get(host, Kind::Txt).await.ok()?;
    let found = answer.texts().find(|t| is_target(t, target))?;
    Some(NearMiss {
        found: found.to_owned(),
        hint: Text::new(
            "The target was entered as a TXT record: delete it and choose the type CNAME.",
            "Das Ziel wurde als TXT-Eintrag angelegt: Löschen Sie diesen und wählen Sie den Typ CNAME.",
        ),
    })
}

/// Whether a text is the target, with no more than people paste along: `https://…/`, quotation
/// marks, the type before it or a comment after it.
fn is_target(text: &str, target: &str) -> bool {
    /// Bytes around the target; a longer text has another purpose and only mentions it.
    const MAX_AROUND: usize = 40;
    let text = text.to_ascii_lowercase();
    let Some((before, after)) = text.split_once(target) else {
        return false;
    };
    let apart = |c: Option<char>| c.is_none_or(|c| !(c.is_ascii_alphanumeric() || "-_@=:".contains(c)));
    let before_ok = before.ends_with("://") || apart(before.chars().last()) && !before.ends_with('.');
    let after_ok = apart(after.chars().next())
        && !after
            .strip_prefix('.')
            .is_some_and(|a| a.starts_with(char::is_alphanumeric));
    before.len() + after.len() <= MAX_AROUND && before_ok && after_ok && !before.contains('=')
}

/// Says which records exist at a name that needs a CNAME: it allows no others (RFC 1034 §3.6.2).
pub(crate) async fn in_the_way(queries: &Queries<'_>, host: &str) -> Option<Text> {
    let (txt, mx) = join(queries.get(host, Kind::Txt), queries.get(host, Kind::Mx)).await;
    let kinds: Vec<&str> = [(txt, "TXT"), (mx, "MX")]
        .into_iter()
        .filter(|(answer, _)| answer.is_ok())
        .map(|(_, kind)| kind)
        .collect();
    let (en, de) = (kinds.join(" and "), kinds.join(" und "));
    (!kinds.is_empty()).then(|| {
        Text::new(
            format!("{host} has other records ({en}), and a CNAME cannot exist beside them. Delete them first or use another subdomain."),
            format!("{host} hat andere DNS-Einträge ({de}); daneben ist kein CNAME möglich. Löschen Sie diese zuerst oder verwenden Sie eine andere Subdomain."),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defect_of_a_near_miss_is_named() {
        for (text, family, word) in [
            ("\"v=spf1 mx -all\"", Family::Spf, "quotation marks"),
            ("“v=spf1 mx -all”", Family::Spf, "quotation marks"),
            (" v=spf1 mx -all", Family::Spf, "begins with a space"),
            ("v=spf1; mx", Family::Spf, "followed by a space"),
            ("v=spf1,mx", Family::Spf, "followed by a space"),
            ("spf1 mx -all", Family::Spf, "begin with v=spf1"),
            ("spf=v=spf1 mx", Family::Spf, "begin with v=spf1"),
            (
                "customer.example. 300 IN TXT v=spf1 mx",
                Family::Spf,
                "begin with v=spf1",
            ),
            ("v=DMARC1\\; p=none", Family::Dmarc, "backslash"),
            ("v=DMARC1 p=none", Family::Dmarc, "semicolon"),
            ("V=DMARC1; p=none", Family::Dmarc, "upper and lower case"),
            ("v=dmarc1; p=none", Family::Dmarc, "upper and lower case"),
            ("DMARC1; p=none", Family::Dmarc, "begin with v=DMARC1"),
            ("p=none; v=DMARC1", Family::Dmarc, "begin with v=DMARC1"),
            ("v=DKIM1\\; p=QUJD", Family::Dkim, "backslash"),
        ] {
            let miss = among(["unrelated", text], family).expect(text);
            assert_eq!(miss.found, text);
            assert!(miss.hint.en.contains(word), "{text}: {}", miss.hint.en);
            assert_ne!(miss.hint.en, miss.hint.de);
        }
        assert_eq!(among(["v=spf10 mx", "google-site-verification=x"], Family::Spf), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,30}") {
            for family in [Family::Spf, Family::Dmarc, Family::Dkim] {
                proptest::prop_assert!(!defect(&text, family).en.is_empty());
                among([text.as_str()], family);
            }
        }
    }
}
