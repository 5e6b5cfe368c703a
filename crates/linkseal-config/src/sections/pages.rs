//! `[pages]`: the web pages for operators and customers.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::acme::Contact;
use crate::findings::Findings;
use crate::paths::Paths;
use crate::values::{HttpUrl, InvalidValue, text_value, written_as_text};

/// The web pages for operators and customers, on the admin port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pages {
    /// The public URL of the admin port, with which share links begin. Without one, share links are paths.
    pub url: Option<Origin>,
    /// Origins that may embed a shared page in a frame.
    pub embed: Vec<Origin>,
    /// The platform's name.
    pub name: PlatformName,
    /// The accent colour of buttons and links; text contrast is adjusted to it.
    pub accent: Colour,
    /// The accent colour in dark mode. Default: accent.
    pub accent_dark: Option<Colour>,
    /// The platform's logo: an SVG, PNG, JPEG or WebP file of at most 256 KiB.
    pub logo: Option<PathBuf>,
    /// The help link on customers' pages.
    pub support: Option<SupportLink>,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            url: None,
            embed: Vec::new(),
            name: PlatformName("linkseal".to_owned()),
            accent: Colour([0x1d, 0x4e, 0xd8]),
            accent_dark: None,
            logo: None,
            support: None,
        }
    }
}

impl Pages {
    pub(crate) fn resolve(&mut self, paths: &Paths<'_>) {
        if let Some(logo) = &mut self.logo {
            paths.resolve(logo);
        }
    }

    pub(crate) fn check(&self, found: &mut Findings<'_>) {
        let open = |origin: &Origin| !origin.is_https() && !origin.1;
        if self.url.as_ref().is_some_and(open) {
            found.warn("pages.url", "share links and sessions cross the network unencrypted");
        }
        for (i, _) in self.embed.iter().enumerate().filter(|(_, o)| open(o)) {
            let key = format!("pages.embed[{i}]");
            found.warn(&key, "is plain http: anyone on the network path can embed the page");
        }
    }
}

/// Scheme, host and port of a web server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String, bool);

impl Origin {
    /// As browsers serialize it: in lower case, without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    pub fn authority(&self) -> &str {
        self.0.split_once("://").map_or("", |(_, authority)| authority)
    }
}

impl FromStr for Origin {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let url: HttpUrl = text.parse()?;
        let only_root = matches!(url.uri().path_and_query().map(|p| p.as_str()), None | Some("/"));
        let written = text.trim_end_matches('/').to_ascii_lowercase();
        // It becomes part of a header, where other characters of URLs have a meaning.
        let plain = written
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-:/[]".contains(&b));
        if only_root && plain && !text.contains('#') {
            Ok(Self(written, url.is_loopback()))
        } else {
            Err(InvalidValue)
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

written_as_text!(
    Origin,
    "scheme, host and port, such as \"https://app.platform.example\", without a path",
    "https://app.platform.example"
);

/// A colour as red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour(pub [u8; 3]);

impl FromStr for Colour {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let mut rgb = [0; 3];
        let digits = text.strip_prefix('#').ok_or(InvalidValue)?;
        hex::decode_to_slice(digits, &mut rgb).map_err(|_| InvalidValue)?;
        Ok(Self(rgb))
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", hex::encode(self.0))
    }
}

written_as_text!(Colour, "a colour such as \"#1d4ed8\"", "#1d4ed8");

/// The platform's name on pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformName(String);

/// The longest name, in characters: more does not fit on a phone.
const LONGEST_NAME: usize = 60;

impl FromStr for PlatformName {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let fits = (1..=LONGEST_NAME).contains(&text.chars().count());
        if fits && text.trim() == text && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue)
        }
    }
}

text_value!(PlatformName, "a name of 1 to 60 characters in one line", "Platform");

/// A help link: a web page or a mail address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupportLink(String);

impl FromStr for SupportLink {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if text.parse::<HttpUrl>().is_ok() || text.parse::<Contact>().is_ok() {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue)
        }
    }
}

