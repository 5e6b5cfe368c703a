//! Links inside links: mail gateways, providers and chat programs wrap links in their own, and people paste
//! those. This extracts the inner link where it is readable.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::path::{LinkPath, decoded, token_in};
use super::token::Token;

/// How many layers are unwrapped.
const DEEPEST: usize = 5;

/// The inner link, and the host of the outermost wrapper. `None` if the link is not wrapped or the inner one
/// is not readable.
pub fn unwrapped(text: &str) -> Option<(String, String)> {
    let mut found: Option<(String, String)> = None;
    for _ in 0..DEEPEST {
        let text = found.as_ref().map_or(text, |(inner, _)| inner.as_str());
        let Some((inner, host)) = layer(text.trim()) else { break };
        let outermost = found.map_or(host, |(_, host)| host);
        found = Some((inner, outermost));
    }
    found
}

fn layer(text: &str) -> Option<(String, String)> {
    // If the text does not begin with a scheme, `://` belongs to a URL in a parameter.
    let (_, rest) = text
        .split_once("://")
        .filter(|(s, _)| s.bytes().all(|b| b.is_ascii_alphanumeric()))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, tail) = rest.split_at_checked(end)?;
    let (tail, _) = tail.split_once('#').unwrap_or((tail, ""));
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    // One of our own links may carry a URL among its parameters.
    let own = path.rsplit('/').any(is_token) && first_url(path).is_none();
    if own || LinkPath::parse(path, "").is_some() {
        return None;
    }
    // urldefense v3 puts the link between `/v3/__` and `__;`.
    let v3 = path.strip_prefix("/v3/__").map(|_| tail).and_then(|tail| {
        let inner = tail.get("/v3/__".len()..)?;
        let inner = inner.split("__;").next()?;
        Some(if inner.contains("://") {
            inner.to_owned()
        } else {
            inner.replacen(":/", "://", 1)
        })
    });
    let inner = v3.filter(|inner| is_url(inner)).or_else(|| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .into_iter()
            .find_map(|(_, value)| hidden(value.trim_start_matches("amp;")))
    });
    let inner = inner.or_else(|| first_url(path));
    inner.map(|inner| (inner, host.to_owned()))
}

fn is_token(part: &str) -> bool {
    let cut = token_in(part);
    Token::decode(cut.as_deref().unwrap_or(part)).is_ok()
}

/// A URL in a parameter: percent-encoded, in Proofpoint's v2 spelling, or in base64.
fn hidden(value: &str) -> Option<String> {
    let value = decoded(value).unwrap_or(Cow::Borrowed(value)).into_owned();
    if is_url(&value) {
        return Some(value);
    }
    if value.starts_with("http-3A") || value.starts_with("https-3A") {
        let plain = value.replace('_', "/").replace('%', "%25").replace('-', "%");
        return decoded(&plain).map(Cow::into_owned).filter(|v| is_url(v));
    }
    let bare = value.trim_end_matches('=');
    let bytes = URL_SAFE_NO_PAD
        .decode(bare)
        .or_else(|_| STANDARD_NO_PAD.decode(bare))
        .ok()?;
    String::from_utf8(bytes).ok().filter(|v| is_url(v))
}

/// A URL at the end of a path, encoded or not.
fn first_url(path: &str) -> Option<String> {
    let lower = path.to_ascii_lowercase();
    let marks = ["https://", "http://", "https%3a%2f%2f", "http%3a%2f%2f"];
    let at = marks.iter().filter_map(|mark| lower.find(mark)).min()?;
    let inner = path.get(at..)?;
    let inner = if inner.contains("://") {
        Cow::Borrowed(inner)
    } else {
        decoded(inner)?
    };
    Some(inner.into_owned()).filter(|v| is_url(v))
}

fn is_url(text: &str) -> bool {
    let begins = |with: &str| text.get(..with.len()).is_some_and(|t| t.eq_ignore_ascii_case(with));
    (begins("https://") || begins("http://")) && text.len() > "https://x".len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_gateways_put_around_a_link_is_taken_off() {
        let token = "EgFrAjCAAZLzpLXGfY6foLHC0-T1BgAAaHR0cHM6Ly9leGFtcGxlLmNvbS9IMADXS-cBEtpqIf7NGXTy";
        let link = format!("https://links.example/c/{token}");
        let percent = format!("https%3A%2F%2Flinks.example%2Fc%2F{token}");
        let v2 = format!(
            "https-3A__links.example_c_{}",
            token.replace('-', "-2D").replace('_', "-5F")
        );
        let base64 = URL_SAFE_NO_PAD.encode(&link);
        for (wrapped, host) in [
            (
                format!(
                    "https://eur01.safelinks.protection.outlook.com/?url={percent}&data=05%7C01&sdata=x%3D&reserved=0"
                ),
                "eur01.safelinks.protection.outlook.com",
            ),
            (
                format!("https://eur01.safelinks.protection.outlook.com/?url={percent}&amp;data=05"),
                "eur01.safelinks.protection.outlook.com",
            ),
            (
                format!("https://urldefense.proofpoint.com/v1/url?u={link}&k=x"),
                "urldefense.proofpoint.com",
            ),
            (
                format!("https://urldefense.proofpoint.com/v2/url?u={v2}&d=DwMFaQ&c=x"),
                "urldefense.proofpoint.com",
            ),
            (
                format!("https://urldefense.com/v3/__{link}__;!!Abc!xyz$"),
                "urldefense.com",
            ),
            (
                format!("https://urldefense.com/v3/__https:/links.example/c/{token}__;!!Abc!xyz$ "),
                "urldefense.com",
            ),
            (
                format!("https://www.google.com/url?sa=D&q={percent}&ust=1"),
                "www.google.com",
            ),
            (
                format!(
                    "https://linkprotect.cudasvc.com/url?a={}&c=E,1,x",
                    percent
                        .to_ascii_uppercase()
                        .replace(&token.to_ascii_uppercase(), token)
                        .replace("HTTPS", "https")
                        .replace("LINKS.EXAMPLE", "links.example")
                        .replace("%2FC%2F", "%2fc%2f")
                ),
                "linkprotect.cudasvc.com",
            ),
            (
                format!("https://secure-web.cisco.com/1abc/{percent}"),
                "secure-web.cisco.com",
            ),
            (
                format!("https://eu.protection.sophos.com/?d=links.example&u={base64}&p=x"),
                "eu.protection.sophos.com",
            ),
        ] {
            assert_eq!(unwrapped(&wrapped), Some((link.clone(), host.to_owned())), "{wrapped}");
        }
        let inner: String =
            form_urlencoded::byte_serialize(format!("https://urldefense.com/v3/__{link}__;!!a$").as_bytes()).collect();
        let twice = format!("https://nam02.safelinks.protection.outlook.com/?url={inner}&data=x");
        assert_eq!(
            unwrapped(&twice),
            Some((link.clone(), "nam02.safelinks.protection.outlook.com".into()))
        );
        for own in [
            link.clone(),
            format!("{link}?url=https%3A%2F%2Fexample.com"),
            format!("https://links.example/e/c/{token}?u=https://example.com"),
            "https://links.example/r/sale?to=https://example.com".into(),
            token.into(),
            "https://protect-eu.mimecast.com/s/AbCd?domain=links.example".into(),
            String::new(),
        ] {
            assert_eq!(unwrapped(&own), None, "{own}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(https?://)?\\PC{0,120}") {
            let _ = unwrapped(&text);
        }
    }
}
