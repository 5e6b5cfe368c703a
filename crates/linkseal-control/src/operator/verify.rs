//! Checks by hand: "verify", and the report on a domain's DNS.

use std::time::Duration;

use linkseal_base::fault::Fault;
use linkseal_dns::DnsReport;
use linkseal_domain::dns::DnsVerdict;
use linkseal_domain::ssl::{Preflight, Reason, SslEvent};
use linkseal_domain::{DomainName, DomainRecord};

use super::{Operator, OperatorError};
use crate::checks::dns;
use crate::checks::preflight::note_preflight;
use crate::core::freeze::note_freeze;
use crate::core::{Actor, Edit, Issue, Priority};
use crate::fairness::lanes::{Owner, Place};
use crate::rules;

/// How long a report waits for a place; its ten seconds come on top of that.
const REPORT_WAIT: Duration = Duration::from_secs(5);

impl Operator {
    /// Checks everything that was requested from the customer, and orders a certificate if it is right.
    /// A healthy certificate is not replaced, and a time that the CA has set is kept.
    pub async fn verify(&self, name: &DomainName, actor: &Actor) -> Result<(DomainRecord, DnsReport), OperatorError> {
        let record = self.core.store.domain(name).await?.ok_or(OperatorError::NotFound)?;
        let place = self.report_place(&record, actor).await?;
        let mut report = self.core.checker().report(&record).await;
        let proxy = match &report.finding.verdict {
            DnsVerdict::Proxied { provider } => Some(provider.clone()),
            _ => None,
        };
        let tried = if report.https || proxy.is_some() {
            let mut urgency = Priority::Verify.into();
            let preflights = &self.schedule.checks.preflights;
            preflights.run(&record, proxy.as_deref(), None, &mut urgency).await?
        } else {
            None
        };
        drop(place);
        if let Some(provider) = proxy.filter(|_| tried.as_ref().is_some_and(|t| t.miss.is_none())) {
            report.works_through(&provider);
        }
        let record = self.store_verified(&record, &report, tried, actor).await?;
        if record.ssl.next_attempt.is_some_and(|at| at <= self.core.clock.now()) {
            self.schedule.take_up(name.clone(), Priority::Verify);
        }
        Ok((record, report))
    }

    /// Stores what a "verify" has found, and plans the order.
    async fn store_verified(
        &self,
        record: &DomainRecord,
        report: &DnsReport,
        tried: Option<Preflight>,
        actor: &Actor,
    ) -> Result<DomainRecord, OperatorError> {
        let name = &record.name;
        let issue = self.core.settings().issue;
        // A failure of our own resolvers says nothing about the domain.
        let resolvers_failed = report.finding.fault == Some(Fault::Ours);
        if resolvers_failed {
            self.schedule.checks.resolvers_failed(name, &report.finding.verdict);
        }
        let suppressed = resolvers_failed || self.schedule.checks.mass_failure.suppresses_check(record, report.https);
        let frozen = self.core.frozen().await?.map(|_| self.core.freeze_event());
        let changed = self.core.change_by(actor, name, |draft| {
            let before = draft.record.clone();
            let preflight = note_preflight(draft, tried.clone());
            if suppressed {
                draft.apply(SslEvent::DnsCheckFailed);
            } else {
                dns::note_dns_by_hand(&self.core, draft, &report.finding.verdict, report.verified);
                draft.record.dns.checked = Some(report.checked);
            }
            if preflight.is_some() {
                draft.log("preflight", preflight);
            }
            // What could not be checked now is checked again by the schedule.
            let unknown = resolvers_failed || (suppressed && draft.record.ssl.reason == Reason::NeverRequested);
            if (report.https || unknown) && draft.record.is_wanted() && issue != Issue::Off {
                match &frozen {
                    Some(frozen) if rules::needs_order(&draft.record.ssl, draft.now()) => note_freeze(draft, frozen),
                    _ => drop(draft.apply(SslEvent::Wanted)),
                }
            }
            draft.log("verify", Some(format!("by {}", actor.who)));
            if actor.is_guest() {
                // Anyone may have the link: the timeline entry is enough.
                return Edit::Store;
            }
            self.audited(draft, &before, "verify", actor)
        });
        changed.await?.ok_or(OperatorError::NotFound)
    }

    /// The current state of a domain's DNS records, and whether its challenge gets here. Nothing is stored,
    /// but the domain is returned as it was found. Behind a proxy, where a pre-flight may need the
    /// stand-in certificate, the result of the last one is shown.
    pub async fn dns_report(
        &self,
        name: &DomainName,
        actor: &Actor,
    ) -> Result<(DomainRecord, DnsReport), OperatorError> {
        let mut record = self.core.store.domain(name).await?.ok_or(OperatorError::NotFound)?;
        let _place = self.report_place(&record, actor).await?;
        let mut report = self.core.checker().report(&record).await;
        match &report.finding.verdict {
            DnsVerdict::Right => {
                let mut urgency = Priority::Bulk.into();
                let preflights = &self.schedule.checks.preflights;
                record.ssl.facts.preflight = preflights.run(&record, None, None, &mut urgency).await?;
            }
            DnsVerdict::Proxied { provider } if record.ssl.facts.arrives_through() == Some(provider.as_str()) => {
                let provider = provider.clone();
                report.works_through(&provider);
            }
            DnsVerdict::Proxied { .. } => {}
            _ => record.ssl.facts.preflight = None,
        }
        Ok((self.as_found(record, &report), report))
    }

    /// The domain as a report found it, so that its state and the report agree. Nothing is stored.
    pub fn as_found(&self, record: DomainRecord, report: &DnsReport) -> DomainRecord {
        dns::as_found(&self.core, record, report)
    }

    /// A place for a report that the actor waits for.
    async fn report_place(&self, record: &DomainRecord, actor: &Actor) -> Result<Place, OperatorError> {
        let mut owners = self.schedule.fairness.owners(record);
        owners.push(Owner::Token(actor.who.as_str().into()));
        let place = self.schedule.checks.places.enter_for_report(owners, REPORT_WAIT);
        place.await.ok_or(OperatorError::Busy)
    }
}
