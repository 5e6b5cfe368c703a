//! The certificates in memory, and how the data plane asks for one that is not.

use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use moka::sync::Cache;
use tokio::sync::{mpsc, oneshot};

use super::certificate::Certificate;
use crate::DomainName;

/// The data plane's view of all certificates: a bounded cache, and the queue of requests to the
/// control plane for what is not in it.
#[derive(Clone, Debug)]
pub struct Certificates {
    cache: Cache<DomainName, Arc<Certificate>>,
    requests: mpsc::Sender<CertificateRequest>,
    /// Names that the control plane was told of as seen, and when.
    seen: Cache<DomainName, Timestamp>,
}

/// How long a name that was seen is not told of again, and how many such names are remembered.
const SEEN_FOR: Duration = Duration::from_secs(600);
const SEEN_NAMES: u64 = 10_000;

/// A handshake that waits for a certificate.
#[derive(Debug)]
pub struct CertificateRequest {
    /// For this name.
    pub name: DomainName,
    /// Where the answer goes; closed when the handshake has given up, or was served already.
    pub reply: oneshot::Sender<CertificateAnswer>,
}

/// What the control plane answers.
#[derive(Clone, Debug)]
pub enum CertificateAnswer {
    /// Here it is; it is in the cache too. Expired only where no other will come now.
    Ready(Arc<Certificate>),
    /// None is held, and none will come now: what happened and what comes next is in the domain's state.
    None,
    /// Too many wait already, or the store cannot be read.
    Busy,
}

impl Certificates {
    /// A cache of at most `capacity` certificates; requests go to the receiver returned.
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

    /// The certificate in memory, also one that has expired: what is presented where nothing better
    /// is held, for it is the client that judges, and our clock may be the one that is wrong.
    pub fn held(&self, name: &DomainName) -> Option<Arc<Certificate>> {
        self.cache.get(name)
    }

    /// Asks the control plane: loads what is stored, else waits for the order where one runs or
    /// is due. The caller bounds the time.
    pub async fn request(&self, name: DomainName) -> CertificateAnswer {
        let (reply, answer) = oneshot::channel();
        if self.requests.try_send(CertificateRequest { name, reply }).is_err() {
            return CertificateAnswer::Busy;
        }
        answer.await.unwrap_or(CertificateAnswer::Busy)
    }

    /// Tells the control plane that a handshake came for a name whose DNS led elsewhere at the last
    /// look. Now and then for each name, and only where there is room: no one waits for it.
    pub fn note_handshake(&self, name: &DomainName, now: Timestamp) {
        let told = self.seen.get(name);
        if told.is_some_and(|told| told.is_within(SEEN_FOR, now)) {
            return;
        }
        self.seen.insert(name.clone(), now);
        let (reply, _) = oneshot::channel();
        let request = CertificateRequest {
            name: name.clone(),
            reply,
        };
        // A full queue has more urgent things in it.
        drop(self.requests.try_send(request));
    }

    /// Puts a certificate in that is durable.
    pub fn put(&self, name: DomainName, certificate: Arc<Certificate>) {
        self.cache.insert(name, certificate);
    }

    /// Takes one out: its domain was purged, or changed on another node.
    pub fn remove(&self, name: &DomainName) {
        self.cache.invalidate(name);
    }

    /// How many are in memory, about.
    pub fn len(&self) -> u64 {
        self.cache.entry_count()
    }

    /// Whether none is in memory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
