//! Handshakes that wait for a certificate: loaded where one is stored, awaited where its order
//! runs or is due now, refused at once everywhere else. A handshake only asks: whether an order
//! is made is decided by the schedule.

use std::sync::Arc;

use linkseal_domain::cert::cache::{CertificateAnswer, CertificateRequest};
use linkseal_domain::cert::certificate::Certificate;
use linkseal_domain::ssl::SslEvent;
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_store::StoreError;
use tokio::sync::{mpsc, oneshot};

use super::work::Waiter;
use super::{Control, Edit, Inner, Issue, Priority, rules};

/// What the store has of a certificate.
enum Loaded {
    /// It, expired or not.
    Certificate(Arc<Certificate>),
    /// None.
    Missing,
    /// One that is damaged, for this reason.
    Unreadable(String),
}

/// What a handshake can be answered with.
enum Found {
    /// This, expired only where nothing else will come now.
    Held(Arc<Certificate>),
    /// Its order runs or is due now.
    MayCome,
    /// Nothing.
    Nothing,
}

impl Control {
    /// Answers requests for ever. The channel bounds how many wait to be looked at.
    pub(super) async fn answer_handshakes(self, mut requests: mpsc::Receiver<CertificateRequest>) {
        while let Some(request) = requests.recv().await {
            let Ok(permit) = Arc::clone(&self.inner.loads).acquire_owned().await else {
                return;
            };
            let control = self.clone();
            self.inner.tasks.spawn(async move {
                control.answer(request).await;
                drop(permit);
            });
        }
    }

    async fn answer(&self, request: CertificateRequest) {
        let CertificateRequest { name, reply } = request;
        if reply.is_closed() {
            return self.note_handshake(name).await;
        }
        // Another handshake's request may have loaded it meanwhile.
        let cached = self.inner.certificates.cached(&name, self.inner.clock.now());
        let answer = match cached {
            Some(certificate) => CertificateAnswer::Ready(certificate),
            None => match self.look_for(&name).await {
                Ok(Found::Held(certificate)) => CertificateAnswer::Ready(certificate),
                Ok(Found::MayCome) => {
                    let waiter = Waiter { reply, joined: false };
                    return self.attend(name, Priority::Handshake, Some(waiter));
                }
                Ok(Found::Nothing) => CertificateAnswer::None,
                Err(error) => {
                    self.store_fails("read certificates for handshakes", Some(&name), &error);
                    let held = self.inner.certificates.held(&name);
                    held.map_or(CertificateAnswer::Busy, CertificateAnswer::Ready)
                }
            },
        };
        // A handshake that has given up is not told.
        drop(reply.send(answer));
    }

    /// Looks in the store for what a handshake can be answered with.
    async fn look_for(&self, name: &DomainName) -> Result<Found, StoreError> {
        let loaded = self.load(name).await?;
        if let Loaded::Certificate(certificate) = &loaded
            && certificate.not_after > self.inner.clock.now()
        {
            return Ok(Found::Held(Arc::clone(certificate)));
        }
        let record = self.inner.store.domain(name).await?;
        if let Some(mut record) = record {
            if !matches!(loaded, Loaded::Certificate(_)) && record.ssl.holds(self.inner.clock.now()) {
                record = self.lost(record).await?;
            }
            if self.may_come_now(&record) {
                return Ok(Found::MayCome);
            }
        }
        // Its order may have ended between the two looks. An expired one is better than none.
        let held = self.inner.certificates.held(name);
        Ok(held.map_or(Found::Nothing, Found::Held))
    }

    /// Loads a certificate from the store into memory, expired or not.
    async fn load(&self, name: &DomainName) -> Result<Loaded, StoreError> {
        let Some(stored) = self.inner.store.certificate(name).await? else {
            return Ok(Loaded::Missing);
        };
        Ok(match self.open_certificate(name, &stored) {
            Ok(certificate) => {
                let certificate = Arc::new(certificate);
                self.serve(name, Arc::clone(&certificate));
                Loaded::Certificate(certificate)
            }
            Err(why) => Loaded::Unreadable(why),
        })
    }

    /// Lets a certificate be served from memory, unless its domain was forgotten since it was read.
    pub(super) fn serve(&self, name: &DomainName, certificate: Arc<Certificate>) {
        let Inner {
            certificates, registry, ..
        } = &*self.inner;
        certificates.put(name.clone(), certificate);
        // In the other order than a purge, which takes the certificate out last.
        if registry.is_loaded() && registry.get(name.as_str()).is_none() {
            certificates.remove(name);
        }
    }

    /// Notes that the certificate which a record tells of is not in the store, or cannot be read: the
    /// domain holds none, and a new one is ordered. Returns the record as it is then.
    async fn lost(&self, record: DomainRecord) -> Result<DomainRecord, StoreError> {
        let name = &record.name;
        // Looked at again: it was stored in one step with its record, perhaps between the two reads.
        let why = match self.load(name).await? {
            Loaded::Certificate(_) => return Ok(record),
            Loaded::Missing => "it is not there".to_owned(),
            Loaded::Unreadable(why) => why,
        };
        let orders = self.inner.settings.load().issue != Issue::Off;
        let mut noted = false;
        let changed = self.change(name, None, |draft| {
            noted = draft.record.ssl.certificate == record.ssl.certificate;
            if !noted {
                return Edit::<StoreError>::Nothing;
            }
            draft.happens(SslEvent::Lost { why: why.clone() });
            if orders {
                draft.happens(SslEvent::Wanted);
            }
            draft.tells("certificate_lost", Some(why.clone()));
            Edit::Store
        });
        let changed = changed.await?;
        if noted {
            self.inner.metrics.lost.inc();
            tracing::error!(domain = %name, why, "the domain's certificate cannot be read from the store: a new one is ordered; look at the disk, and at what was changed in the store by hand");
        }
        Ok(changed.unwrap_or(record))
    }

    /// Answers a handshake for which the name's work at hand came too early: the schedule is asked
    /// once more, as if it had come now.
    pub(super) fn look_again(&self, name: DomainName, reply: oneshot::Sender<CertificateAnswer>) {
        let control = self.clone();
        self.inner
            .tasks
            .spawn(async move { control.answer(CertificateRequest { name, reply }).await });
    }

    /// Whether an order runs, is queued, or is due now, or might be once DNS was looked at again.
    fn may_come_now(&self, record: &DomainRecord) -> bool {
        let now = self.inner.clock.now();
        let in_hand = self.inner.in_hand.contains_key(&record.name);
        // A certificate that has just run out may not be noted as such yet.
        let ssl = record.ssl.apply(SslEvent::Tick, record.intent(), now);
        let due = match ssl.next_attempt {
            Some(at) => at <= now,
            None => ssl.reason.is_in_progress() || ssl.reason.may_be_requested(),
        };
        record.is_wanted() && (in_hand || due || rules::looks_only(record, Priority::Handshake, now))
    }
}
