//! The certificates in memory, and the data plane's requests for those that are not.

use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use moka::sync::Cache;
use tokio::sync::{mpsc, oneshot};

use super::certificate::Certificate;
use crate::DomainName;

/// The data plane's view of all certificates: a bounded cache, and the queue of requests to the
/// control plane for certificates that are not cached.
#[derive(Clone, Debug)]
pub struct Certificates {
    cache: Cache<DomainName, Arc<Certificate>>,
    requests: mpsc::Sender<CertificateRequest>,
    /// When a handshake for a name was last reported to the control plane.
    seen: Cache<DomainName, Timestamp>,
}

/// Handshakes for a name are reported at most once in this time.
const SEEN_FOR: Duration = Duration::from_secs(600);
/// For how many names that is remembered.
const SEEN_NAMES: u64 = 10_000;

/// A handshake that waits for a certificate.
#[derive(Debug)]
pub struct CertificateRequest {
    pub name: DomainName,
    /// Closed if no handshake waits: it gave up, or was served from memory.
    pub reply: oneshot::Sender<CertificateAnswer>,
}

/// The control plane's answer to a [`CertificateRequest`].
#[derive(Clone, Debug)]
pub enum CertificateAnswer {
    /// Also in the cache by now. Expired only if no other will be issued soon.
    Ready(Arc<Certificate>),
    /// There is none, and none will be issued soon; the domain's state says why and what happens next.
    None,
    /// Too many requests wait, or the store cannot be read.
    Busy,
}

impl Certificates {
    /// A cache of at most `capacity` certificates, and the receiver of its requests, of which at most
    /// `waiting` queue up.
    pub fn new(capacity: u64, waiting: usize) -> (Self, mpsc::Receiver<CertificateRequest>) {
        let (requests, receiver) = mpsc::channel(waiting);
        (
            Self {
                cache: Cache::new(capacity),
                requests,
                seen: Cache::new(SEEN_NAMES),
            },
            receiver,
        )
    }

    /// The certificate in memory, if it has not expired.
    pub fn cached(&self, name: &DomainName, now: Timestamp) -> Option<Arc<Certificate>> {
        self.cache.get(name).filter(|c| c.not_after > now)
    }

    /// The certificate in memory, even if it has expired. It is presented if there is no better one: the
    /// client decides, and our clock may be wrong.
    pub fn held(&self, name: &DomainName) -> Option<Arc<Certificate>> {
        self.cache.get(name)
    }

    /// Asks the control plane, which loads the stored certificate or, if an order runs or is due, answers
    /// when the order ends. The caller bounds the wait.
    pub async fn request(&self, name: DomainName) -> CertificateAnswer {
        let (reply, answer) = oneshot::channel();
        if self.requests.try_send(CertificateRequest { name, reply }).is_err() {
            return CertificateAnswer::Busy;
        }
        answer.await.unwrap_or(CertificateAnswer::Busy)
    }

    /// Reports a handshake for a name whose DNS pointed elsewhere at the last check. Limited per name, and
    /// skipped while the queue is full.
    pub fn note_handshake(&self, name: &DomainName, now: Timestamp) {
        let reported = self.seen.get(name);
        if reported.is_some_and(|at| at.is_within(SEEN_FOR, now)) {
            return;
        }
        self.seen.insert(name.clone(), now);
        let (reply, _) = oneshot::channel();
        let request = CertificateRequest {
            name: name.clone(),
            reply,
        };
        // A full queue holds more urgent requests.
        drop(self.requests.try_send(request));
    }

    /// Adds a certificate that is stored durably.
    pub fn put(&self, name: DomainName, certificate: Arc<Certificate>) {
        self.cache.insert(name, certificate);
    }

    /// Removes a certificate: its domain was purged, or changed on another node.
    pub fn remove(&self, name: &DomainName) {
        self.cache.invalidate(name);
    }

    /// About how many are in memory.
    pub fn len(&self) -> u64 {
        self.cache.entry_count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
