//! The platform's name, logo and colours on the pages.

use linkseal_config::pages::{Logo, Pages};

use super::asset::Asset;
use super::colour;

#[derive(Debug)]
pub(crate) struct Brand {
    pub(crate) name: String,
    /// The URL where customers find help.
    pub(crate) support: Option<String>,
    pub(crate) logo: Option<Asset>,
    /// A style sheet with the colours as custom properties: `--accent` (behind `--on-accent`) and
    /// `--accent-text` (on the page's background), for light and dark. Linked before the pages' own.
    pub(crate) colours: Asset,
}

impl Brand {
    pub(crate) fn new(pages: &Pages, logo: Option<&Logo>) -> Self {
        let light = colours(pages.accent.0, colour::LIGHT_GROUND);
        let dark = colours(pages.accent_dark.unwrap_or(pages.accent).0, colour::DARK_GROUND);
        let sheet = format!(":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n");
        Self {
            name: pages.name.to_string(),
            support: pages.support.as_ref().map(ToString::to_string),
            logo: logo.map(|logo| Asset::new("logo", logo.extension, logo.bytes.clone())),
            colours: Asset::new("brand", "css", sheet),
        }
    }

    pub(super) fn assets(&self) -> impl Iterator<Item = &Asset> {
        self.logo.iter().chain([&self.colours])
    }
}

fn colours(accent: [u8; 3], ground: [u8; 3]) -> String {
    let hex = |rgb: [u8; 3]| format!("#{}", hex::encode(rgb));
    let (on, text) = (colour::on(accent), colour::readable(accent, ground));
    format!(
        "--accent:{};--on-accent:{};--accent-text:{}",
        hex(accent),
        hex(on),
        hex(text)
    )
}
