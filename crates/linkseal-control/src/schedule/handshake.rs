//! Handshakes that wait for a certificate: loaded where one is stored, awaited where its order runs or
//! is due now, refused at once everywhere else. A handshake only asks: whether a certificate is ordered
//! is decided by the schedule.

use std::sync::Arc;

use linkseal_domain::cert::cache::{CertificateAnswer, CertificateRequest};
use linkseal_domain::cert::certificate::Certificate;
use linkseal_domain::ssl::{Reason, SslEvent};
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_store::StoreError;
use tokio::sync::{mpsc, oneshot};

use super::Schedule;
use super::in_progress::Waiter;
use crate::core::{Edit, Issue, Priority};
use crate::rules;

/// A certificate as the store has it.
enum Loaded {
    /// It may have expired.
    Certificate(Arc<Certificate>),
    Missing,
    /// It is damaged, for this reason.
    Unreadable(String),
}

/// How to answer a handshake.
enum Found {
    /// With this certificate; an expired one only if no other will come now.
    Certificate(Arc<Certificate>),
    /// Its order runs or is due now.
    MayCome,
    Nothing,
}

impl Schedule {
    /// Answers requests until shutdown. The channel bounds how many wait.
    pub(crate) async fn answer_handshakes(self: Arc<Self>, mut requests: mpsc::Receiver<CertificateRequest>) {
        while let Some(request) = requests.recv().await {
            let Ok(permit) = Arc::clone(&self.loads).acquire_owned().await else {
                return;
            };
            let schedule = Arc::clone(&self);
            self.core.tasks.spawn(async move {
                schedule.answer(request).await;
                drop(permit);
            });
        }
    }

    async fn answer(self: &Arc<Self>, request: CertificateRequest) {
        let CertificateRequest { name, reply } = request;
        if reply.is_closed() {
            return self.note_handshake(name).await;
        }
        // Another handshake's request may have loaded it meanwhile.
        let cached = self.core.certificates.cached(&name, self.core.clock.now());
        let answer = match cached {
            Some(certificate) => CertificateAnswer::Ready(certificate),
            None => match self.find(&name).await {
                Ok(Found::Certificate(certificate)) => CertificateAnswer::Ready(certificate),
                Ok(Found::MayCome) => {
                    let waiter = Waiter { reply, joined: false };
                    return self.take_up_for(name, Priority::Handshake, Some(waiter));
                }
                Ok(Found::Nothing) => CertificateAnswer::None,
                Err(error) => {
                    self.core
                        .store_failed("read certificates for handshakes", Some(&name), &error);
                    let held = match self.core.certificates.held(&name) {
                        None => self.core.copied_certificate(&name).await,
                        held => held,
                    };
                    held.map_or(CertificateAnswer::Busy, CertificateAnswer::Ready)
                }
            },
        };
        // The handshake may have been cancelled.
        drop(reply.send(answer));
    }

    /// Answers a handshake that joined work which was decided before it came: it is handled as if it
    /// had come now.
    pub(super) fn answer_again(self: &Arc<Self>, name: DomainName, reply: oneshot::Sender<CertificateAnswer>) {
        let schedule = Arc::clone(self);
        self.core
            .tasks
            .spawn(async move { schedule.answer(CertificateRequest { name, reply }).await });
    }

    async fn find(self: &Arc<Self>, name: &DomainName) -> Result<Found, StoreError> {
        let loaded = self.load(name).await?;
        if let Loaded::Certificate(certificate) = &loaded
            && certificate.not_after > self.core.clock.now()
        {
            return Ok(Found::Certificate(Arc::clone(certificate)));
        }
        let record = self.core.store.domain(name).await?;
        if let Some(mut record) = record {
            if !matches!(loaded, Loaded::Certificate(_)) && record.ssl.holds(self.core.clock.now()) {
                record = self.note_lost(record).await?;
            }
            if self.may_come_now(&record) {
                return Ok(Found::MayCome);
            }
        }
        // Its order may have ended between the two reads. An expired certificate is better than none.
        let held = self.core.certificates.held(name);
        Ok(held.map_or(Found::Nothing, Found::Certificate))
    }

