//! Small drawings. They repeat what words beside them say, so they are hidden from screen readers.

use maud::{Markup, html};

fn drawn(paths: &[&str]) -> Markup {
    html! {
        svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round"
            stroke-linejoin="round" aria-hidden="true" {
            @for path in paths { path d=(path) {} }
        }
    }
}

/// A circle of radius 9 in the middle.
const CIRCLE: &str = "M12 3a9 9 0 1 1 0 18a9 9 0 1 1 0-18";

/// Done, right.
pub(super) fn check() -> Markup {
    drawn(&["M5 12.5l4.5 4.5L19 7.5"])
}

/// Waits.
pub(super) fn clock() -> Markup {
    drawn(&[CIRCLE, "M12 7v5l3.5 2"])
}

/// Not known.
pub(super) fn question() -> Markup {
    drawn(&["M8.5 8.5a3.5 3.5 0 1 1 5 3.2c-1 .6-1.5 1.2-1.5 2.8", "M12 19v.01"])
}

/// To be looked at.
pub(super) fn exclaim() -> Markup {
    drawn(&["M12 4v10", "M12 19v.01"])
}

/// Wrong.
pub(super) fn cross() -> Markup {
    drawn(&["M6 6l12 12", "M18 6L6 18"])
}

/// Still to come.
pub(super) fn circle() -> Markup {
    drawn(&[CIRCLE])
}

/// Going on; it turns where the visitor likes motion.
pub(super) fn turning() -> Markup {
    html! {
        svg.turning viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2.6" stroke-linecap="round"
            aria-hidden="true" {
            path d="M12 3a9 9 0 1 1-9 9" {}
        }
    }
}

/// linkseal's mark: a link under a seal.
pub(super) fn seal() -> Markup {
    drawn(&[
        "M12 2.5l2.6 1.9 3.2-.1 1 3.1 2.6 1.9-1 3 1 3.1-2.6 1.9-1 3-3.2-.1L12 22l-2.6-1.8-3.2.1-1-3-2.6-1.9 1-3.1-1-3 2.6-1.9 1-3.1 3.2.1z",
        "M8.5 12.3l2.4 2.4 4.6-5",
    ])
}
