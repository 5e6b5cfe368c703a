//! Stored redirects: what operators put there, and what the data plane asks for.

use std::sync::Arc;

use linkseal_base::clock::{Clock, Timestamp};
use linkseal_base::shutdown::Tasks;
use linkseal_domain::DomainName;
use linkseal_domain::links::{Found, Lookup, RedirectCache, SlugTargets, Target};
use linkseal_link::{Destination, Slug};
use linkseal_store::{SharedStore, StoreError, StoredRedirect};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore, mpsc};

use super::complaints::{Complaints, OF_THE_STORE};
use super::input::{Actor, OperatorError};
use super::operator::audit_entry;

/// Look-ups that read the store at once.
const AT_ONCE: usize = 64;

/// What a redirect is set to.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = serde_json::json!({"url": "https://shop.example/sale", "expires": null}))]
pub struct NewRedirect {
    /// Where it leads: an http or https URL.
    #[schemars(length(min = 1, max = 4096), extend("format" = "uri"))]
    pub url: String,
    /// From when on it leads nowhere. `None`: never.
    #[serde(default)]
    pub expires: Option<Timestamp>,
}

/// Changes stored redirects and answers the data plane. Clones are the same one.
#[derive(Clone)]
pub struct Redirects {
    store: SharedStore,
    clock: Clock,
    cache: RedirectCache,
    /// One change at a time, so that each audit line tells what it changed.
    changing: Arc<Mutex<()>>,
    complaints: Arc<Complaints>,
}

impl Redirects {
    /// For the data plane's cache.
    pub fn new(store: SharedStore, clock: Clock, cache: RedirectCache) -> Self {
        Self {
            store,
            clock,
            cache,
            changing: Arc::default(),
            complaints: Arc::new(Complaints::every(OF_THE_STORE)),
        }
    }

    /// Reads one. `domain`: `None` for the one for all domains.
    pub async fn get(&self, domain: Option<&DomainName>, slug: &Slug) -> Result<Option<StoredRedirect>, StoreError> {
        self.store.redirect(domain, slug).await
    }

    /// The one that the domain serves: its own, else the one for all; also when it has expired.
    pub async fn served(&self, domain: &DomainName, slug: &Slug) -> Result<Option<StoredRedirect>, StoreError> {
        match self.store.redirect(Some(domain), slug).await? {
            Some(own) => Ok(Some(own)),
            None => self.store.redirect(None, slug).await,
        }
    }

    /// Stores one; tells whether it is new. The data plane sees it when this returns.
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
                "url: a redirect cannot lead to its own domain, where it could lead in circles".into(),
            ));
        }
        let _changing = self.changing.lock().await;
        let before = self.store.redirect(domain, slug).await?;
        let redirect = StoredRedirect {
            domain: domain.cloned(),
            slug: slug.clone(),
            // Without the blanks that were pasted with it.
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

    /// Forgets one.
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

    /// Forgets what is in memory: a domain was purged with its redirects.
    pub(super) fn forget_all(&self) {
        self.cache.forget_all();
    }

    /// Answers the data plane for ever. The channel bounds how many look-ups wait.
    pub(super) async fn answer_lookups(self, mut lookups: mpsc::Receiver<Lookup>, tasks: Tasks) {
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        while let Some(lookup) = lookups.recv().await {
            let Ok(permit) = Arc::clone(&at_once).acquire_owned().await else {
                return;
            };
            let this = self.clone();
            tasks.spawn(async move {
                // Dropped unanswered when the store fails: those who wait are told to come again.
                match this.read_both(&lookup).await {
                    Ok(both) => lookup.answer(both),
                    Err(error) => this.complain(&error),
                }
                drop(permit);
            });
        }
    }

    /// Anyone can ask for slugs without end: the log has one line a minute for each cause.
    fn complain(&self, error: &StoreError) {
        let now = self.clock.uptime();
        if let Some(left_out) = self.complaints.due(error.kind(), "read a stored redirect", now) {
            tracing::error!(%error, left_out, "a stored redirect cannot be read");
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

/// As the data plane serves it. `None`: it was stored under older rules, and is no destination.
fn target(redirect: &StoredRedirect) -> Found {
    Target::new(&redirect.url, redirect.expires).ok().map(Arc::new)
}

/// What an audit line names: `links.customer.example/r/summer`, or `*/r/summer`.
fn subject(domain: Option<&DomainName>, slug: &Slug) -> String {
    format!("{}/r/{slug}", domain.map_or("*", DomainName::as_str))
}

fn view(redirect: Option<&StoredRedirect>) -> Value {
    redirect.map_or(Value::Null, |r| json!({"url": r.url, "expires": r.expires}))
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
    async fn what_is_put_is_served_at_once() {
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
        let told: Vec<_> = lines.iter().map(|l| (l.action.as_str(), l.subject.as_str())).collect();
        assert_eq!(
            told,
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
    async fn what_is_no_destination_is_refused() {
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