text_value!(
    SupportLink,
    "an http, https or mailto: URL",
    "https://platform.example/help"
);

/// A logo and its format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logo {
    /// svg, png, jpg or webp, detected from the content.
    pub extension: &'static str,
    pub bytes: Vec<u8>,
}

/// The largest logo, in bytes: every visitor loads it.
const LARGEST_LOGO: u64 = 256 * 1024;

impl Logo {
    /// Reads the file and reports what is wrong with it.
    pub(crate) fn read(path: &Path, found: &mut Findings<'_>) -> Option<Self> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|f| f.take(LARGEST_LOGO + 1).read_to_end(&mut bytes));
        let wanted = "an SVG, PNG, JPEG or WebP image of at most 256 KiB";
        if let Err(error) = read {
            let message = format!("{} cannot be read ({error}); it must contain {wanted}", path.display());
            found.problem("pages.logo", message);
            return None;
        }
        let extension = kind(&bytes).filter(|_| bytes.len() as u64 <= LARGEST_LOGO);
        if extension.is_none() {
            found.problem("pages.logo", format!("{} must contain {wanted}", path.display()));
        }
        Some(Self {
            extension: extension?,
            bytes,
        })
    }
}

fn kind(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some("png");
    }
    if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
        return Some("jpg");
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Some("webp");
    }
    let text = str::from_utf8(bytes).ok()?.trim_start_matches('\u{feff}').trim_start();
    let is_svg = text.starts_with("<svg") || (text.starts_with("<?xml") && text.contains("<svg"));
    is_svg.then_some("svg")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_only_scheme_host_and_port() {
        for (text, origin) in [
            ("https://App.Platform.example", "https://app.platform.example"),
            ("https://app.platform.example/", "https://app.platform.example"),
            ("http://127.0.0.1:9180", "http://127.0.0.1:9180"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().as_str(), origin);
        }
        for bad in [
            "app.platform.example",
            "https://a.example/path",
            "https://a.example?q",
            "https://a.example#f",
            "https://a@b.example",
            "https://a.example;script-src",
            "https://a.example,b.example",
            "https://*",
            "ftp://a.example",
            "https://a.example https://b.example",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }

    #[test]
    fn colours_names_and_links_are_strict() {
        assert_eq!("#1D4ed8".parse::<Colour>().unwrap().to_string(), "#1d4ed8");
        for bad in ["1d4ed8", "#1d4ed", "#1d4ed8a", "red", "#gggggg", "#fff;}", ""] {
            assert!(bad.parse::<Colour>().is_err(), "{bad}");
        }
        assert!("Mail & Söhne".parse::<PlatformName>().is_ok());
        for bad in ["", " a", "a\nb", &"x".repeat(61)] {
            assert!(bad.parse::<PlatformName>().is_err(), "{bad}");
        }
        assert!("https://platform.example/help?x=1".parse::<SupportLink>().is_ok());
        assert!("mailto:help@platform.example".parse::<SupportLink>().is_ok());
        for bad in ["javascript:alert(1)", "platform.example", "data:text/html,x"] {
            assert!(bad.parse::<SupportLink>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_logo_is_recognized_by_its_content() {
        assert_eq!(kind(b"\x89PNG\r\n\x1a\n...."), Some("png"));
        assert_eq!(kind(b"\xff\xd8\xff\xe0"), Some("jpg"));
        assert_eq!(kind(b"RIFF....WEBPVP8 "), Some("webp"));
        assert_eq!(kind("\u{feff} <svg xmlns=''/>".as_bytes()), Some("svg"));
        assert_eq!(kind(b"<?xml version='1.0'?><svg/>"), Some("svg"));
        for bad in [b"<html><svg/>".as_slice(), b"", b"GIF89a", b"RIFF", b"\xff\xfe"] {
            assert_eq!(kind(bad), None, "{bad:?}");
        }
    }
}
