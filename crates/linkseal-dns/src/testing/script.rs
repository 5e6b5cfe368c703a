//! A scripted [`Lookup`] for unit tests: answers and failures by name and type, no sockets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code may panic")]

use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::lookup::{Answer, Data, Kind, Lookup, LookupError, Record, normal};

type Answers = Mutex<HashMap<(String, Kind), Result<Answer, LookupError>>>;

/// Names and records that are not scripted do not exist.
#[derive(Default)]
pub struct Script {
    resolvers: Answers,
    /// The answers of authoritative servers; for other questions none can be reached.
    authority: Answers,
    asked: Mutex<Vec<(String, Kind)>>,
}

/// TTL of scripted records, in seconds.
pub const TTL: u32 = 300;
/// Negative TTL, in seconds.
pub const NEGATIVE_TTL: u32 = 900;

impl Script {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(&self, name: &str, kind: Kind, value: &str) {
        self.add_at(name, name, kind, value);
    }

    /// A record found at `owner` when `name` is asked for.
    pub fn add_at(&self, name: &str, owner: &str, kind: Kind, value: &str) {
        push(&self.resolvers, name, owner, kind, value);
    }

    /// A record that only the authoritative servers have.
    pub fn add_fresh(&self, name: &str, kind: Kind, value: &str) {
        push(&self.authority, name, name, kind, value);
    }

    pub fn fail(&self, name: &str, kind: Kind, error: LookupError) {
        self.resolvers.lock().insert((normal(name), kind), Err(error));
    }

    pub fn fail_fresh(&self, name: &str, kind: Kind, error: LookupError) {
        self.authority.lock().insert((normal(name), kind), Err(error));
    }

    pub fn asked(&self) -> Vec<(String, Kind)> {
        self.asked.lock().clone()
    }

    /// Runs one check on the script.
    #[cfg(test)]
    pub(crate) async fn with_queries<T>(&self, check: impl AsyncFnOnce(&crate::query::Queries<'_>) -> T) -> T {
        let until = tokio::time::Instant::now() + std::time::Duration::from_secs(600);
        check(&crate::query::Queries::new(
            self,
            &crate::query::QueryMemo::default(),
            until,
        ))
        .await
    }
}

fn push(answers: &Answers, name: &str, owner: &str, kind: Kind, value: &str) {
    let record = Record {
        owner: owner.to_owned(),
        ttl: TTL,
        data: data(kind, value),
    };
    let mut answers = answers.lock();
    let entry = answers
        .entry((normal(name), kind))
        .or_insert_with(|| Ok(Answer::default()));
    match entry {
        Ok(answer) => answer.records.push(record),
        failed => *failed = Ok(Answer { records: vec![record] }),
    }
}

fn data(kind: Kind, value: &str) -> Data {
    match kind {
        Kind::A | Kind::Aaaa => Data::Address(value.parse().unwrap()),
        Kind::Cname | Kind::Ns => Data::Name(normal(value)),
        Kind::Txt => Data::Txt(value.to_owned()),
        Kind::Mx => {
            let (preference, exchange) = value.split_once(' ').unwrap();
            Data::Mx {
                preference: preference.parse().unwrap(),
                exchange: normal(exchange),
            }
        }
        Kind::Caa => {
            let mut parts = value.splitn(3, ' ');
            let critical = parts.next() == Some("128");
            let tag = parts.next().unwrap().to_owned();
            Data::Caa {
                critical,
                tag,
                value: parts.next().unwrap_or_default().to_owned(),
            }
        }
    }
}

#[async_trait]
impl Lookup for Script {
    async fn lookup(&self, name: &str, kind: Kind) -> Result<Answer, LookupError> {
        self.asked.lock().push((name.to_owned(), kind));
        let known = self.resolvers.lock();
        if let Some(answer) = known.get(&(normal(name), kind)) {
            return answer.clone();
        }
        let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        if let Some(answer) = wildcard.and_then(|w| known.get(&(w, kind))) {
            return answer.clone();
        }
        let exists = known.iter().any(|((n, _), a)| n == name && a.is_ok());
        let ttl = Some(NEGATIVE_TTL);
        Err(if exists {
            LookupError::NoData { ttl }
        } else {
            LookupError::NxDomain { ttl }
        })
    }

    async fn authoritative(&self, name: &str, kind: Kind) -> Option<Result<Answer, LookupError>> {
        self.authority.lock().get(&(normal(name), kind)).cloned()
    }
}
