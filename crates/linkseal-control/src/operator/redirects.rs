//! Stored redirects: written by operators, read by the data plane.

use std::sync::Arc;

use linkseal_base::clock::{Clock, Timestamp};
use linkseal_base::shutdown::Tasks;
use linkseal_domain::links::{Found, Lookup, RedirectCache, SlugTargets, Target};
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_link::{Destination, Slug};
use linkseal_store::copy::LocalCopy;
use linkseal_store::{AuditEntry, SharedStore, StoreError, StoredRedirect};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::OperatorError;
use crate::core::audit::audit_entry;
use crate::core::change::until_no_conflict;
use crate::core::log_limit::{LogLimit, STORE_INTERVAL};
use crate::core::{Actor, Observer};

/// Concurrent look-ups in the store.
const CONCURRENT: usize = 64;

/// The target of a redirect.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = serde_json::json!({"url": "https://shop.example/sale", "expires": null}))]
pub struct NewRedirect {
    /// The target, an http or https URL.
    #[schemars(length(min = 1, max = 4096), extend("format" = "uri"))]
    pub url: String,
    /// When the redirect stops working; null for never.
    #[serde(default)]
    pub expires: Option<Timestamp>,
}

/// Changes stored redirects and answers the data plane. Clones share their state.
#[derive(Clone)]
pub struct Redirects {
    store: SharedStore,
    copy: Option<Arc<LocalCopy>>,
    clock: Clock,
    cache: RedirectCache,
    log_limit: Arc<LogLimit>,
}

impl Redirects {
    /// For the data plane's cache. `copy`: the node's; `None` with a store that no other node uses.
    pub fn new(store: SharedStore, copy: Option<Arc<LocalCopy>>, clock: Clock, cache: RedirectCache) -> Self {
        Self {
            store,
            copy,
            clock,
            cache,
            log_limit: Arc::new(LogLimit::every(STORE_INTERVAL)),
        }
    }

    /// Reads the redirect of a domain, or the one for all domains if `domain` is `None`.
    pub async fn get(&self, domain: Option<&DomainName>, slug: &Slug) -> Result<Option<StoredRedirect>, StoreError> {
        self.store.redirect(domain, slug).await
    }

    /// The redirect that a domain serves, expired or not: its own, or else the one for all domains.
    pub async fn served(&self, domain: &DomainName, slug: &Slug) -> Result<Option<StoredRedirect>, StoreError> {
        match self.store.redirect(Some(domain), slug).await? {
            Some(own) => Ok(Some(own)),
            None => self.store.redirect(None, slug).await,
        }
    }

    /// Stores a redirect, in use when this returns; returns whether it is new.
    pub async fn put(
        &self,
        domain: Option<&DomainName>,
        slug: &Slug,
        new: NewRedirect,
        actor: &Actor,
    ) -> Result<(StoredRedirect, bool), OperatorError> {
        let destination = Destination::new(&new.url).map_err(|e| OperatorError::Invalid(format!("url: {e}")))?;
        if domain.is_some_and(|name| destination.has_host(name.as_str())) {
            return Err(OperatorError::Invalid(
                "url: a redirect cannot point to its own domain, because it could loop".into(),
            ));
        }
        let redirect = StoredRedirect {
            domain: domain.cloned(),
            slug: slug.clone(),
            // Without the blanks that were pasted around it.
            url: destination.as_str().to_owned(),
            expires: new.expires,
            changed: self.clock.now(),
        };
        let after = view(Some(&redirect));
        let put = until_no_conflict(|| async {
            let before = self.store.redirect(domain, slug).await?;
            let audit = self.audit(actor, "redirect_put", (domain, slug), before.as_ref(), after.clone());
            self.store.put_redirect(&redirect, before.as_ref(), audit).await?;
            Ok(before.is_none())
        });
        let is_new = put.await?;
        self.forget(domain, slug);
        Ok((redirect, is_new))
    }

    /// Deletes a redirect.
    pub async fn delete(&self, domain: Option<&DomainName>, slug: &Slug, actor: &Actor) -> Result<(), OperatorError> {
        let deleted = until_no_conflict(|| async {
            let before = self.store.redirect(domain, slug).await?.ok_or(StoreError::NotFound)?;
            let audit = self.audit(actor, "redirect_delete", (domain, slug), Some(&before), Value::Null);
            self.store.delete_redirect(&before, audit).await
        });
        deleted.await?;
        self.forget(domain, slug);
        Ok(())
    }

