//! A domain's history, page by page.

use linkseal_control::MOVED;
use linkseal_domain::DomainName;
use linkseal_store::{SharedStore, StoreError, TIMELINE_KEPT, TimelineEntry};
use schemars::JsonSchema;
use serde::Serialize;

use crate::context::Context;
use crate::input::{Paging, cursor, cut, from_cursor, limit};
use crate::problem::Problem;
use crate::scope::Scope;

/// A page of a domain's history.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Timeline {
    /// The entries, newest first.
    pub(crate) entries: Vec<TimelineEntry>,
    /// The cursor of the next page; null on the last page.
    pub(crate) next: Option<String>,
}

/// Reads a page of a domain's history, as far as the scope may see it.
pub(crate) async fn timeline_page(
    context: &Context,
    name: &DomainName,
    paging: &Paging,
    scope: &Scope,
) -> Result<Timeline, Problem> {
    let limit = limit(paging.limit.as_deref())?;
    let before = from_cursor(paging.cursor.as_deref(), |id| id.parse().ok())?;
    let store = context.control.store();
    let mut entries = match scope {
        Scope::All => store.timeline(name, before, limit + 1).await?,
        _ => of_its_tenant(store, name, before).await?,
    };
    if entries.is_empty() && store.domain(name).await?.is_none() {
        return Err(Problem::not_registered(name));
    }
    let more = cut(&mut entries, limit);
    let next = entries.last().filter(|_| more).map(|e| cursor(&e.id.to_string()));
    Ok(Timeline { entries, next })
}

/// The entries before `before` since the domain belongs to its present tenant. All entries are read
/// (they are few), so that a forged cursor reaches no further back.
async fn of_its_tenant(
    store: &SharedStore,
    name: &DomainName,
    before: Option<u64>,
) -> Result<Vec<TimelineEntry>, StoreError> {
    let Some(record) = store.domain(name).await? else {
        return Ok(Vec::new());
    };
    let kept = usize::try_from(TIMELINE_KEPT).unwrap_or(usize::MAX);
    let all = store.timeline(name, None, kept).await?;
    let is_own = |e: &TimelineEntry| e.event != MOVED && record.own_since.is_none_or(|since| e.at >= since);
    let own = all.into_iter().take_while(is_own);
    Ok(own.filter(|e| before.is_none_or(|before| e.id < before)).collect())
}
