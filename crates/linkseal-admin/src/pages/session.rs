//! Sessions: a signed cookie that says since when and with which token a visitor is signed in. Rights
//! are looked up by that token on every request, so a changed role or a removed token takes effect at
//! once. Sessions are not stored, so every node of a fleet accepts them, and they take no memory. Only
//! those that ended early are remembered, on the node that ended them.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use linkseal_base::clock::Timestamp;
use linkseal_base::random;
use parking_lot::Mutex;

use crate::access::{Access, Token};
use crate::tokens::signing::{PagesKey, Signer};

/// How long a session lasts.
pub(super) const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// How long a session may be unused.
const IDLE: Duration = Duration::from_secs(3600);
/// How old the time of the last request in the cookie may get before it is rewritten.
const REFRESH: Duration = Duration::from_secs(60);
/// Ended sessions that are remembered, each for at most [`LIFETIME`].
const MAX_ENDED: usize = 10_000;

const ID_LEN: usize = 16;
const MARK_LEN: usize = 16;

/// Creates and verifies sessions.
pub(super) struct Sessions {
    cookies: Signer,
    forms: Signer,
    marks: Signer,
    /// With the time until which each would have lasted.
    ended: Mutex<HashMap<[u8; ID_LEN], Timestamp>>,
}

/// A session. Visitors who are not signed in have one, too: it protects their forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    id: [u8; ID_LEN],
    started: Timestamp,
    seen: Timestamp,
    /// The token of the visitor who is signed in.
    by: Option<By>,
}

/// Response extension: the visitor's session ends, or is replaced.
#[derive(Clone)]
pub(super) enum SessionChange {
    Begin(Session),
    End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct By {
    name: String,
    /// Derived from the token's digest, so that a new token of the same name does not continue it.
    mark: [u8; MARK_LEN],
}

impl Sessions {
    pub(super) fn new(key: &PagesKey) -> Self {
        Self {
            cookies: key.signer("sessions"),
            forms: key.signer("forms"),
            marks: key.signer("marks"),
            ended: Mutex::default(),
        }
    }

    /// A new session with a new id. `by`: the token of a visitor who signs in.
    pub(super) fn begin(&self, by: Option<&Token>, now: Timestamp) -> Session {
        Session {
            id: random::bytes(),
            started: now,
            seen: now,
            by: by.map(|token| By {
                name: token.name().to_owned(),
                mark: self.mark(token),
            }),
        }
    }

    /// The session in a cookie; `None` if it is forged or over, or its token was removed.
    pub(super) fn read(&self, cookie: &str, access: &Access, now: Timestamp) -> Option<Session> {
        let session = Session::from_bytes(&self.cookies.unwrap(cookie)?)?;
        let lives = now < session.started + LIFETIME && now < session.seen + IDLE && session.started <= now + REFRESH;
        if !lives || self.has_ended(&session.id) {
            return None;
        }
        (session.by.is_none() || self.token(&session, access).is_some()).then_some(session)
    }

    /// The token of a session, if its visitor is signed in.
    pub(super) fn token<'a>(&self, session: &Session, access: &'a Access) -> Option<&'a Token> {
        let by = session.by.as_ref()?;
        let token = access.named(&by.name)?;
        verify_slices_are_equal(&self.mark(token), &by.mark).ok()?;
        Some(token)
    }

    /// The new cookie, when it is time to rewrite it.
    pub(super) fn refreshed(&self, session: &Session, now: Timestamp) -> Option<String> {
        if now < session.seen + REFRESH {
            return None;
        }
        let mut session = session.clone();
        session.seen = now;
        Some(self.cookie(&session))
    }

    pub(super) fn cookie(&self, session: &Session) -> String {
        self.cookies.wrap(session.to_bytes())
    }

    /// Ends a session: this node no longer accepts its cookie.
    pub(super) fn end(&self, session: &Session, now: Timestamp) {
        let mut ended = self.ended.lock();
        if ended.len() >= MAX_ENDED {
            ended.retain(|_, until| *until > now);
            // All are recent: drop the one that would expire first.
            if ended.len() >= MAX_ENDED
                && let Some(first) = ended.iter().min_by_key(|(_, until)| **until).map(|(id, _)| *id)
            {
                ended.remove(&first);
            }
        }
        ended.insert(session.id, session.started + LIFETIME);
    }

    fn has_ended(&self, id: &[u8; ID_LEN]) -> bool {
        let ended = self.ended.lock();
        ended.contains_key(id)
    }

    /// The form token of a session.
    pub(super) fn form_token(&self, session: &Session) -> String {
        self.forms.text(&session.id)
    }

    pub(super) fn is_form_token(&self, text: &str, session: &Session) -> bool {
        self.forms.is_text_of(text, &session.id)
    }

    fn mark(&self, token: &Token) -> [u8; MARK_LEN] {
        let mut mark = [0; MARK_LEN];
        for (to, from) in mark.iter_mut().zip(self.marks.sign(token.digest()).as_ref()) {
            *to = *from;
        }
        mark
    }
}

