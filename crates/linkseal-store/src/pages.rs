//! All domains that match a query, page by page: what is read at once is bounded, and what is
//! changed meanwhile neither hides nor doubles another.

use linkseal_domain::DomainRecord;

use super::{DomainQuery, SharedStore, StoreError};

/// A walk over domains in the order of their names.
pub struct Pages {
    store: SharedStore,
    /// What comes next. `None`: nothing.
    next: Option<DomainQuery>,
}

impl Pages {
    /// Those that match, as many at once as the query's limit.
    pub fn of(store: &SharedStore, query: DomainQuery) -> Self {
        Self {
            store: SharedStore::clone(store),
            next: Some(query),
        }
    }

    /// Those of the next page. `None`: there are no more. After an error the same page is read again.
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
