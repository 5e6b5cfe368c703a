//! Which domains to list, and the range of names of a query, which is the same in every store.

use linkseal_domain::DomainName;
use linkseal_domain::ssl::{Reason, State};

/// Sorts before every character that a name can hold: `name!` is right after `name`.
const BEFORE_ALL: char = '!';
/// Sorts after every character that a name can hold.
const AFTER_ALL: &str = "~";

/// Which domains to list.
#[derive(Clone, Debug, Default)]
pub struct DomainQuery {
    /// Only in this state.
    pub state: Option<State>,
    /// Only for this reason.
    pub reason: Option<Reason>,
    /// Only of this tenant.
    pub tenant: Option<String>,
    /// Only names that start with this, in any case.
    pub prefix: Option<String>,
    /// Only names after this one.
    pub after: Option<DomainName>,
    /// The page size.
    pub limit: usize,
}

impl DomainQuery {
    /// The names asked for as one range of an index: not less than the first, less than the
    /// second. `after`: only names after this one. `None`: no name can match.
    pub(super) fn range(&self, after: Option<&str>) -> Option<(String, String)> {
        let prefix = self.prefix.as_deref().unwrap_or_default().to_ascii_lowercase();
        if !prefix
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        {
            return None;
        }
        let mut end = prefix.clone();
        match end.pop() {
            // The next character in ASCII: what starts with the prefix sorts before it.
            Some(last) => end.push(char::from_u32(last as u32 + 1)?),
            None => end.push_str(AFTER_ALL),
        }
        let after = after.map(|name| format!("{name}{BEFORE_ALL}")).unwrap_or_default();
        Some((prefix.max(after), end))
    }

    /// The reasons asked for. `None`: any. Empty: state and reason exclude each other.
    pub(super) fn reasons(&self) -> Option<Vec<Reason>> {
        match (self.state, self.reason) {
            (None, None) => None,
            (state, Some(reason)) => Some(
                state
                    .is_none_or(|s| s == reason.state())
                    .then_some(reason)
                    .into_iter()
                    .collect(),
            ),
            (Some(state), None) => Some(Reason::ALL.iter().copied().filter(|r| r.state() == state).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(prefix: Option<&str>, after: Option<&str>) -> Option<(String, String)> {
        let query = DomainQuery {
            prefix: prefix.map(str::to_owned),
            ..DomainQuery::default()
        };
        query.range(after)
    }

    #[test]
    fn a_range_holds_the_prefix_and_nothing_else() {
        let own = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(range(None, None), own("", "~"));
        assert_eq!(range(Some("Links."), None), own("links.", "links/"));
        assert_eq!(range(Some("z"), None), own("z", "{"));
        assert_eq!(range(Some("a"), Some("ab.example")), own("ab.example!", "b"));
        assert_eq!(range(Some("b"), Some("a.example")), own("b", "c"));
        assert_eq!(range(Some("ü"), None), None);
        assert_eq!(range(Some("a%"), None), None);
    }

    #[test]
    fn a_state_is_its_reasons() {
        let of = |state, reason| {
            DomainQuery {
                state,
                reason,
                ..DomainQuery::default()
            }
            .reasons()
        };
        assert_eq!(of(None, None), None);
        assert_eq!(of(Some(State::Issued), Some(Reason::Ok)), Some(vec![Reason::Ok]));
        assert_eq!(of(Some(State::Pending), Some(Reason::Ok)), Some(vec![]));
        assert!(of(Some(State::Pending), None).unwrap().contains(&Reason::Queued));
    }
}
