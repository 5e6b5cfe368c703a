//! The pages people see, in English and German: all constant, so nothing needs escaping.

use http::HeaderMap;
use http::header::ACCEPT_LANGUAGE;
use linkseal_domain::Language;

/// A page in one language.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    /// For `Content-Language`.
    pub(super) language: &'static str,
    pub(super) html: &'static str,
}

/// The visitor's language.
pub(super) fn language(headers: &HeaderMap) -> Language {
    let accepted = headers.get(ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok());
    Language::accepted(accepted.unwrap_or_default())
}

macro_rules! document {
    ($language:literal, $title:literal, $body:literal) => {
        Page {
            language: $language,
            html: concat!(
                "<!doctype html><html lang=\"", $language, "\"><head><meta charset=\"utf-8\">",
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
                "<meta name=\"robots\" content=\"noindex, nofollow\"><title>", $title, "</title><style>",
                ":root{color-scheme:light dark}",
                "body{font:1.0625rem/1.6 system-ui,sans-serif;margin:0;min-height:100vh;display:grid;place-items:center;background:Canvas;color:CanvasText}",
                "main{max-width:28rem;padding:2rem;text-align:center}h1{font-size:1.5rem;line-height:1.25;margin:0 0 .75rem}p{margin:0 0 1.5rem}",
                "button{font:inherit;font-weight:600;padding:.75rem 1.75rem;border:0;border-radius:.5rem;background:#1d4ed8;color:#fff;cursor:pointer}",
                "button:focus-visible{outline:3px solid #93c5fd;outline-offset:2px}",
                "</style></head><body><main><h1>", $title, "</h1>", $body, "</main></body></html>\n",
            ),
        }
    };
}

/// For a link that leads nowhere.
pub(super) fn not_found(language: Language) -> Page {
    match language {
        Language::En => document!(
            "en",
            "This link does not work",
            "<p>It may have been cut off or changed on its way to you. Please open it again from the original message.</p>"
        ),
        Language::De => document!(
            "de",
            "Dieser Link funktioniert nicht",
            "<p>Möglicherweise wurde er unterwegs gekürzt oder verändert. Bitte öffnen Sie ihn noch einmal aus der ursprünglichen Nachricht.</p>"
        ),
    }
}

/// For a link that was killed. It has no links.
pub(super) fn killed(language: Language) -> Page {
    match language {
        Language::En => document!(
            "en",
            "This link has been blocked",
            "<p>It may lead to a harmful page, so it has been disabled. Do not enter passwords or other data that the message asks for, and delete the message.</p>"
        ),
        Language::De => document!(
            "de",
            "Dieser Link wurde gesperrt",
            "<p>Er führt möglicherweise zu einer schädlichen Seite und wurde deshalb abgeschaltet. Geben Sie keine Passwörter oder anderen Daten ein, nach denen die Nachricht fragt, und löschen Sie die Nachricht.</p>"
        ),
    }
}

/// For a back end that does not answer.
pub(super) fn unavailable(language: Language) -> Page {
    match language {
        Language::En => document!(
            "en",
            "This page is unavailable at the moment",
            "<p>The service behind this address is not responding. Please try again in a few minutes.</p>"
        ),
        Language::De => document!(
            "de",
            "Diese Seite ist zurzeit nicht erreichbar",
            "<p>Der Dienst hinter dieser Adresse antwortet nicht. Bitte versuchen Sie es in einigen Minuten erneut.</p>"
        ),
    }
}

/// Asks before unsubscribing: programs follow links, only people press the button. The form posts what RFC
/// 8058 §3.2 specifies to the page's own URL.
pub(super) fn confirm_unsubscribe(language: Language) -> Page {
    match language {
        Language::En => document!(
            "en",
            "Unsubscribe?",
            "<p>You will no longer receive messages from this mailing list.</p><form method=\"post\"><input type=\"hidden\" name=\"List-Unsubscribe\" value=\"One-Click\"><button>Unsubscribe</button></form>"
        ),
        Language::De => document!(
            "de",
            "Abmelden?",
            "<p>Sie erhalten dann keine Nachrichten mehr aus diesem Verteiler.</p><form method=\"post\"><input type=\"hidden\" name=\"List-Unsubscribe\" value=\"One-Click\"><button>Abmelden</button></form>"
        ),
    }
}

/// After unsubscribing.
pub(super) fn unsubscribed(language: Language) -> Page {
    match language {
        Language::En => {
            document!(
                "en",
                "You have been unsubscribed",
                "<p>You will no longer receive messages from this mailing list. You can close this page.</p>"
            )
        }
        Language::De => {
            document!(
                "de",
                "Sie sind abgemeldet",
                "<p>Sie erhalten keine Nachrichten mehr aus diesem Verteiler. Sie können diese Seite schließen.</p>"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_load_nothing_and_run_nothing() {
        for page in Language::ALL.into_iter().flat_map(|l| {
            [
                not_found(l),
                killed(l),
                unavailable(l),
                confirm_unsubscribe(l),
                unsubscribed(l),
            ]
        }) {
            assert!(page.html.contains(&format!("lang=\"{}\"", page.language)));
            assert!(page.html.contains("noindex"));
            for not in ["<script", "<a ", "http:", "https:", " src=", "@import"] {
                assert!(!page.html.contains(not), "{not} in {}", page.html);
            }
        }
    }
}
