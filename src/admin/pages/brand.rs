//! The platform's name and looks on the pages.

use super::assets::Asset;

/// What the pages are called and look like.
#[derive(Debug)]
pub(in crate::admin) struct Brand {
    /// The platform's name.
    pub(in crate::admin) name: String,
    /// Where its customers find help: a URL. `None`: nowhere.
    pub(in crate::admin) support: Option<String>,
    /// Its logo. `None`: the name alone.
    pub(in crate::admin) logo: Option<Asset>,
    /// Its colours, as custom properties: `--accent` (behind `--on-accent`) and `--accent-text` (on
    /// the page's ground), for light and dark. Linked before the pages' own style sheet.
    pub(in crate::admin) colours: Asset,
}

impl Brand {
    pub(super) fn assets(&self) -> impl Iterator<Item = &Asset> {
        self.logo.iter().chain([&self.colours])
    }
}

impl Default for Brand {
    fn default() -> Self {
        let colours = ":root{--accent:#1d4ed8;--on-accent:#ffffff;--accent-text:#1d4ed8}\n\
                       @media (prefers-color-scheme:dark){:root{--accent:#1d4ed8;--on-accent:#ffffff;--accent-text:#93b4ff}}\n";
        Self {
            name: "linkseal".to_owned(),
            support: None,
            logo: None,
            colours: Asset::new("brand", "css", colours),
        }
    }
}
