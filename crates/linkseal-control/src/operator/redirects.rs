//! Stored redirects: written by operators, read by the data plane.

use std::sync::Arc;

use linkseal_base::clock::{Clock, Timestamp};
use linkseal_base::shutdown::Tasks;
use linkseal_domain::links::{Found, Lookup, RedirectCache, SlugTargets, Target};
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_link::{Destination, Slug};
use linkseal_store::{SharedStore, StoreError, StoredRedirect};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore, mpsc};

use super::OperatorError;
use crate::core::audit::audit_entry;
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
    clock: Clock,
    cache: RedirectCache,
    /// One change at a time, so that each audit entry shows what it changed.
    changing: Arc<Mutex<()>>,
    log_limit: Arc<LogLimit>,
}

impl Redirects {
    /// For the data plane's cache.
    pub fn new(store: SharedStore, clock: Clock, cache: RedirectCache) -> Self {
        Self {
            store,
            clock,
            cache,
            changing: Arc::default(),
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
        let _changing = self.changing.lock().await;
        let before = self.store.redirect(domain, slug).await?;
        let redirect = StoredRedirect {
            domain: domain.cloned(),
            slug: slug.clone(),
            // Without the blanks that were pasted around it.
            url: destination.as_str().to_owned(),
            expires: new.expires,
            changed: self.clock.now(),
        };
        let audit = audit_entry(
            actor,
            self.clock.now(),
            "redirect_put",
            subject(domain, slug),
            view(before.as_ref()),
            view(Some(&redirect)),
        );
        self.store.put_redirect(&redirect, audit).await?;
        self.cache.changed(domain.map(DomainName::as_str), slug.as_str());
        Ok((redirect, before.is_none()))
    }

    /// Deletes a redirect.
    pub async fn delete(&self, domain: Option<&DomainName>, slug: &Slug, actor: &Actor) -> Result<(), OperatorError> {
        let _changing = self.changing.lock().await;
        let before = self.store.redirect(domain, slug).await?;
        let audit = audit_entry(
            actor,
            self.clock.now(),
            "redirect_delete",
            subject(domain, slug),
            view(before.as_ref()),
            Value::Null,
        );
        self.store.delete_redirect(domain, slug, audit).await?;
        self.cache.changed(domain.map(DomainName::as_str), slug.as_str());
        Ok(())
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
                // Dropped without an answer if the store fails: clients are asked to retry.
                match this.read_both(&lookup).await {
                    Ok(both) => lookup.answer(both),
                    Err(error) => this.read_failed(&error),
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

    async fn read_both(&self, lookup: &Lookup) -> Result<SlugTargets, StoreError> {
        let (Ok(domain), Ok(slug)) = (DomainName::parse(lookup.domain()), Slug::parse(lookup.slug())) else {
            return Ok(SlugTargets::default());
        };
        let own = self.store.redirect(Some(&domain), &slug).await?;
        let common = self.store.redirect(None, &slug).await?;
        Ok(SlugTargets {
            own: own.as_ref().and_then(target),
            common: common.as_ref().and_then(target),
        })
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
        let redirects = Redirects::new(store.clone(), clock.clone(), cache.clone());
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
        let redirects = Redirects::new(store.clone(), Clock::system(), RedirectCache::new(1 << 20, 4).0);
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
