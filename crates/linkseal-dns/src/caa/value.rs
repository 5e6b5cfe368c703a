//! The value of a CAA `issue` property, read as strictly as a CA reads it (RFC 8659 §4.2,
//! RFC 8657 §3 and §4). A malformed value authorizes no CA at all.

/// The validation method linkseal uses, as CAA names it (RFC 8657 §4, RFC 8555 §9.7.8).
const METHOD: &str = "http-01";

/// How CAA records identify a CA and our account there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaIdentity {
    /// Its issuer domain names: the directory's `meta.caaIdentities`. Empty: CAA is not judged.
    pub identities: Vec<String>,
    /// The URL of our account. `None`: not known yet; `accounturi` parameters are not judged.
    pub account_uri: Option<String>,
}

/// What an `issue` value means for one CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grant {
    /// It names another CA, none, or is malformed.
    No,
    /// The RFC allows the CA, but Boulder, Let's Encrypt's software, is stricter and refuses: the
    /// identity's case differs, or a parameter's tag has a hyphen.
    Doubtful,
    /// It allows the CA.
    Yes,
}

/// Whether an `issue` value allows `ca` to issue by HTTP-01.
pub(crate) fn grant(value: &str, ca: &CaIdentity) -> Grant {
    let Some(value) = IssueValue::parse(value) else {
        return Grant::No;
    };
    let is_ours = |id: &&String| id.trim_end_matches('.').eq_ignore_ascii_case(value.issuer);
    let Some(identity) = ca.identities.iter().find(is_ours) else {
        return Grant::No;
    };
    let admitted = value.parameter("accounturi").is_ok_and(|uri| {
        let pairs = uri.zip(ca.account_uri.as_deref());
        pairs.is_none_or(|(theirs, ours)| theirs == ours)
    }) && value
        .parameter("validationmethods")
        .is_ok_and(|m| m.is_none_or(lists_ours));
    if !admitted {
        return Grant::No;
    }
    let hyphen = value.parameters.iter().any(|(tag, _)| tag.contains('-'));
    if hyphen || identity.trim_end_matches('.') != value.issuer {
        Grant::Doubtful
    } else {
        Grant::Yes
    }
}

/// Why a value that seems meant for a CA does not allow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Characters that do not belong there: quotation marks, a final dot, `https://`.
    Spelling,
    /// A malformed or duplicate parameter.
    Parameters,
    /// `accounturi` names another account.
    Account,
    /// `validationmethods` does not list HTTP-01.
    Method,
}

/// What is wrong with a value that is meant for `ca`, but does not allow it. `None`: it is meant for
/// another CA, or allows this one.
pub(crate) fn flaw(value: &str, ca: &CaIdentity) -> Option<Flaw> {
    if grant(value, ca) > Grant::No {
        return None;
    }
    let lower = value.to_ascii_lowercase();
    let mut ids = ca
        .identities
        .iter()
        .map(|id| id.trim_end_matches('.').to_ascii_lowercase());
    let id = ids.find(|id| lower.contains(id.as_str()))?;
    let issuer = lower.split(';').next().unwrap_or_default().trim_matches([' ', '\t']);
    if issuer != id {
        // Another CA's name may end like ours.
        let around = issuer.split_once(id.as_str())?;
        let apart = |s: &str| !s.contains(|c: char| c.is_ascii_alphanumeric());
        let scheme = around.0.trim_end_matches(['/', ':']);
        let before = apart(around.0) || ["http", "https", "issue", "issue \""].contains(&scheme.trim_matches('"'));
        return (before && !around.0.ends_with('.') && apart(around.1)).then_some(Flaw::Spelling);
    }
    let Some(value) = IssueValue::parse(value) else {
        return Some(Flaw::Parameters);
    };
    match (value.parameter("accounturi"), value.parameter("validationmethods")) {
        (Ok(_), Ok(Some(methods))) if !lists_ours(methods) => Some(Flaw::Method),
        (Ok(Some(_)), Ok(_)) => Some(Flaw::Account),
        _ => Some(Flaw::Parameters),
    }
}

/// Whether a list of validation methods contains ours; a malformed list contains none.
fn lists_ours(methods: &str) -> bool {
    let is_label = |m: &str| !m.is_empty() && m.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    methods.split(',').all(is_label) && methods.split(',').any(|m| m == METHOD)
}