    fn audit(
        &self,
        actor: &Actor,
        action: &str,
        (domain, slug): (Option<&DomainName>, &Slug),
        before: Option<&StoredRedirect>,
        after: Value,
    ) -> AuditEntry {
        let now = self.clock.now();
        audit_entry(actor, now, action, subject(domain, slug), view(before), after)
    }

    /// Drops a redirect from memory: it was changed.
    pub(crate) fn forget(&self, domain: Option<&DomainName>, slug: &Slug) {
        self.cache.changed(domain.map(DomainName::as_str), slug.as_str());
    }

    /// Drops all redirects from memory.
    pub(crate) fn forget_all(&self) {
        self.cache.forget_all();
    }

    /// Answers the data plane until shutdown. The channel bounds how many look-ups wait.
    pub(crate) async fn answer_lookups(self, mut lookups: mpsc::Receiver<Lookup>, tasks: Tasks) {
        let permits = Arc::new(Semaphore::new(CONCURRENT));
        while let Some(lookup) = lookups.recv().await {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            let this = self.clone();
            tasks.spawn(async move {
                match this.read_both(&lookup).await {
                    Ok((both, answered)) => {
                        lookup.answer(both);
                        this.keep(answered).await;
                    }
                    Err(error) => {
                        this.read_failed(&error);
                        // Otherwise dropped without an answer: clients are asked to retry.
                        if let Some(copied) = this.copied(&lookup).await {
                            lookup.answer(copied);
                        }
                    }
                }
                drop(permit);
            });
        }
    }

    /// Any client can send slugs without end: one line a minute for each cause.
    fn read_failed(&self, error: &StoreError) {
        let now = self.clock.uptime();
        if let Some(suppressed) = self.log_limit.due(error.kind(), "read stored redirects", now) {
            tracing::error!(%error, suppressed, "reading a stored redirect failed; the client is asked to retry");
        }
    }

    /// What this node has answered before.
    async fn copied(&self, lookup: &Lookup) -> Option<SlugTargets> {
        let domain = DomainName::parse(lookup.domain()).ok()?;
        let slug = Slug::parse(lookup.slug()).ok()?;
        let answered = self.copy.as_ref()?.redirect(&domain, &slug).await.ok()??;
        Some(SlugTargets {
            own: target(&answered),
            common: None,
        })
    }

    /// Writes what a domain has answered to the node's copy.
    async fn keep(&self, answered: Option<(DomainName, StoredRedirect)>) {
        if let (Some(copy), Some((domain, redirect))) = (&self.copy, answered)
            && let Err(error) = copy.put_redirect(&domain, redirect).await
            && let Some(suppressed) = self.log_limit.due(error.kind(), "copy redirects", self.clock.uptime())
        {
            tracing::error!(%error, suppressed, "a stored redirect cannot be written to the node's copy of the store");
        }
    }

    /// Both redirects that may answer, and the one that does.
    async fn read_both(
        &self,
        lookup: &Lookup,
    ) -> Result<(SlugTargets, Option<(DomainName, StoredRedirect)>), StoreError> {
        let (Ok(domain), Ok(slug)) = (DomainName::parse(lookup.domain()), Slug::parse(lookup.slug())) else {
            return Ok((SlugTargets::default(), None));
        };
        let own = self.store.redirect(Some(&domain), &slug).await?;
        let common = self.store.redirect(None, &slug).await?;
        let both = SlugTargets {
            own: own.as_ref().and_then(target),
            common: common.as_ref().and_then(target),
        };
        Ok((both, own.or(common).map(|answered| (domain, answered))))
    }
}

/// The redirect as the data plane serves it; `None` if it was stored under older rules and its URL is not
/// allowed any more.
fn target(redirect: &StoredRedirect) -> Found {
    Target::new(&redirect.url, redirect.expires).ok().map(Arc::new)
}

/// The subject of an audit entry: `links.customer.example/r/summer`, or `*/r/summer`.
fn subject(domain: Option<&DomainName>, slug: &Slug) -> String {
    format!("{}/r/{slug}", domain.map_or("*", DomainName::as_str))
}

fn view(redirect: Option<&StoredRedirect>) -> Value {
    redirect.map_or(Value::Null, |r| json!({"url": r.url, "expires": r.expires}))
}