    /// Loads a certificate from the store into memory, even if it has expired.
    async fn load(&self, name: &DomainName) -> Result<Loaded, StoreError> {
        let read = self.core.store.certificate(name);
        let Some(stored) = self.core.read_for_data_plane(read).await? else {
            return Ok(Loaded::Missing);
        };
        Ok(match self.core.open_certificate(name, &stored) {
            Ok(certificate) => {
                let certificate = Arc::new(certificate);
                self.core.serve(name, Arc::clone(&certificate));
                self.core.keep_certificate(name, stored);
                Loaded::Certificate(certificate)
            }
            Err(error) => Loaded::Unreadable(error),
        })
    }

    /// Whether another node has stored a certificate that can be served, which is loaded then.
    pub(super) async fn has_arrived(&self, name: &DomainName) -> Result<bool, StoreError> {
        let loaded = self.load(name).await?;
        Ok(matches!(loaded, Loaded::Certificate(certificate) if certificate.not_after > self.core.clock.now()))
    }

    /// Notes that the certificate of a record is missing from the store or cannot be read: a new one is
    /// ordered. Returns the record after that.
    async fn note_lost(&self, record: DomainRecord) -> Result<DomainRecord, StoreError> {
        let name = &record.name;
        // Read again: it is stored in one step with its record, perhaps between our two reads.
        let why = match self.load(name).await? {
            Loaded::Certificate(_) => return Ok(record),
            Loaded::Missing => "it is not there".to_owned(),
            Loaded::Unreadable(error) => error,
        };
        let orders = self.core.settings().issue != Issue::Off;
        let mut noted = false;
        let changed = self.core.change(name, None, |draft| {
            noted = draft.record.ssl.certificate == record.ssl.certificate;
            if !noted {
                return Edit::<StoreError>::Nothing;
            }
            draft.apply(SslEvent::Lost { why: why.clone() });
            if orders {
                draft.apply(SslEvent::Wanted);
            }
            draft.log("certificate_lost", Some(why.clone()));
            Edit::Store
        });
        let changed = changed.await?;
        if noted {
            self.core.metrics.lost.inc();
            tracing::error!(
                domain = %name, error = why,
                "stored certificate unusable; ordering a new one (check the disk, and whether the store was edited by hand)"
            );
        }
        Ok(changed.unwrap_or(record))
    }

    /// Whether an order runs, is queued or is due now, or might be due after a DNS check.
    fn may_come_now(&self, record: &DomainRecord) -> bool {
        let now = self.core.clock.now();
        // The expiry of a certificate may not be stored yet.
        let ssl = record.ssl.apply(SslEvent::Tick, record.intent(), now);
        let due = match ssl.next_attempt {
            Some(at) => at <= now,
            None => ssl.reason.is_in_progress() || ssl.reason.may_be_requested(),
        };
        let in_progress = self.is_in_progress(&record.name);
        record.is_wanted() && (in_progress || due || rules::check_only(record, Priority::Handshake, now))
    }

    /// A handshake came for a name that did not point here at its last check, and was served what is
    /// stored: perhaps it points here again.
    async fn note_handshake(self: &Arc<Self>, name: DomainName) {
        let entry = self.core.registry.get(name.as_str());
        let is_moved = entry.is_some_and(|e| e.reason == Reason::Moved);
        if !is_moved || self.is_in_progress(&name) {
            return;
        }
        match self.core.store.domain(&name).await {
            Ok(Some(record)) if rules::check_only(&record, Priority::Handshake, self.core.clock.now()) => {
                self.take_up(name, Priority::Handshake);
            }
            Ok(_) => {}
            Err(error) => self
                .core
                .store_failed("read domains for handshakes", Some(&name), &error),
        }
    }
}