struct IssueValue<'a> {
    /// Empty: no CA may issue.
    issuer: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> IssueValue<'a> {
    /// `*WSP [issuer-domain-name *WSP] [";" *WSP [parameters *WSP]]`. `None`: malformed.
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(|p| p.trim_matches([' ', '\t']));
        let issuer = parts.next()?;
        if !issuer.is_empty() && !issuer.split('.').all(is_label) {
            return None;
        }
        let mut parts: Vec<&str> = parts.collect();
        // The grammar allows a trailing semicolon after the issuer, but not after a parameter.
        if parts == [""] {
            parts.clear();
        }
        let parameters = parts.into_iter().map(parameter).collect::<Option<_>>()?;
        Some(Self { issuer, parameters })
    }

    /// The value of a parameter. `Err`: it is given twice, which is invalid (RFC 8657 §3, §4).
    fn parameter(&self, tag: &str) -> Result<Option<&'a str>, ()> {
        let mut values = self.parameters.iter().filter(|(t, _)| t.eq_ignore_ascii_case(tag));
        match (values.next(), values.next()) {
            (first, None) => Ok(first.map(|(_, value)| *value)),
            _ => Err(()),
        }
    }
}

/// `tag *WSP "=" *WSP value`. `None`: malformed.
fn parameter(text: &str) -> Option<(&str, &str)> {
    let (tag, value) = text.split_once('=')?;
    let (tag, value) = (tag.trim_end_matches([' ', '\t']), value.trim_start_matches([' ', '\t']));
    (is_label(tag) && value.bytes().all(|b| b.is_ascii_graphic())).then_some((tag, value))
}

/// `(ALPHA / DIGIT) *( *("-") (ALPHA / DIGIT))`, the shape of a domain's label and of a tag.
fn is_label(text: &str) -> bool {
    let inner = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    !text.is_empty() && inner && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ca() -> CaIdentity {
        CaIdentity {
            identities: vec!["letsencrypt.org".into()],
            account_uri: Some("https://ca.example/acct/1".into()),
        }
    }

    #[test]
    fn values_are_read_as_the_ca_reads_them() {
        use Grant::{Doubtful, No, Yes};
        for (value, expected) in [
            ("letsencrypt.org", Yes),
            (" letsencrypt.org\t", Yes),
            ("letsencrypt.org;", Yes),
            ("letsencrypt.org ; ", Yes),
            ("letsencrypt.org; validationmethods=http-01", Yes),
            ("letsencrypt.org;validationmethods = dns-01,http-01 ", Yes),
            (
                "letsencrypt.org; accounturi=https://ca.example/acct/1; validationmethods=http-01",
                Yes,
            ),
            ("letsencrypt.org; other=a=b", Yes),
            ("letsencrypt.org; empty=", Yes),
            ("LetsEncrypt.org", Doubtful),
            ("letsencrypt.org; not-known=1", Doubtful),
            ("letsencrypt.org.", No),
            (".letsencrypt.org", No),
            ("letsencrypt..org", No),
            ("https://letsencrypt.org", No),
            ("\"letsencrypt.org\"", No),
            ("letsencrypt.org ca.example", No),
            ("letsencrypt.org,ca.example", No),
            ("letsencrypt.org;;", No),
            ("letsencrypt.org; ;", No),
            ("letsencrypt.org; validationmethods=http-01;", No),
            ("letsencrypt.org; validationmethods=http-01; ", No),
            ("letsencrypt.org;; validationmethods=http-01", No),
            ("letsencrypt.org; validationmethods=dns-01, http-01", No),
            ("letsencrypt.org; validationmethods=http-01,", No),
            ("letsencrypt.org; validationmethods=http-01,dns_01", No),
            ("letsencrypt.org; validationmethods=", No),
            ("letsencrypt.org; validationmethods=HTTP-01", No),
            (
                "letsencrypt.org; validationmethods=http-01; validationmethods=http-01",
                No,
            ),
            (
                "letsencrypt.org; ValidationMethods=http-01; validationmethods=dns-01",
                No,
            ),
            ("letsencrypt.org; accounturi=https://ca.example/acct/2", No),
            ("letsencrypt.org; accounturi=https://ca.example/acct/1 x", No),
            ("letsencrypt.org; accounturi=", No),
            ("letsencrypt.org; nonsense", No),
            ("letsencrypt.org; =1", No),
            ("letsencrypt.org; -a=1", No),
            ("letsencrypt.org; a_b=1", No),
            ("letsencrypt.org; ä=1", No),
            ("letsencrypt.org; a=ä", No),
            ("letsencrypt.org validationmethods=http-01", No),
            ("", No),
            (";", No),
            ("; validationmethods=http-01", No),
        ] {
            assert_eq!(grant(value, &ca()), expected, "{value:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_value_is_read_without_panic_and_only_our_identity_is_granted(value in "\\PC{0,40}") {
            if grant(&value, &ca()) != Grant::No {
                proptest::prop_assert!(value.to_ascii_lowercase().contains("letsencrypt.org"));
            }
        }

        #[test]
        fn a_byte_outside_the_grammar_forbids(at in 0_usize..32, byte in "[^!-~ \t]") {
            let mut value = String::from("letsencrypt.org; cansign=yes; b=1");
            value.insert_str(at, &byte);
            proptest::prop_assert_eq!(grant(&value, &ca()), Grant::No);
        }
    }
}
