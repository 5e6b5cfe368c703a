//! Handshakes that wait for a certificate: loaded where one is stored, awaited where its order
//! runs or is due now, refused at once everywhere else. A handshake only asks: whether an order
//! is made is decided by the schedule.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::work::Waiter;
use super::{Control, Priority, rules};
use crate::cert::cache::{CertificateAnswer, CertificateRequest};
use crate::domain::ssl::SslEvent;
use crate::domain::{DomainName, DomainRecord};

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
            return self.seen_astray(name).await;
        }
        let answer = match self.inner.certificates.cached(&name, self.inner.clock.now()) {
            // Another handshake's request has loaded it meanwhile.
            Some(certificate) => Ok(Some(certificate)),
            None => self.load(&name).await,
        };
        let answer = match answer {
            Ok(Some(certificate)) => CertificateAnswer::Ready(certificate),
            Ok(None) => match self.inner.store.domain(&name).await {
                Ok(Some(record)) if self.may_come_now(&record) => {
                    let waiter = Waiter { reply, joined: false };
                    return self.attend(name, Priority::Handshake, Some(waiter));
                }
                // Its order may have ended between the two looks.
                Ok(_) => self
                    .inner
                    .certificates
                    .cached(&name, self.inner.clock.now())
                    .map_or(CertificateAnswer::None, CertificateAnswer::Ready),
                Err(error) => {
                    self.store_fails("read domains for handshakes", Some(&name), &error);
                    CertificateAnswer::Busy
                }
            },
            Err(error) => {
                tracing::error!(domain = %name, %error, "a certificate cannot be loaded for a handshake");
                CertificateAnswer::Busy
            }
        };
        // A handshake that has given up is not told.
        drop(reply.send(answer));
    }

    /// Loads a certificate from the store into memory. `None`: none is stored, or it has expired.
    pub(super) async fn load(
        &self,
        name: &DomainName,
    ) -> Result<Option<Arc<crate::cert::certificate::Certificate>>, String> {
        let stored = self.inner.store.certificate(name).await.map_err(|e| e.to_string())?;
        let Some(stored) = stored else { return Ok(None) };
        let certificate = Arc::new(self.open_certificate(name, &stored)?);
        if certificate.not_after <= self.inner.clock.now() {
            return Ok(None);
        }
        self.inner.certificates.put(name.clone(), Arc::clone(&certificate));
        Ok(Some(certificate))
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
        let ssl = record.ssl.apply(SslEvent::Tick, record.wish(), now);
        let due = match ssl.next_attempt {
            Some(at) => at <= now,
            None => ssl.reason.is_in_progress() || ssl.reason.may_be_requested(),
        };
        record.is_wanted() && (in_hand || due || rules::looks_only(record, Priority::Handshake, now))
    }
}
