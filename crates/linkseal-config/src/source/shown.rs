//! Values as errors show them. Errors go to the log and to terminals, which more people can read than the
//! configuration.

/// Stands for what is left out.
const LEFT_OUT: &str = "…";
/// An address, which is not a secret, although it has the form of one.
const ADDRESS: &str = "mailto:";

/// A value without the password of a URL and without its query, which may contain a key. Such a value is
/// refused, so it need not be a valid URL: everything before its last `@` may be the password.
pub(super) fn value(value: &str) -> String {
    let Some((start, _)) = value.split_once("//") else {
        return match value.split_once(':') {
            Some((start, rest)) if !value.starts_with(ADDRESS) => format!("{start}:{}", without_user(rest)),
            _ => value.to_owned(),
        };
    };
    let shown = message(value);
    match shown.split_once('?') {
        Some((url, _)) if start.ends_with(':') => format!("{url}?{LEFT_OUT}"),
        _ => shown,
    }
}

/// A message that may contain a value, without the password of a URL.
pub(super) fn message(message: &str) -> String {
    match message.split_once("//") {
        Some((start, rest)) => format!("{start}//{}", without_user(rest)),
        None => message.to_owned(),
    }
}

fn without_user(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, host)) => format!("{LEFT_OUT}@{host}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_queries_are_left_out() {
        for (written, shown) in [
            ("http://svc:SECRET@h:1/p", "http://…@h:1/p"),
            ("http://svc:S/E?C#R@ET@h", "http://…@h"),
            ("http://SECRET@h", "http://…@h"),
            ("https://h/hook?key=SECRET", "https://h/hook?…"),
            ("http:/svc:SECRET@h", "http:…@h"),
            ("svc:SECRET@h", "svc:…@h"),
            ("mailto:ops@h.", "mailto:ops@h."),
            ("[::]:80", "[::]:80"),
            ("ftp://x", "ftp://x"),
            ("/a//b?c", "/a//b?c"),
            ("", ""),
        ] {
            assert_eq!(value(written), shown);
        }
        assert_eq!(message("`http://a:SECRET@h`: no: why?"), "`http://…@h`: no: why?");
    }
}
