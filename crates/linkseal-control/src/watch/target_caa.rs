//! CAA at the edge's own names. A record there applies to every customer whose name is a CNAME to it and
//! has none of its own (RFC 8659 §3): a single record can stop all certificates, so it is checked before a
//! CA refuses.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use linkseal_base::clock::Timestamp;
use linkseal_dns::Caa;
use linkseal_domain::DomainName;
use linkseal_domain::Text;

use crate::core::Core;
use crate::order::Orders;

/// Interval between checks.
const INTERVAL: Duration = Duration::from_secs(3_600);
/// The same after DNS or a CA's directory could not be read.
const RETRY: Duration = Duration::from_secs(300);

/// CAA at one of the edge's names for one CA.
#[derive(Clone, Debug)]
pub struct TargetCaa {
    /// `edge.name` or an alias.
    pub name: DomainName,
    /// The host name of the CA.
    pub ca: String,
    pub verdict: TargetVerdict,
    /// Where the records are that forbid it, or the zone that did not answer.
    pub host: Option<String>,
    /// The records that apply.
    pub found: Vec<String>,
    pub checked: Timestamp,
    /// What to change, if something is wrong.
    pub message: Option<Text>,
}

/// Whether CAA allows a CA to issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetVerdict {
    /// Also if there are no records.
    Allows,
    Forbids,
    /// The records could not be read.
    Error,
    /// It is unknown how CAA records name the CA.
    NotJudged,
}

/// Keeps the result of the last check.
pub(crate) struct TargetCaaWatch {
    core: Arc<Core>,
    orders: Arc<Orders>,
    seen: ArcSwap<Vec<TargetCaa>>,
}

impl TargetCaaWatch {
    pub(crate) fn new(core: Arc<Core>, orders: Arc<Orders>) -> Arc<Self> {
        Arc::new(Self {
            core,
            orders,
            seen: ArcSwap::default(),
        })
    }

    /// The result of the last check.
    pub(crate) fn seen(&self) -> Arc<Vec<TargetCaa>> {
        self.seen.load_full()
    }

    /// Checks at intervals, and after the CAs' identities were read, until shutdown.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let seen = self.check().await;
            let settled = |t: &TargetCaa| matches!(t.verdict, TargetVerdict::Allows | TargetVerdict::Forbids);
            let wait = if seen.iter().all(settled) { INTERVAL } else { RETRY };
            self.seen.store(seen.into());
            tokio::select! {
                () = self.orders.identities.refreshed.notified() => {}
                () = self.core.clock.sleep(wait) => {}
            }
        }
    }

    async fn check(&self) -> Vec<TargetCaa> {
        let (cas, checker, settings) = (self.core.cas(), self.core.checker(), self.core.settings());
        let mut seen = Vec::new();
        for name in settings.names.iter() {
            for ca in cas.iter() {
                let identity = ca.identity();
                let caa = checker.caa(name, &identity).await;
                let ca = ca.issuer.host();
                let (verdict, host, found) = match caa {
                    Caa::NotJudged => (TargetVerdict::NotJudged, None, Vec::new()),
                    Caa::Allows { found, .. } => (TargetVerdict::Allows, None, found),
                    Caa::Error { zone, .. } => (TargetVerdict::Error, Some(zone), Vec::new()),
                    Caa::Forbids { host, found, .. } => (TargetVerdict::Forbids, Some(host), found),
                };
                let id = identity.identities.first();
                let message = match (&host, id) {
                    (Some(host), Some(id)) if verdict == TargetVerdict::Forbids => Some(forbidden(name, host, ca, id)),
                    _ => None,
                };
                if let Some(message) = &message {
                    tracing::warn!(%name, ca, "{}", message.en);
                }
                seen.push(TargetCaa {
                    name: name.clone(),
                    ca: ca.to_owned(),
                    verdict,
                    host,
                    found,
                    checked: self.core.clock.now(),
                    message,
                });
            }
        }
        seen
    }
}

/// What a forbidding record means: at the name itself it applies to all customers that point there; above
/// it, to the edge's name only, because CAA does not climb from the target of an alias.
fn forbidden(name: &DomainName, host: &str, ca: &str, id: &str) -> Text {
    if host == name.as_str() {
        Text {
            en: format!(
                "The CAA record at {host} forbids {ca} to issue for every customer whose name points there: \
                 add CAA 0 issue \"{id}\" at {host}, or delete the records."
            ),
            de: format!(
                "Der CAA-Eintrag bei {host} verbietet {ca} die Ausstellung für alle Kunden, deren Name dorthin zeigt: \
                 Ergänzen Sie bei {host} den Eintrag CAA 0 issue \"{id}\" oder löschen Sie die Einträge."
            ),
        }
    } else {
        Text {
            en: format!(
                "The CAA record at {host} forbids {ca} to issue for {name} itself; customers' names are not affected: \
                 add CAA 0 issue \"{id}\" at {host}."
            ),
            de: format!(
                "Der CAA-Eintrag bei {host} verbietet {ca} die Ausstellung für {name} selbst; Kundennamen sind nicht \
                 betroffen: Ergänzen Sie bei {host} den Eintrag CAA 0 issue \"{id}\"."
            ),
        }
    }
}
