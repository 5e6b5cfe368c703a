//! URLs and paths.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;

use super::{InvalidValue, text_value, written_as_text};

/// An absolute http or https URL without user information.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    text: String,
    uri: Uri,
}

impl HttpUrl {
    /// The URL as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    pub fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Whether its host is `localhost` or a loopback address.
    pub fn is_loopback(&self) -> bool {
        let host = self.uri.host().unwrap_or_default();
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || host.ends_with(".localhost") || ip.is_ok_and(|ip| ip.is_loopback())
    }
}

impl FromStr for HttpUrl {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let uri: Uri = text.parse().map_err(|_| InvalidValue)?;
        let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        let host = uri
            .authority()
            .is_some_and(|a| !a.host().is_empty() && !a.as_str().contains('@'));
        if scheme && host {
            Ok(Self {
                text: text.to_owned(),
                uri,
            })
        } else {
            Err(InvalidValue)
        }
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

written_as_text!(
    HttpUrl,
    "an http or https URL with a host and without user:password@",
    "https://platform.example/path"
);

/// The path before `/o/`, `/c/`, `/r/`, `/u/` in links: empty, or `/` and more without a trailing slash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkPrefix(String);

impl FromStr for LinkPrefix {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let fine = text.is_empty() || (is_path(text) && !text.ends_with('/') && !text.starts_with("/.well-known"));
        if fine {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue)
        }
    }
}

text_value!(
    LinkPrefix,
    "empty, or a path such as \"/e\" that starts with / and has none at its end (not below /.well-known)",
    "/e"
);

/// The start of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPrefix(String);

impl FromStr for PathPrefix {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if is_path(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue)
        }
    }
}

text_value!(
    PathPrefix,
    "a path such as \"/track/\" that starts with / and has no ? or #",
    "/track/"
);

/// A path without doubled slashes or dot segments, in visible ASCII, without query or fragment.
fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#')
        && !text.contains("//")
        && !text.split('/').any(|s| s == "." || s == "..")
}
