//! The platform's name and looks on the pages.

use linkseal_config::pages::{Logo, Pages};

use super::asset::Asset;
use super::colour;

/// What the pages are called and look like.
#[derive(Debug)]
pub(crate) struct Brand {
    /// The platform's name.
    pub(crate) name: String,
    /// Where its customers find help: a URL. `None`: nowhere.
    pub(crate) support: Option<String>,
    /// Its logo. `None`: the name alone.
    pub(crate) logo: Option<Asset>,
    /// Its colours, as custom properties: `--accent` (behind `--on-accent`) and `--accent-text` (on
    /// the page's ground), for light and dark. Linked before the pages' own style sheet.
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