/// The redirects of a purged domain are purged with it.
pub(crate) struct PurgedRedirects(pub(crate) RedirectCache);

impl Observer for PurgedRedirects {
    fn stored(&self, _: &DomainRecord) {}

    fn purged(&self, _: &DomainName) {
        self.0.forget_all();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use linkseal_domain::ssl::Reason;
    use linkseal_store::testing::add;

    use super::*;
    use crate::tests::{actor, fresh};

    fn new(url: &str) -> NewRedirect {
        NewRedirect {
            url: url.into(),
            expires: None,
        }
    }

    #[tokio::test]
    async fn a_stored_redirect_is_served_at_once() {
        let (store, _dir) = fresh();
        let domain = add(&store, "links.example", "acme", Reason::Ok).await.name;
        let clock = Clock::system();
        let (cache, lookups) = RedirectCache::new(1 << 20, 4);
        let redirects = Redirects::new(store.clone(), None, clock.clone(), cache.clone());
        let tasks = Tasks::new();
        tasks.spawn_until_stop(redirects.clone().answer_lookups(lookups, tasks.clone()));
        let slug = Slug::parse("sale").unwrap();
        let serves = async || {
            let found = match cache.cached("links.example", "sale") {
                Some(found) => found,
                None => cache.look_up("links.example", "sale").await.unwrap(),
            };
            found.map(|t| t.url().to_owned())
        };
        assert_eq!(serves().await, None);
        let (_, created) = redirects
            .put(None, &slug, new("https://all.example/"), &actor())
            .await
            .unwrap();
        assert!(created);
        assert_eq!(serves().await.as_deref(), Some("https://all.example/"));
        redirects
            .put(Some(&domain), &slug, new("https://own.example/"), &actor())
            .await
            .unwrap();
        assert_eq!(serves().await.as_deref(), Some("https://own.example/"));
        let (stored, created) = redirects
            .put(Some(&domain), &slug, new("https://new.example/"), &actor())
            .await
            .unwrap();
        assert!(!created);
        assert_eq!(serves().await.as_deref(), Some("https://new.example/"));
        assert_eq!(redirects.served(&domain, &slug).await.unwrap(), Some(stored));
        redirects.delete(Some(&domain), &slug, &actor()).await.unwrap();
        assert_eq!(serves().await.as_deref(), Some("https://all.example/"));
        redirects.delete(None, &slug, &actor()).await.unwrap();
        assert_eq!(serves().await, None);
        assert!(matches!(
            redirects.delete(None, &slug, &actor()).await,
            Err(OperatorError::Store(StoreError::NotFound))
        ));
        let lines = store.audit(None, 10).await.unwrap();
        let entries: Vec<_> = lines.iter().map(|l| (l.action.as_str(), l.subject.as_str())).collect();
        assert_eq!(
            entries,
            [
                ("redirect_delete", "*/r/sale"),
                ("redirect_delete", "links.example/r/sale"),
                ("redirect_put", "links.example/r/sale"),
                ("redirect_put", "links.example/r/sale"),
                ("redirect_put", "*/r/sale"),
            ]
        );
        assert_eq!(lines[2].before["url"], "https://own.example/");
        assert_eq!(lines[2].after["url"], "https://new.example/");
        tasks.stop();
        assert!(tasks.wait(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn invalid_targets_are_refused() {
        let (store, _dir) = fresh();
        let domain = add(&store, "links.example", "acme", Reason::Ok).await.name;
        let redirects = Redirects::new(store.clone(), None, Clock::system(), RedirectCache::new(1 << 20, 4).0);
        let slug = Slug::parse("sale").unwrap();
        for url in [
            "javascript:alert(1)",
            "https://user@example.com/",
            "/x",
            "https://LINKS.example./x",
        ] {
            let put = redirects.put(Some(&domain), &slug, new(url), &actor()).await;
            assert!(
                matches!(put, Err(OperatorError::Invalid(why)) if why.starts_with("url: ")),
                "{url}"
            );
        }
        let unknown = DomainName::parse("unknown.example").unwrap();
        let put = redirects
            .put(Some(&unknown), &slug, new("https://example.com/"), &actor())
            .await;
        assert!(matches!(put, Err(OperatorError::Store(StoreError::NotFound))));
        assert!(store.audit(None, 10).await.unwrap().is_empty());
    }
}
