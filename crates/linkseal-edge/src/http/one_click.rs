//! The body of a POST to an unsubscribe link (RFC 8058 §3.2). Mail programs write
//! `List-Unsubscribe=One-Click` in many ways, some send no body at all; scanners do not POST. So every POST
//! unsubscribes, unless its body names another value.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use linkseal_link::decoded;

const KEY: &str = "list-unsubscribe";
const VALUE: &str = "oneclick";

/// Whether a body names a value other than One-Click, and One-Click nowhere.
pub(super) fn says_otherwise(headers: &HeaderMap, body: &[u8]) -> bool {
    // A body that is not text names no value.
    let Ok(body) = str::from_utf8(body) else { return false };
    let body = body.trim_start_matches('\u{feff}').trim();
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let kind = kind.unwrap_or_default().trim_start().to_ascii_lowercase();
    let values = if kind.starts_with("multipart/") || body.starts_with("--") {
        multipart(body)
    } else if kind.contains("json") || body.starts_with(['{', '[']) {
        json(body)
    } else {
        form(body)
    };
    let mut values = values
        .iter()
        .map(|value| plain(value))
        .filter(|value| !value.is_empty())
        .peekable();
    // Anything around it was added in transit: `One-Click;a=b`, `3DOne-Click`.
    values.peek().is_some() && !values.any(|value| value.contains(VALUE))
}

/// How often a value is decoded, as it may have been encoded more than once.
const DECODED: usize = 3;

/// Letters and digits, in lower case: `One-Click`, `"one click"`, `One%252DClick`.
fn plain(value: &str) -> String {
    let mut value = Cow::Borrowed(value);
    for _ in 0..DECODED {
        match decoded(&value).filter(|decoded| *decoded != value) {
            Some(decoded) => value = decoded.into_owned().into(),
            None => break,
        }
    }
    let letters = value.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

fn is_key(name: &str) -> bool {
    name.trim().trim_matches('"').eq_ignore_ascii_case(KEY)
}

/// As a form; the `=` may be encoded, or a colon as in a header. Also one pair per line, as in
/// `text/plain`. Lines may be broken as in quoted-printable.
fn form(body: &str) -> Vec<String> {
    let body = body.replace("=\r\n", "").replace("=\n", "");
    let mut values = Vec::new();
    for (name, value) in body.lines().flat_map(|line| form_urlencoded::parse(line.as_bytes())) {
        if is_key(&name) {
            values.push(value.into_owned());
        } else if let Some((name, value)) = name.split_once(['=', ':']).filter(|_| value.is_empty())
            && is_key(name)
        {
            values.push(value.to_owned());
        }
    }
    values
}

/// As JSON: an object, or an array of objects.
fn json(body: &str) -> Vec<String> {
    let Ok(read) = serde_json::from_str(body) else {
        return Vec::new();
    };
    let objects = match read {
        serde_json::Value::Array(all) => all,
        one => vec![one],
    };
    let pairs = objects.iter().filter_map(serde_json::Value::as_object).flatten();
    pairs
        .filter(|(name, _)| is_key(name))
        .flat_map(|(_, value)| leaves(value))
        .collect()
}

/// The scalars in a value, `null` aside. serde_json bounds the depth.
fn leaves(value: &serde_json::Value) -> Vec<String> {
    use serde_json::Value;
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.clone()],
        Value::Array(all) => all.iter().flat_map(leaves).collect(),
        Value::Object(all) => all.values().flat_map(leaves).collect(),
        Value::Bool(_) | Value::Number(_) => vec![value.to_string()],
    }
}

/// As multipart/form-data (RFC 7578): lines may end in a bare LF, the end may be missing. The boundary is
/// taken from the first line.
fn multipart(body: &str) -> Vec<String> {
    let mut lines = body.lines();
    let boundary = lines.find(|line| line.starts_with("--")).unwrap_or("--").trim_end();
    let mut values = Vec::new();
    let mut rest: Vec<&str> = lines.collect();
    while !rest.is_empty() {
        let end = rest
            .iter()
            .position(|line| line.starts_with(boundary))
            .unwrap_or(rest.len());
        let next = rest.split_off(end);
        values.extend(part(&rest));
        rest = next.into_iter().skip(1).collect();
    }
    values
}

/// The value of one part. `None` if it is another field's.
fn part(lines: &[&str]) -> Option<String> {
    let end = lines.iter().position(|line| line.trim().is_empty())?;
    let (head, value) = lines.split_at_checked(end)?;
    let value = value.get(1..).unwrap_or_default();
    // A line that begins with a blank continues the one before.
    let head = head.join("\n").replace("\n ", " ").replace("\n\t", " ");
    let field = |name: &str| {
        let fields = head.lines().filter_map(|line| line.split_once(':'));
        let mut found = fields.filter(|(n, _)| n.trim().eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.trim())
    };
    let parameters = field("content-disposition")?.split(';').skip(1);
    let mut names = parameters
        .filter_map(|p| p.split_once('='))
        .filter(|(n, _)| n.trim().eq_ignore_ascii_case("name"));
    if !names.any(|(_, name)| is_key(name)) {
        return None;
    }
    let coding = field("content-transfer-encoding").unwrap_or_default();
    Some(if coding.eq_ignore_ascii_case("base64") {
        let bytes = STANDARD.decode(value.concat().trim()).ok()?;
        String::from_utf8(bytes).ok()?
    } else if coding.eq_ignore_ascii_case("quoted-printable") {
        unquoted(&value.join("\n")).into_owned()
    } else {
        value.join("\n")
    })
}

