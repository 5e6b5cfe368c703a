//! A DKIM key record, read as verifiers read it (RFC 6376 §3.2 and §3.6.1).

use linkseal_domain::Text;

use crate::near_miss::{Family, defect};

/// The parts in which two records must agree to verify the same signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    kind: String,
    public: String,
}

/// Whether a text is meant as a key record.
pub(crate) fn is_meant(text: &str) -> bool {
    let has_key = |t: &str| t.split_once('=').is_some_and(|(name, _)| name.trim() == "p");
    text.split(';').any(has_key) || Family::Dkim.is_meant(text)
}

/// Reads a record. `Err`: why verifiers cannot use it.
pub(crate) fn read(text: &str) -> Result<Key, Text> {
    let unreadable = || defect(text, Family::Dkim);
    let tags = tags(text).ok_or_else(unreadable)?;
    let tag = |name: &str| tags.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str());
    // The version is optional; if present, it comes first and is DKIM1.
    if let Some(at) = tags.iter().position(|(n, _)| *n == "v")
        && (at, tag("v")) != (0, Some("DKIM1"))
    {
        return Err(unreadable());
    }
    let public = tag("p").unwrap_or_default();
    if public.is_empty() {
        return Err(Text::new(
            "The record contains no key (p= is empty or missing), so it counts as revoked.",
            "Der Eintrag enthält keinen Schlüssel (p= ist leer oder fehlt) und gilt damit als widerrufen.",
        ));
    }
    if !public.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b)) {
        return Err(unreadable());
    }
    let lists = |name: &str, any: &[&str]| tag(name).is_none_or(|v| v.split(':').any(|i| any.contains(&i)));
    if !lists("h", &["sha256"]) || !lists("s", &["*", "email"]) {
        return Err(Text::new(
            "The record excludes SHA-256 (h=) or email (s=), so receivers ignore it: remove h= and s=.",
            "Der Eintrag schließt SHA-256 (h=) oder E-Mail (s=) aus und wird deshalb ignoriert: Entfernen Sie h= und s=.",
        ));
    }
    Ok(Key {
        kind: tag("k").unwrap_or("rsa").to_owned(),
        public: public.to_owned(),
    })
}

/// The tags and their values without white space. `None`: not a tag list, or invalid because of a
/// duplicate tag.
fn tags(text: &str) -> Option<Vec<(&str, String)>> {
    let mut tags = Vec::new();
    let text = text.trim_end().strip_suffix(';').unwrap_or(text);
    for part in text.split(';') {
        let (name, value) = part.split_once('=')?;
        let name = name.trim();
        let word = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !word || tags.iter().any(|(n, _)| *n == name) {
            return None;
        }
        tags.push((name, value.chars().filter(|c| !c.is_whitespace()).collect()));
    }
    Some(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_verifiers_do() {
        let key = |kind: &str| Key {
            kind: kind.into(),
            public: "QUJDREVG".into(),
        };
        for (text, expected) in [
            ("v=DKIM1; k=rsa; p=QUJD REVG", Some("rsa")),
            ("p=QUJDREVG", Some("rsa")),
            (" v = DKIM1;p=QUJDREVG; ", Some("rsa")),
            ("v=DKIM1; k=ed25519; p=QUJDREVG", Some("ed25519")),
            (
                "v=DKIM1; t=y:s; n=a note; h=sha1:sha256; s=email; p=QUJDREVG",
                Some("rsa"),
            ),
            ("k=rsa; v=DKIM1; p=QUJDREVG", None),
            ("v=DKIM2; p=QUJDREVG", None),
            ("v=dkim1; p=QUJDREVG", None),
            ("v=DKIM1\\; k=rsa\\; p=QUJDREVG", None),
            ("\"v=DKIM1; p=QUJDREVG\"", None),
            ("v=DKIM1; p=QUJDREVG; p=QUJDREVG", None),
            ("v=DKIM1; p=QUJDREVG; nonsense", None),
            ("v=DKIM1;; p=QUJDREVG", None),
            ("v=DKIM1; p=", None),
            ("v=DKIM1", None),
            ("v=DKIM1; p=QUJD§EVG", None),
            ("v=DKIM1; h=sha1; p=QUJDREVG", None),
            ("v=DKIM1; s=tlsrpt; p=QUJDREVG", None),
            ("", None),
        ] {
            assert_eq!(read(text).ok(), expected.map(key), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(v=DKIM1)?(;\\PC{0,8}=?\\PC{0,8}){0,6}") {
            if read(&text).is_ok() {
                proptest::prop_assert!(is_meant(&text));
            }
        }
    }
}
