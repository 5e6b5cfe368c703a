//! The change feed: what the caches of every node follow.
//!
//! A change is a hint: its reader reads the record again. The feed has shards, each with a sequence without
//! gaps that follows the commits, so that a reader misses nothing; a change of a domain is in the shard of its
//! name. Positions are opaque. Each mark has the random tag of its change: a database that lost its last
//! commits, or was restored, gives the same numbers to other changes.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use linkseal_domain::DomainName;
use linkseal_link::Slug;

use crate::StoreError;

/// How many changes of a shard are kept for followers: more than a node misses in any short absence.
pub(crate) const CHANGES_KEPT: u64 = 100_000;

/// The change feed.
#[async_trait]
pub trait FeedStore: Send + Sync + 'static {
    /// Where the feed ends.
    async fn feed_end(&self) -> Result<FeedPosition, StoreError>;

    /// The changes after a position, at most about `limit`, in the order of their commits for each name.
    /// Only the newest [`CHANGES_KEPT`] of a shard are kept.
    async fn changes_after(&self, position: &FeedPosition, limit: usize) -> Result<Feed, StoreError>;
}

/// Changes after a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feed {
    Changes {
        changes: Vec<Changed>,
        /// Where they end.
        position: FeedPosition,
        /// Whether there may be more.
        more: bool,
    },
    /// The position is no longer in the feed: so much was changed since, or the store lost its last commits or
    /// was restored. Everything has to be read again.
    Broken,
}

/// What was changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Changed {
    /// A domain's record, or its purge.
    Domain {
        name: DomainName,
        /// Whether the certificate changed with it.
        certificate: bool,
    },
    /// The ticket keys.
    TicketKeys,
    /// A stored redirect.
    Redirect {
        /// `None`: a redirect for all domains.
        domain: Option<DomainName>,
        slug: Slug,
    },
    /// The kill switches.
    Kills,
    /// The freeze of all orders began or ended.
    Freeze,
}

/// A place in the feed. Default: before its first change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedPosition(Vec<Mark>);

/// The last change seen of a shard; number 0 if there was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) seq: u64,
    pub(crate) tag: i64,
}

impl FeedPosition {
    pub(crate) fn new(marks: Vec<Mark>) -> Self {
        Self(marks)
    }

    /// Whether everything before the other position is before this one.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(mine, other)| mine.seq >= other.seq)
    }

    /// By shard.
    pub(crate) fn marks(&self) -> &[Mark] {
        &self.0
    }
}

/// As stored.
impl fmt::Display for FeedPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mark) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{}:{}", mark.seq, mark.tag)?;
        }
        Ok(())
    }
}

/// The text is not a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAPosition;

impl FromStr for FeedPosition {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let mark = |text: &str| {
            let (seq, tag) = text.split_once(':')?;
            Some(Mark {
                seq: seq.parse().ok()?,
                tag: tag.parse().ok()?,
            })
        };
        let marks = text.split(',').filter(|mark| !mark.is_empty()).map(mark);
        marks.collect::<Option<Vec<_>>>().map(Self).ok_or(NotAPosition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_was_written() {
        for marks in [
            vec![],
            vec![Mark::default()],
            vec![Mark { seq: 7, tag: -9 }, Mark { seq: u64::MAX, tag: 0 }],
        ] {
            let position = FeedPosition::new(marks);
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        let at = |seqs: &[u64]| FeedPosition::new(seqs.iter().map(|&seq| Mark { seq, tag: 1 }).collect());
        assert!(at(&[2, 5]).covers(&at(&[2, 4])));
        assert!(!at(&[3, 3]).covers(&at(&[2, 4])));
        assert!(!at(&[9]).covers(&at(&[2, 4])), "of another engine");
        assert_eq!("7".parse::<FeedPosition>(), Err(NotAPosition));
        assert_eq!("7:x".parse::<FeedPosition>(), Err(NotAPosition));
    }
}
