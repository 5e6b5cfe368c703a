//! All domains that match a query, page by page: a read is bounded, and a concurrent change neither hides
//! nor repeats another domain.

use linkseal_domain::DomainRecord;

use super::{DomainQuery, SharedStore, StoreError};

/// A walk over domains in the order of their names.
pub struct Pages {
    store: SharedStore,
    /// The query of the next page. `None`: there are no more.
    next: Option<DomainQuery>,
}

impl Pages {
    /// All that match; the query's limit is the page size.
    pub fn of(store: &SharedStore, query: DomainQuery) -> Self {
        Self {
            store: SharedStore::clone(store),
            next: Some(query),
        }
    }

    /// The next page. `None`: there are no more. After an error the same page is read again.
    pub async fn next(&mut self) -> Result<Option<Vec<DomainRecord>>, StoreError> {
        let Some(query) = &mut self.next else { return Ok(None) };
        let page = self.store.list(query).await?;
        let full = page.len() >= query.limit;
        match page.last() {
            Some(last) if full => query.after = Some(last.name.clone()),
            _ => self.next = None,
        }
        Ok(Some(page).filter(|page| !page.is_empty()))
    }
}
