//! The DNS queries of one check: each question is asked once, and all share one deadline.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::lookup::{Answer, Kind, Lookup, LookupError, normal};

type Known = Mutex<HashMap<(String, Kind), Result<Answer, LookupError>>>;

/// The answers of one check so far.
#[derive(Default)]
pub(crate) struct QueryMemo {
    resolvers: Known,
    authority: Known,
}

/// Asks the questions of one check.
#[derive(Clone, Copy)]
pub(crate) struct Queries<'a> {
    lookup: &'a dyn Lookup,
    memo: &'a QueryMemo,
    deadline: Instant,
    fresh: bool,
}

impl<'a> Queries<'a> {
    pub(crate) fn new(lookup: &'a dyn Lookup, memo: &'a QueryMemo, deadline: Instant) -> Self {
        Self {
            lookup,
            memo,
            deadline,
            fresh: false,
        }
    }

    /// The same check, but authoritative servers are asked first, and the resolvers only if those
    /// cannot be reached.
    pub(crate) fn fresh(&self) -> Self {
        Self { fresh: true, ..*self }
    }

    /// Answers a question; [`LookupError::Timeout`] once the check's deadline has passed.
    pub(crate) async fn get(&self, name: &str, kind: Kind) -> Result<Answer, LookupError> {
        let key = (normal(name), kind);
        if self.fresh
            && let Some(answer) = self.authoritative(&key).await
        {
            return answer;
        }
        if let Some(known) = get(&self.memo.resolvers, &key) {
            return known;
        }
        let asked = timeout_at(self.deadline, self.lookup.lookup(&key.0, kind)).await;
        let answer = asked.unwrap_or(Err(LookupError::Timeout));
        put(&self.memo.resolvers, key, answer.clone());
        answer
    }

    async fn authoritative(&self, key: &(String, Kind)) -> Option<Result<Answer, LookupError>> {
        if let Some(known) = get(&self.memo.authority, key) {
            return Some(known);
        }
        let answer = timeout_at(self.deadline, self.lookup.authoritative(&key.0, key.1))
            .await
            .ok()
            .flatten()?;
        put(&self.memo.authority, key.clone(), answer.clone());
        Some(answer)
    }
}

fn get(known: &Known, key: &(String, Kind)) -> Option<Result<Answer, LookupError>> {
    known.lock().get(key).cloned()
}

fn put(known: &Known, key: (String, Kind), answer: Result<Answer, LookupError>) {
    known.lock().insert(key, answer);
}