impl Session {
    /// `id || started || seen || mark || name`; the last two only for a signed-in visitor.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.id.to_vec();
        bytes.extend_from_slice(&self.started.as_millis().to_be_bytes());
        bytes.extend_from_slice(&self.seen.as_millis().to_be_bytes());
        if let Some(by) = &self.by {
            bytes.extend_from_slice(&by.mark);
            bytes.extend_from_slice(by.name.as_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (started, rest) = rest.split_first_chunk()?;
        let (seen, rest) = rest.split_first_chunk()?;
        let by = if rest.is_empty() {
            None
        } else {
            let (mark, name) = rest.split_first_chunk()?;
            let name = str::from_utf8(name).ok()?.to_owned();
            Some(By { name, mark: *mark })
        };
        Some(Self {
            id: *id,
            started: Timestamp::from_millis(i64::from_be_bytes(*started)),
            seen: Timestamp::from_millis(i64::from_be_bytes(*seen)),
            by,
        })
    }
}

#[cfg(test)]
mod tests {
    use linkseal_config::AdminToken;
    use linkseal_config::admin::Role;

    use super::*;
    use crate::tokens::signing::test_key;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn access(token: &str) -> Access {
        Access::new(&[AdminToken {
            name: "ops".to_owned(),
            role: Role::Admin,
            tenant: None,
            token: token.into(),
        }])
    }

    fn signed_in(sessions: &Sessions, access: &Access) -> Session {
        sessions.begin(access.named("ops"), NOW)
    }

    #[test]
    fn a_session_lasts_while_it_is_used_up_to_its_lifetime() {
        let (sessions, access) = (Sessions::new(&test_key(1)), access("token-0123456789"));
        let session = signed_in(&sessions, &access);
        let cookie = sessions.cookie(&session);
        assert_eq!(sessions.read(&cookie, &access, NOW), Some(session.clone()));
        assert_eq!(sessions.read(&cookie, &access, NOW + IDLE), None);
        assert_eq!(sessions.refreshed(&session, NOW + Duration::from_secs(59)), None);
        // Used every half hour, it ends at its lifetime.
        let (mut cookie, mut now) = (cookie, NOW);
        while let Some(session) = sessions.read(&cookie, &access, now) {
            cookie = sessions.refreshed(&session, now).unwrap_or(cookie);
            now = now + IDLE / 2;
        }
        assert_eq!(now, NOW + LIFETIME);
    }

    #[test]
    fn it_ends_with_its_token_or_by_sign_out() {
        let (sessions, old) = (Sessions::new(&test_key(1)), access("token-0123456789"));
        let session = signed_in(&sessions, &old);
        let cookie = sessions.cookie(&session);
        assert_eq!(sessions.read(&cookie, &access("another-0123456789"), NOW), None);
        assert_eq!(sessions.read(&cookie, &Access::new(&[]), NOW), None);
        assert!(sessions.read(&cookie, &old, NOW).is_some());
        sessions.end(&session, NOW);
        assert_eq!(sessions.read(&cookie, &old, NOW), None);
    }

    #[test]
    fn another_key_accepts_no_session() {
        let access = access("token-0123456789");
        let session = signed_in(&Sessions::new(&test_key(1)), &access);
        let cookie = Sessions::new(&test_key(1)).cookie(&session);
        // Any node with the key accepts it.
        assert!(Sessions::new(&test_key(1)).read(&cookie, &access, NOW).is_some());
        assert!(Sessions::new(&test_key(2)).read(&cookie, &access, NOW).is_none());
    }

    #[test]
    fn remembered_ended_sessions_are_bounded() {
        let sessions = Sessions::new(&test_key(1));
        for _ in 0..MAX_ENDED + 10 {
            sessions.end(&sessions.begin(None, NOW), NOW);
        }
        assert_eq!(sessions.ended.lock().len(), MAX_ENDED);
        let last = sessions.begin(None, NOW + LIFETIME);
        sessions.end(&last, NOW + LIFETIME);
        assert_eq!(sessions.ended.lock().len(), 1);
    }
}
