//! Guesses what happened to a token in transit.

use crate::token::MAX_TOKEN_TEXT;

/// What probably happened to a token in transit, as the end of a sentence; empty if unknown.
pub(super) fn damage(token: &str) -> &'static str {
    let letters = || token.chars().filter(char::is_ascii_alphabetic);
    if token.chars().any(char::is_whitespace) {
        "; it contains spaces or line breaks"
    } else if token.ends_with('=') || token.contains("=3D") || token.contains("%3D") {
        "; an equals sign was added, as quoted-printable or base64 padding do"
    } else if token.contains(['+', '%']) {
        "; it was re-encoded in transit"
    } else if token.ends_with(['.', ',', ')', ';']) {
        "; the punctuation after the link is not part of it"
    } else if token.len() > MAX_TOKEN_TEXT {
        "; it is longer than any token"
    } else if letters().count() > 20
        && (letters().all(|c| c.is_ascii_lowercase()) || letters().all(|c| c.is_ascii_uppercase()))
    {
        "; all its letters have one case: something in transit changed them"
    } else {
        ""
    }
}
