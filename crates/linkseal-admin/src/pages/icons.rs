//! Icons. The text beside them says the same, so they are hidden from screen readers.

use maud::{Markup, html};

fn icon(paths: &[&str]) -> Markup {
    html! {
        svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round"
            stroke-linejoin="round" aria-hidden="true" {
            @for path in paths { path d=(path) {} }
        }
    }
}

/// A centred circle of radius 9.
const CIRCLE: &str = "M12 3a9 9 0 1 1 0 18a9 9 0 1 1 0-18";

pub(super) fn check() -> Markup {
    icon(&["M5 12.5l4.5 4.5L19 7.5"])
}

pub(super) fn clock() -> Markup {
    icon(&[CIRCLE, "M12 7v5l3.5 2"])
}

pub(super) fn question() -> Markup {
    icon(&["M8.5 8.5a3.5 3.5 0 1 1 5 3.2c-1 .6-1.5 1.2-1.5 2.8", "M12 19v.01"])
}

pub(super) fn exclaim() -> Markup {
    icon(&["M12 4v10", "M12 19v.01"])
}

pub(super) fn cross() -> Markup {
    icon(&["M6 6l12 12", "M18 6L6 18"])
}

pub(super) fn circle() -> Markup {
    icon(&[CIRCLE])
}

/// In progress; it turns unless the visitor prefers reduced motion.
pub(super) fn spinner() -> Markup {
    html! {
        svg.turning viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2.6" stroke-linecap="round"
            aria-hidden="true" {
            path d="M12 3a9 9 0 1 1-9 9" {}
        }
    }
}

/// linkseal's logo.
pub(super) fn seal() -> Markup {
    icon(&[
        "M12 2.5l2.6 1.9 3.2-.1 1 3.1 2.6 1.9-1 3 1 3.1-2.6 1.9-1 3-3.2-.1L12 22l-2.6-1.8-3.2.1-1-3-2.6-1.9 1-3.1-1-3 2.6-1.9 1-3.1 3.2.1z",
        "M8.5 12.3l2.4 2.4 4.6-5",
    ])
}
