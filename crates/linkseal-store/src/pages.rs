//! All domains, or those that match a query, page by page: a read is bounded, and a concurrent change neither
//! hides nor repeats another domain.

use linkseal_domain::DomainRecord;

use super::{DomainQuery, Position, SharedStore, StoreError};

/// A walk over domains.
pub struct Pages {
    store: SharedStore,
    next: Next,
}

/// How the next page is read.
enum Next {
    /// In the order of the names.
    Query(DomainQuery),
    /// In the order in which they are stored.
    Stored { after: Option<Position>, limit: usize },
    /// There are no more.
    End,
}

impl Pages {
    /// All that match, in the order of their names; the query's limit is the page size.
    pub fn of(store: &SharedStore, query: DomainQuery) -> Self {
        Self {
            store: SharedStore::clone(store),
            next: Next::Query(query),
        }
    }

    /// All domains, in the order in which they are stored: much faster where there are millions.
    pub fn stored(store: &SharedStore, limit: usize) -> Self {
        Self {
            store: SharedStore::clone(store),
            next: Next::Stored { after: None, limit },
        }
    }

    /// The next page. `None`: there are no more. After an error the same page is read again.
    pub async fn next(&mut self) -> Result<Option<Vec<DomainRecord>>, StoreError> {
        loop {
            let page = match &mut self.next {
                Next::End => return Ok(None),
                Next::Query(query) => {
                    let page = self.store.list(query).await?;
                    let full = page.len() >= query.limit;
                    match page.last() {
                        Some(last) if full => query.after = Some(last.name.clone()),
                        _ => self.next = Next::End,
                    }
                    page
                }
                Next::Stored { after, limit } => {
                    let page = self.store.stored(*after, *limit).await?;
                    match page.last {
                        Some(last) => *after = Some(last),
                        None => self.next = Next::End,
                    }
                    page.records
                }
            };
            // Of stored domains, all of a page may be unreadable.
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
    }
}