/// RFC 2045 §6.7.
fn unquoted(text: &str) -> Cow<'_, str> {
    if !text.contains('=') {
        return text.into();
    }
    let text = text.replace("=\n", "");
    // The same escapes as in URLs, with `=` for `%`.
    let escaped = text.replace('%', "%25").replace('=', "%");
    let read = form_urlencoded::parse(escaped.as_bytes())
        .next()
        .map(|(name, _)| name.into_owned());
    read.unwrap_or(text).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn otherwise(kind: &str, body: &[u8]) -> bool {
        let mut headers = HeaderMap::new();
        if !kind.is_empty() {
            headers.insert(CONTENT_TYPE, kind.parse().unwrap());
        }
        says_otherwise(&headers, body)
    }

    const FORM: &str = "application/x-www-form-urlencoded";
    const MULTIPART: &str = "multipart/form-data; boundary=x";

    fn multipart_body(name: &str, value: &str, end: &str) -> String {
        format!("--x{end}Content-Disposition: form-data; {name}{end}{end}{value}{end}--x--{end}")
    }

    #[test]
    fn every_post_unsubscribes() {
        for (kind, body) in [
            (FORM, "List-Unsubscribe=One-Click"),
            (
                "application/x-www-form-urlencoded; charset=utf-8",
                "a=b&List-Unsubscribe=One-Click\r\n",
            ),
            (FORM, "List%2DUnsubscribe=One%2DClick"),
            (FORM, "List-Unsubscribe%3DOne-Click"),
            (FORM, "list-unsubscribe=one-click"),
            (FORM, "List-Unsubscribe=%22One-Click%22"),
            (FORM, "List-Unsubscribe="),
            (FORM, "List-Unsubscribe=No&List-Unsubscribe=One-Click"),
            (FORM, "\u{feff}List-Unsubscribe=One-Click"),
            (FORM, "a=b"),
            (FORM, ""),
            ("", ""),
            ("", "List-Unsubscribe=One-Click"),
            ("text/plain", "List-Unsubscribe=One-Click\r\n"),
            ("text/plain", "List-Unsubscribe: One-Click"),
            ("text/plain", "hello"),
            ("application/json", r#"{"List-Unsubscribe":"One-Click"}"#),
            ("", r#"{"List-Unsubscribe":"One-Click"}"#),
            ("application/json", "{"),
            (FORM, "List-Unsubscribe=One-Click;a=b"),
            (FORM, "List-Unsubscribe=One-Click, foo"),
            (FORM, "List-Unsubscribe=3DOne-Click"),
            (FORM, "List-Unsubscribe=One-=\r\nClick"),
            (FORM, "List-Unsubscribe=List-Unsubscribe%3DOne-Click"),
            (FORM, "List-Unsubscribe=One%252DClick"),
            (FORM, "List-Unsubscribe=One%25252DClick"),
            (FORM, "List-Unsubscribe=One-Click%00"),
            ("application/json", r#"{"List-Unsubscribe":{"value":"One-Click"}}"#),
            ("application/json", r#"{"List-Unsubscribe":["a",{"b":["One-Click"]}]}"#),
            ("application/json", r#"{"List-Unsubscribe":null}"#),
            ("application/json", r#"{"List-Unsubscribe":{}}"#),
            (MULTIPART, "List-Unsubscribe=One-Click"),
            (MULTIPART, ""),
            (MULTIPART, "--x\r\n"),
            (
                "multipart/form-data",
                "--y\r\ncontent-disposition:form-data;NAME=List-Unsubscribe\n\nOne-Click",
            ),
            (
                MULTIPART,
                "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nNo\r\n--x\r\nContent-Disposition: form-data;\r\n name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--\r\n",
            ),
            (
                MULTIPART,
                "--x\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nT25lLUNsaWNr\r\n--x--\r\n",
            ),
            (
                MULTIPART,
                "--x\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne=2DCl=\r\nick\r\n--x--\r\n",
            ),
        ] {
            assert!(!otherwise(kind, body.as_bytes()), "{kind}: {body}");
        }
        for name in [
            "name=List-Unsubscribe",
            "name=\"List-Unsubscribe\"",
            "Name=\"list-unsubscribe\"",
            "filename=\"\"; NAME = List-Unsubscribe",
        ] {
            for (value, says) in [("One-Click", false), ("one-click", false), ("No", true)] {
                for end in ["\r\n", "\n"] {
                    let body = multipart_body(name, value, end);
                    assert_eq!(otherwise(MULTIPART, body.as_bytes()), says, "{body}");
                }
            }
        }
        assert!(!otherwise(FORM, b"List-Unsubscribe=No\xff"), "unreadable");
    }

    #[test]
    fn another_value_does_not_unsubscribe() {
        for (kind, body) in [
            (FORM, "List-Unsubscribe=No"),
            (FORM, "List%2DUnsubscribe=No"),
            (FORM, "List-Unsubscribe%3DNo"),
            ("", "List-Unsubscribe=Two-Clicks"),
            ("text/plain", "List-Unsubscribe: no"),
            ("application/json", r#"{"list-unsubscribe":"No"}"#),
            ("application/json", r#"{"List-Unsubscribe":false}"#),
            ("application/json", r#"{"List-Unsubscribe":{"value":"No"}}"#),
            (FORM, "List-Unsubscribe=No;a=b"),
            (FORM, "List-Unsubscribe=%254E%256F"),
            ("", r#"[{"List-Unsubscribe":"No"}]"#),
        ] {
            assert!(otherwise(kind, body.as_bytes()), "{kind}: {body}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_read_without_a_panic(kind in "(multipart/form-data|application/json|)", body in "(--x\\r?\\n)?(\\PC|[\\r\\n=&:;\"]){0,120}") {
            let _ = otherwise(&kind, body.as_bytes());
        }
    }
}
