//! HTTP-01 challenges (RFC 8555 §8.3), answered without state: the account's key is enough, so every
//! node of a fleet can answer for every order.

use std::rc::Rc;

use http::{Method, StatusCode};
use linkseal_domain::ssl::Reason;

use super::exchange::Step;
use super::host::Host;
use super::metrics::Challenge;
use super::reply::{self, Reply};
use super::session::Session;
use crate::Listener;

/// Longest token: CAs send 43 characters (RFC 8555 §8.3 asks for 128 bits of entropy).
const MAX_TOKEN: usize = 128;

/// Answers a challenge; the upstream answers it where no order of ours runs for the host.
pub(super) fn answer(session: &Rc<Session>, method: &Method, token: &str, host: Option<Host<'_>>) -> Step {
    let context = &session.context;
    if !is_token(token) {
        context.metrics.challenge(Challenge::Malformed);
        return Step::Done(reply::empty(StatusCode::NOT_FOUND));
    }
    if let (Some(upstream), Some(host), Listener::Http) = (
        context.challenge_upstream.load_full(),
        host,
        session.connection.listener,
    ) && !has_order(session, host)
    {
        let (session, method) = (Rc::clone(session), method.clone());
        let (token, host) = (token.to_owned(), host.as_str().to_owned());
        return Step::Pending(Box::pin(async move {
            let client = session.connection.client.ip();
            match upstream.fetch(client, &host, &token).await {
                Ok(body) => {
                    session.context.metrics.challenge(Challenge::Upstream);
                    reply::for_method(reply::text(StatusCode::OK, body), &method)
                }
                Err(error) => {
                    // An order of ours may be so new that this node does not know it yet.
                    tracing::debug!(%host, %error, "challenge_upstream gave no answer; answering with our own key");
                    own(&session, &method, &token)
                }
            }
        }));
    }
    Step::Done(own(session, method, token))
}

fn own(session: &Session, method: &Method, token: &str) -> Reply {
    let context = &session.context;
    let Some(thumbprint) = context.thumbprint.load_full() else {
        context.metrics.challenge(Challenge::NoAccount);
        return reply::empty(StatusCode::SERVICE_UNAVAILABLE);
    };
    context.metrics.challenge(Challenge::Answered);
    reply::for_method(reply::text(StatusCode::OK, format!("{token}.{thumbprint}")), method)
}

/// base64url (RFC 8555 §8.3): nothing that has a meaning in a page or a path.
fn is_token(token: &str) -> bool {
    (1..=MAX_TOKEN).contains(&token.len())
        && token
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Whether an order of ours runs for the host, as far as this node knows.
fn has_order(session: &Session, host: Host<'_>) -> bool {
    let entry = host.lower(|name| session.context.registry.get(name)).flatten();
    entry.is_some_and(|e| matches!(e.reason, Reason::Ordering | Reason::Validating | Reason::Renewing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        for (token, is) in [
            ("abc-DEF_09", true),
            ("", false),
            ("a/b", false),
            ("a.b", false),
            ("<b>", false),
            ("a%41", false),
        ] {
            assert_eq!(is_token(token), is, "{token}");
        }
        assert!(is_token(&"a".repeat(128)) && !is_token(&"a".repeat(129)));
    }
}
