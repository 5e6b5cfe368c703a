//! CAA at the edge's own names. A record there speaks for every customer whose own name points here
//! and has none (RFC 8659 §3): one line can stop all certificates, so it is looked at before a CA
//! refuses.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_dns::Caa;
use linkseal_domain::DomainName;
use linkseal_domain::Text;

use super::Control;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(3_600);
/// How soon again after DNS or a CA's directory could not be read.
const RETRY: Duration = Duration::from_secs(300);

/// What CAA records at one of the edge's names say about one CA.
#[derive(Clone, Debug)]
pub struct TargetCaa {
    /// The edge's name, or an alias.
    pub name: DomainName,
    /// The CA, by its host name.
    pub ca: String,
    /// Whether it may issue.
    pub verdict: TargetVerdict,
    /// Where the records stand that decide. `None`: there are none, or they cannot be had.
    pub host: Option<String>,
    /// The records that decide.
    pub found: Vec<String>,
    /// When it was looked at.
    pub checked: Timestamp,
    /// What it means and what to change. `None`: nothing is wrong.
    pub message: Option<Text>,
}

/// Whether CAA records at the edge's name let a CA issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetVerdict {
    /// They do, or there are none.
    Allows,
    /// They do not.
    Forbids,
    /// They cannot be had.
    Error,
    /// How they would name the CA is not known.
    NotJudged,
}

impl Control {
    /// Looks for ever, at intervals, at CAA at the edge's own names.
    pub(super) async fn watch_target_caa(self) {
        loop {
            let seen = self.look_at_target().await;
            let settled = |t: &TargetCaa| matches!(t.verdict, TargetVerdict::Allows | TargetVerdict::Forbids);
            let wait = if seen.iter().all(settled) { LOOK } else { RETRY };
            self.inner.target_caa.store(seen.into());
            tokio::select! {
                () = self.inner.identified.notified() => {}
                () = self.inner.clock.sleep(wait) => {}
            }
        }
    }

    async fn look_at_target(&self) -> Vec<TargetCaa> {
        let (tools, settings) = (self.tools(), self.inner.settings.load_full());
        let mut seen = Vec::new();
        for name in std::iter::once(&settings.target).chain(&settings.aliases) {
            for authority in tools.authorities.iter() {
                let identity = authority.identity();
                let caa = tools.checker.caa(name, &identity).await;
                let ca = authority.issuer.host();
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
                    checked: self.inner.clock.now(),
                    message,
                });
            }
        }
        seen
    }
}

/// What a record that forbids means: at the name itself it speaks for all who lead there, above it
/// for the edge's name alone, since an alias's target is not climbed.
fn forbidden(name: &DomainName, host: &str, ca: &str, id: &str) -> Text {
    if host == name.as_str() {
        Text {
            en: format!(
                "The CAA record at {host} forbids {ca} to issue for every customer whose name leads there: \
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
