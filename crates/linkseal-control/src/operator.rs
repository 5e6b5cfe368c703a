//! What people and the platform's back end do with domains, through the admin API. Every change
//! leaves an audit line: who, from where, what, before and after.

use std::sync::PoisonError;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_base::fault::Fault;
use linkseal_dns::DnsReport;
use linkseal_domain::dns::DnsVerdict;
use linkseal_domain::record::Origin;
use linkseal_domain::ssl::{Intent, Reason, SslEvent, SslStatus};
use linkseal_domain::{DomainName, DomainRecord, reach};
use linkseal_store::{AuditEntry, BudgetAnswer, BudgetTake, Creation, StoreError};
use serde_json::{Value, json};

use super::change::line;
use super::input::{Actor, MAX_LIST, NewDomain, OperatorError, Patch, Registered, Reissue};
use super::lines::Rank;
use super::rules::{self, Gate};
use super::work::note_preflight;
use super::{ConfiguredCa, Control, Edit, Issue, Limit, Priority};

/// Reads again at most so often when other nodes change the same domain at the same time.
const CONFLICTS: usize = 16;
/// How often a new certificate may be ordered by hand for one name: what CAs allow for one exact set
/// of names (Let's Encrypt: 5 in 7 days), also where an order that names what it replaces is exempt.
pub const REISSUES: Limit = Limit {
    count: 5,
    per: Duration::from_secs(7 * 86_400),
};
/// And no two within so long: the first is still on its way.
const REISSUE_PAUSE: Limit = Limit {
    count: 1,
    per: Duration::from_secs(60),
};
/// How a timeline tells that the domain has become another tenant's. What stands before is shown to
/// those who see all.
pub const MOVED: &str = "tenant_changed";
/// Why a purged domain's certificate is revoked (RFC 5280 §5.3.1).
const CESSATION_OF_OPERATION: u8 = 5;

impl Control {
    /// Registers a domain, brings a retired one back, or finds it unchanged. Anyone who is kept to one
    /// tenant registers for that one, and what its owner wants.
    pub async fn register(&self, mut new: NewDomain, actor: &Actor) -> Result<Registered, OperatorError> {
        new.keep_to(actor.tenant.as_deref())?;
        new.check()?;
        self.must_have_room(&new.name, actor).await?;
        self.must_own(&new.name, actor).await?;
        let _room = self.takes_room(&new.name, actor).await?;
        for _ in 0..CONFLICTS {
            match self.create_or_find(&new, actor).await {
                // There when it was to be added, and purged when it was to be changed.
                Err(OperatorError::NotFound) => {}
                done => return done,
            }
        }
        Err(StoreError::Conflict.into())
    }

    async fn create_or_find(&self, new: &NewDomain, actor: &Actor) -> Result<Registered, OperatorError> {
        let now = self.inner.clock.now();
        let mut record = DomainRecord::new(new.name.clone(), new.tenant.clone(), Origin::Registered, now);
        record.sending_domain.clone_from(&new.sending_domain);
        record.records = new.records.clone().unwrap_or_default();
        if self.inner.settings.load().issue == Issue::OnRegister {
            record.apply(SslEvent::Wanted, now);
        }
        let audit = self.audit_line(actor, "create", &new.name, Value::Null, owner_view(&record));
        let timeline = vec![line(
            now,
            "registered",
            record.ssl.reason,
            Some(format!("by {}", actor.who)),
        )];
        let creation = Creation {
            record,
            timeline,
            audit: Some(audit),
        };
        let control = self.clone();
        let created = self.seen_through(async move {
            let record = control.inner.store.create(creation).await?;
            control.inner.newcomers.add(&record, now);
            control.publish(&record);
            Ok(record)
        });
        match created.await {
            Ok(record) => Ok(Registered { record, created: true }),
            Err(StoreError::Exists) => self.register_again(new, actor).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn register_again(&self, new: &NewDomain, actor: &Actor) -> Result<Registered, OperatorError> {
        let record = self
            .change_by(actor, &new.name, |draft| {
                let before = draft.record.clone();
                if new.tenant.as_ref().is_some_and(|t| *t != before.tenant) {
                    return Edit::Refuse(match actor.tenant {
                        Some(_) => OperatorError::NotForYou,
                        None => OperatorError::OtherTenant,
                    });
                }
                if let Some(sending) = &new.sending_domain {
                    draft.record.sending_domain = Some(sending.clone());
                }
                if let Some(records) = &new.records {
                    draft.record.records.clone_from(records);
                }
                if matches!(before.origin, Origin::Asked | Origin::Cname) {
                    draft.record.origin = Origin::Registered;
                }
                let back = draft.record.retired.take().is_some();
                if back || before.ssl.reason == Reason::Denied {
                    self.resume(draft);
                    draft.tells("registered", Some(format!("again, by {}", actor.who)));
                }
                self.audited(draft, &before, "create", actor)
            })
            .await?
            .ok_or(OperatorError::NotFound)?;
        Ok(Registered { record, created: false })
    }

    /// Changes what the platform decides about a domain.
    pub async fn patch(&self, name: &DomainName, patch: Patch, actor: &Actor) -> Result<DomainRecord, OperatorError> {
        patch.check()?;
        let patch = patch.trimmed();
        let mut was = None;
        let changed = self.change_by(actor, name, |draft| {
            let before = draft.record.clone();
            was = Some(before.ssl.clone());
            let now = draft.now();
            let record = &mut draft.record;
            let mut moved = false;
            if let Some(tenant) = patch.tenant.clone().filter(|t| *t != record.tenant) {
                record.move_to(tenant, now);
                moved = true;
            }
            if patch.former_tenants.is_none() && record.former_tenants.len() > MAX_LIST {
                return Edit::Refuse(OperatorError::FormerTenants);
            }
            take(&mut record.former_tenants, &patch.former_tenants);
            take(&mut record.sending_domain, &patch.sending_domain);
            take(&mut record.fallback_url, &patch.fallback_url);
            take(&mut record.app_links, &patch.app_links);
            take(&mut record.records, &patch.records);
            take(&mut record.http_while_pending, &patch.http_while_pending);
            take(&mut record.hsts, &patch.hsts);
            let (was_paused, by) = (record.paused, format!("by {}", actor.who));
            if moved {
                self.inner.handshake_failures.forget(name);
                draft.tells(MOVED, Some(by.clone()));
            }
            match (patch.paused, was_paused) {
                (Some(true), None) => {
                    draft.record.paused = Some(now);
                    draft.happens(SslEvent::SetAside).tells("paused", Some(by));
                }
                (Some(false), Some(_)) => {
                    draft.record.paused = None;
                    self.resume(draft);
                    draft.tells("resumed", Some(by));
                }
                _ => {}
            }
            self.audited(draft, &before, "update", actor)
        });
        let record = changed.await?.ok_or(OperatorError::NotFound)?;
        if let Some(was) = was.filter(|_| !record.is_wanted()) {
            self.gives_turn_back(name, &was).await;
        }
        Ok(record)
    }

    /// What is set aside or forgotten leaves its turn in a line to others.
    async fn gives_turn_back(&self, name: &DomainName, was: &SslStatus) {
        if let Err(error) = self.leave_line(name, was).await {
            // It is done all the same; others wait a little longer.
            tracing::debug!(domain = %name, %error, "a turn in the line for a limit could not be given back");
        }
    }

    /// Retires a domain: no more orders; served while its certificate lives.
    pub async fn retire(&self, name: &DomainName, actor: &Actor) -> Result<(), OperatorError> {
        let mut was = None;
        let changed = self.change_by(actor, name, |draft| {
            if self.is_own_name(&draft.record.name) {
                return Edit::Refuse(OperatorError::OwnName);
            }
            let before = draft.record.clone();
            was = Some(before.ssl.clone());
            let now = draft.now();
            draft.record.retired.get_or_insert(now);
            draft.happens(SslEvent::SetAside);
            if before.retired.is_none() {
                draft.tells("retired", Some(format!("by {}", actor.who)));
            }
            self.audited(draft, &before, "retire", actor)
        });
        changed.await?.ok_or(OperatorError::NotFound)?;
        if let Some(was) = was {
            self.gives_turn_back(name, &was).await;
        }
        Ok(())
    }

    /// Forgets the domain that is stored under this name: one whose name is none is known by what
    /// was stored alone.
    pub async fn purge_stored(&self, stored: &str, actor: &Actor) -> Result<(), OperatorError> {
        let name = DomainName::parse(stored);
        let known = match &name {
            Ok(name) => self.purge(name, actor).await,
            Err(_) => Err(OperatorError::NotFound),
        };
        if !matches!(known, Err(OperatorError::NotFound)) || actor.tenant.is_some() {
            return known;
        }
        let before = json!({"unreadable": stored});
        let now = self.inner.clock.now();
        let audit = audit_entry(actor, now, "purge", stored.to_owned(), before, Value::Null);
        match (self.inner.store.purge_unreadable(stored, audit).await, name) {
            (Err(StoreError::NotFound), Err(error)) => Err(error.into()),
            (Err(StoreError::NotFound | StoreError::Conflict), Ok(_)) => Err(OperatorError::NotFound),
            (gone, _) => Ok(gone?),
        }
    }

    /// Forgets a domain, its keys and its certificate, now.
    pub async fn purge(&self, name: &DomainName, actor: &Actor) -> Result<(), OperatorError> {
        let _turn = self.inner.changing.enter(name.clone(), Rank::of(actor)).await;
        // Other nodes may change it meanwhile; what is wanted is that it goes.
        for _ in 0..CONFLICTS {
            let gone = match self.inner.store.domain(name).await {
                Ok(Some(_)) if self.is_own_name(name) => return Err(OperatorError::OwnName),
                Ok(Some(record)) => {
                    must_be_theirs(&record, actor)?;
                    self.forget(&record, actor).await
                }
                Ok(None) => return Err(OperatorError::NotFound),
                Err(StoreError::Unreadable { why, .. }) => self.forget_unreadable(name, &why, actor).await,
                Err(error) => Err(error),
            };
            match gone {
                Err(StoreError::Conflict) => {}
                gone => return Ok(gone?),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Forgets a domain whose record cannot be read, by its name alone. The edge's own name is
    /// registered again at once.
    pub(super) async fn forget_unreadable(
        &self,
        name: &DomainName,
        why: &str,
        actor: &Actor,
    ) -> Result<(), StoreError> {
        let audit = self.audit_line(actor, "purge", name, json!({"unreadable": why}), Value::Null);
        self.purge_and_forget(name, None, audit).await?;
        if self.is_own_name(name) {
            self.own_name(name).await?;
        }
        Ok(())
    }

    /// Revokes a domain's certificate at the CA that issued it, and then forgets the domain; what is
    /// not revoked is not forgotten, since the key is needed to try again.
    pub async fn revoke_and_purge(&self, name: &DomainName, actor: &Actor) -> Result<(), OperatorError> {
        if self.is_own_name(name) {
            return Err(OperatorError::OwnName);
        }
        let record = self.inner.store.domain(name).await?.ok_or(OperatorError::NotFound)?;
        must_be_theirs(&record, actor)?;
        let mut revoked = self.revoke(&record, actor).await?;
        let (created, mut record) = (record.created, record);
        // The CA took its time: what was changed meanwhile is looked at again, and a certificate that
        // came meanwhile is revoked too. One that was added since under the same name stays.
        let turn = || self.inner.changing.enter(name.clone(), Rank::of(actor));
        let mut own = Some(turn().await);
        for _ in 0..CONFLICTS {
            let failed = match self.forget(&record, actor).await {
                Ok(()) => return Ok(()),
                // Someone else has forgotten it meanwhile.
                Err(StoreError::NotFound) if revoked => return Ok(()),
                Err(StoreError::Conflict) => self.inner.store.domain(name).await,
                Err(error) => Err(error),
            };
            let only = |error| match revoked {
                true => OperatorError::RevokedOnly(error),
                false => error.into(),
            };
            let now = failed.map_err(only)?.filter(|now| now.created == created);
            let now = now.ok_or(StoreError::Conflict).map_err(only)?;
            if serial(&now) != serial(&record) {
                // Others need not wait for the CA.
                drop(own.take());
                revoked |= self.revoke(&now, actor).await?;
                own = Some(turn().await);
            }
            record = now;
        }
        Err(StoreError::Conflict.into())
    }

    /// Revokes the certificate held. Tells whether there was one to revoke.
    async fn revoke(&self, record: &DomainRecord, actor: &Actor) -> Result<bool, OperatorError> {
        let (name, now) = (&record.name, self.inner.clock.now());
        let Some(held) = record.ssl.certificate.as_ref().filter(|c| c.not_after > now) else {
            return Ok(false);
        };
        let Some(stored) = self.inner.store.certificate(name).await? else {
            return Ok(false);
        };
        let tools = self.tools();
        let Some(authority) = tools.authorities.find(&held.ca) else {
            let why = format!("its CA, {}, is not configured any more", held.ca);
            return Err(OperatorError::NotRevoked(why));
        };
        let revoked = authority.issuer.revoke(&stored.chain_pem, CESSATION_OF_OPERATION).await;
        revoked.map_err(|failure| OperatorError::NotRevoked(failure.error.detail))?;
        let before = json!({"serial": held.serial, "ca": held.ca, "not_after": held.not_after});
        let after = json!({"revoked": "cessationOfOperation"});
        let audit = self.audit_line(actor, "revoke", name, before, after);
        self.inner
            .store
            .append_audit(audit)
            .await
            .map_err(OperatorError::RevokedOnly)?;
        Ok(true)
    }

    /// Forgets a domain that no one has registered and that points here no longer.
    pub(super) async fn forget_unregistered(&self, record: &DomainRecord) -> Result<(), StoreError> {
        match self.forget(record, &Actor::own()).await {
            Ok(()) => {
                tracing::info!(domain = %record.name, reason = record.ssl.reason.as_str(), "a name admitted at a handshake is forgotten");
                Ok(())
            }
            // Registered, or changed otherwise, since it was read: that goes over it.
            Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn forget(&self, record: &DomainRecord, actor: &Actor) -> Result<(), StoreError> {
        let name = &record.name;
        let audit = self.audit_line(actor, "purge", name, owner_view(record), Value::Null);
        self.purge_and_forget(name, Some(record.version), audit).await?;
        self.gives_turn_back(name, &record.ssl).await;
        Ok(())
    }

    /// `version`: of the record that is meant. `None`: whatever there is.
    async fn purge_and_forget(
        &self,
        name: &DomainName,
        version: Option<u64>,
        audit: AuditEntry,
    ) -> Result<(), StoreError> {
        let (control, name) = (self.clone(), name.clone());
        self.seen_through(async move {
            let gone = control.inner.store.purge(&name, version, audit).await?;
            control.is_forgotten(&name, gone);
            Ok(())
        })
        .await
    }

    /// Lets all that is in memory of a domain go, as it was up to this version.
    fn is_forgotten(&self, name: &DomainName, version: u64) {
        self.inner.registry.remove(name, version);
        self.inner.certificates.remove(name);
        self.inner.redirects.forget_all();
        self.inner.cname.forget(name);
        self.inner.handshake_failures.forget(name);
        let mut own = self.inner.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.remove(name.as_str());
    }

    /// Looks at everything that was asked for, and orders when it is right. A healthy certificate
    /// is not replaced, and a time the CA has set is kept.
    pub async fn verify(&self, name: &DomainName, actor: &Actor) -> Result<(DomainRecord, DnsReport), OperatorError> {
        let record = self.inner.store.domain(name).await?.ok_or(OperatorError::NotFound)?;
        let place = self.report_place(&record, actor).await?;
        let mut report = self.tools().checker.report(&record).await;
        let through = match &report.finding.verdict {
            DnsVerdict::Proxied { provider } => Some(provider.clone()),
            _ => None,
        };
        let tried = if report.https || through.is_some() {
            self.preflight(&record, through.as_deref(), None, &mut Priority::Verify.into())
                .await?
        } else {
            None
        };
        drop(place);
        if let Some(provider) = through.filter(|_| tried.as_ref().is_some_and(|t| t.miss.is_none())) {
            report.works_through(&provider);
        }
        let issue = self.inner.settings.load().issue;
        // What our own resolvers could not find out says nothing about the domain.
        let cannot_look = report.finding.fault == Some(Fault::Ours);
        if cannot_look {
            self.complain_of_resolvers(name, &report.finding.verdict);
        }
        let ours = cannot_look || self.doubts_look(&record, report.https);
        let frozen = self.frozen().await?.map(|_| self.freezes());
        let record = self
            .change_by(actor, name, |draft| {
                let before = draft.record.clone();
                let told = note_preflight(draft, tried.clone());
                if ours {
                    draft.happens(SslEvent::DnsCheckFailed);
                } else {
                    self.note_dns_by_hand(draft, &report.finding.verdict, report.verified);
                    draft.record.dns.checked = Some(report.checked);
                }
                if told.is_some() {
                    draft.tells("preflight", told);
                }
                // Where we could not look, it is looked at again without being asked.
                let not_known = cannot_look || (ours && draft.record.ssl.reason == Reason::NeverRequested);
                if (report.https || not_known) && draft.record.is_wanted() && issue != Issue::Off {
                    match &frozen {
                        Some(frozen) if rules::needs_order(&draft.record.ssl, draft.now()) => {
                            Self::note_freeze(draft, frozen);
                        }
                        _ => drop(draft.happens(SslEvent::Wanted)),
                    }
                }
                draft.tells("verify", Some(format!("by {}", actor.who)));
                if actor.is_guest() {
                    // Anybody who has the link; the timeline says it.
                    return Edit::Store;
                }
                self.audited(draft, &before, "verify", actor)
            })
            .await?
            .ok_or(OperatorError::NotFound)?;
        if record.ssl.next_attempt.is_some_and(|at| at <= self.inner.clock.now()) {
            self.attend(name.clone(), Priority::Verify, None);
        }
        Ok((record, report))
    }

    /// Orders a new certificate whatever is held, as far as the CA's limits allow.
    pub async fn reissue(&self, name: &DomainName, actor: &Actor) -> Result<Reissue, OperatorError> {
        if self.inner.settings.load().issue == Issue::Off {
            return Err(OperatorError::IssueOff);
        }
        if self.frozen().await?.is_some() {
            return Err(OperatorError::Frozen);
        }
        let record = self.inner.store.domain(name).await?.ok_or(OperatorError::NotFound)?;
        refuse_set_aside(&record)?;
        if let Some(until) = self.reissue_not_before(&record).await? {
            return Ok(Reissue::NotBefore(until));
        }
        if let Some(until) = self.takes_reissue(name).await? {
            return Ok(Reissue::NotBefore(until));
        }
        let changed = self.change_by(actor, name, |draft| {
            if let Err(error) = refuse_set_aside(&draft.record) {
                return Edit::Refuse(error);
            }
            let before = draft.record.clone();
            draft
                .happens(SslEvent::Reissue)
                .tells("reissue", Some(format!("by {}", actor.who)));
            self.audited(draft, &before, "reissue", actor)
        });
        let record = changed.await?.ok_or(OperatorError::NotFound)?;
        self.attend(name.clone(), Priority::Verify, None);
        Ok(Reissue::Accepted(Box::new(record)))
    }

    /// Takes one of the orders by hand that a name may have. `Some`: when the next may be.
    async fn takes_reissue(&self, name: &DomainName) -> Result<Option<Timestamp>, StoreError> {
        let take = |key: &str, limit: Limit| BudgetTake {
            key: format!("{key}/{name}"),
            size: limit.count,
            per: limit.per,
            amount: 1,
            small_tenant: false,
        };
        let takes = [take("reissue", REISSUES), take("reissue_pause", REISSUE_PAUSE)];
        self.ask_budgets(takes.to_vec(), true).await
    }

    /// Asks whether limits have something to spare, and takes it, to be kept or not. `Some`: when they
    /// will. It stands in no line: who asks asks again, or not, or goes away at any moment.
    async fn ask_budgets(&self, takes: Vec<BudgetTake>, keep: bool) -> Result<Option<Timestamp>, StoreError> {
        let (control, now) = (self.clone(), self.inner.clock.now());
        self.seen_through(async move {
            let store = &control.inner.store;
            let (back, until) = match store.take_budgets(&takes, now).await? {
                BudgetAnswer::Exhausted { key, until } => {
                    let turn = takes.iter().filter(|take| take.key == key).map(BudgetTake::slot);
                    (turn.collect(), Some(until))
                }
                BudgetAnswer::Taken if keep => (Vec::new(), None),
                BudgetAnswer::Taken => (takes, None),
            };
            if !back.is_empty() {
                store.return_budgets(&back, now).await?;
            }
            Ok(until)
        })
        .await
    }

    /// When a new order for the domain is allowed at the first CA that allows it. `None`: now.
    async fn reissue_not_before(&self, record: &DomainRecord) -> Result<Option<Timestamp>, StoreError> {
        let tools = self.tools();
        let mut earliest: Option<Timestamp> = None;
        for authority in tools.authorities.iter() {
            let Some(until) = self.not_before(authority, record).await? else {
                return Ok(None);
            };
            earliest = Some(earliest.map_or(until, |e| e.min(until)));
        }
        Ok(earliest)
    }

    /// When one CA allows a new order for the domain. `None`: now.
    async fn not_before(
        &self,
        authority: &ConfiguredCa,
        record: &DomainRecord,
    ) -> Result<Option<Timestamp>, StoreError> {
        let now = self.inner.clock.now();
        let directory = authority.directory();
        let held = self.held_back(directory, now).await?;
        let held = held.max(self.out_until(directory, now).await?);
        let held = held.max(self.stands_still(authority, now).map(|(until, _)| until));
        let held = held.max(record.ssl.not_before.filter(|at| at.is_ahead(now, reach::NAME_LIMIT)));
        let domain = (&record.name, &record.ssl);
        let takes = match rules::gate(domain, directory, &authority.limits, held, false, now) {
            Gate::Wait(until) => return Ok(Some(until)),
            Gate::Take(takes) => self.in_its_line(takes, record).await?,
        };
        // Asked without taking: the order itself takes, when it is made.
        self.ask_budgets(takes, false).await
    }

    /// What the records of a domain look like now, and whether its challenge gets here. Nothing is
    /// stored, but the domain is given as it was found; behind a proxy, where a try may need the stand-in, the last one's result is shown.
    pub async fn dns_report(
        &self,
        name: &DomainName,
        actor: &Actor,
    ) -> Result<(DomainRecord, DnsReport), OperatorError> {
        let mut record = self.inner.store.domain(name).await?.ok_or(OperatorError::NotFound)?;
        let _place = self.report_place(&record, actor).await?;
        let mut report = self.tools().checker.report(&record).await;
        match &report.finding.verdict {
            DnsVerdict::Right => {
                let mut asked = Priority::Bulk.into();
                record.ssl.facts.preflight = self.preflight(&record, None, None, &mut asked).await?;
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

    /// Takes up a domain that was set aside, or denied: an order is planned where domains are
    /// ordered for as soon as they are registered, or where a pause had stopped one.
    fn resume(&self, draft: &mut super::Draft) {
        let was_stopped = draft.record.ssl.reason == Reason::Paused;
        draft.happens(SslEvent::Resumed);
        match self.inner.settings.load().issue {
            Issue::OnRegister => drop(draft.happens(SslEvent::Wanted)),
            Issue::OnDemand if was_stopped => drop(draft.happens(SslEvent::Wanted)),
            Issue::OnDemand | Issue::Off => {}
        }
    }

    /// Adds the audit line, and stores only where something has changed.
    pub(super) fn audited(
        &self,
        draft: &mut super::Draft,
        before: &DomainRecord,
        action: &str,
        actor: &Actor,
    ) -> Edit<OperatorError> {
        if let Err(error) = must_be_theirs(before, actor) {
            return Edit::Refuse(error);
        }
        if draft.record == *before && action == "create" {
            return Edit::Nothing;
        }
        let (before_view, after_view) = difference(owner_view(before), owner_view(&draft.record));
        let line = self.audit_line(actor, action, &before.name, before_view, after_view);
        draft.audited(line);
        Edit::Store
    }

    fn audit_line(&self, actor: &Actor, action: &str, name: &DomainName, before: Value, after: Value) -> AuditEntry {
        audit_entry(actor, self.inner.clock.now(), action, name.to_string(), before, after)
    }
}

/// A line of the audit log; the store numbers it.
pub fn audit_entry(
    actor: &Actor,
    at: Timestamp,
    action: &str,
    subject: String,
    before: Value,
    after: Value,
) -> AuditEntry {
    AuditEntry {
        id: 0,
        at,
        who: actor.who.clone(),
        from: actor.from.to_string(),
        action: action.to_owned(),
        subject,
        before: bounded(before),
        after: bounded(after),
    }
}

/// The longest value an audit line keeps, in bytes of JSON: of a longer one, its length is told.
const AUDIT_VALUE: usize = 2_048;

/// What differs of two objects.
fn difference(before: Value, after: Value) -> (Value, Value) {
    let (Value::Object(mut before), Value::Object(mut after)) = (before, after) else {
        return (Value::Null, Value::Null);
    };
    let same: Vec<String> = before
        .iter()
        .filter(|(key, value)| after.get(key.as_str()) == Some(value))
        .map(|(key, _)| key.clone())
        .collect();
    for key in &same {
        before.remove(key);
        after.remove(key);
    }
    (Value::Object(before), Value::Object(after))
}

fn bounded(value: Value) -> Value {
    let short = |value: Value| {
        let bytes = value.to_string().len();
        if bytes <= AUDIT_VALUE {
            value
        } else {
            json!({"left_out_bytes": bytes})
        }
    };
    match value {
        Value::Object(object) => object.into_iter().map(|(key, value)| (key, short(value))).collect(),
        value => short(value),
    }
}

fn serial(record: &DomainRecord) -> Option<&str> {
    record.ssl.certificate.as_ref().map(|c| c.serial.as_str())
}

fn take<T: Clone>(place: &mut T, new: &Option<T>) {
    if let Some(new) = new {
        place.clone_from(new);
    }
}

/// A domain that has become another tenant's since it was looked up is as unknown as one that was
/// another's before.
fn must_be_theirs(record: &DomainRecord, actor: &Actor) -> Result<(), OperatorError> {
    match &actor.tenant {
        Some(tenant) if *tenant != record.tenant => Err(OperatorError::NotFound),
        _ => Ok(()),
    }
}

/// Nothing is ordered for what is paused or retired.
fn refuse_set_aside(record: &DomainRecord) -> Result<(), OperatorError> {
    match record.intent() {
        Intent::Wanted => Ok(()),
        Intent::Paused => Err(OperatorError::SetAside(
            "paused",
            "resume it first: PATCH {\"paused\": false}",
        )),
        Intent::Retired => Err(OperatorError::SetAside(
            "retired",
            "bring it back first: POST /v1/domains registers it",
        )),
    }
}

/// What an operator can change, and the state it led to: what an audit line compares.
fn owner_view(record: &DomainRecord) -> Value {
    json!({
        "tenant": record.tenant,
        "former_tenants": record.former_tenants,
        "sending_domain": record.sending_domain,
        "records": record.records,
        "fallback_url": record.fallback_url,
        "app_links": record.app_links,
        "http_while_pending": record.http_while_pending,
        "hsts": record.hsts,
        "paused": record.paused,
        "retired": record.retired,
        "share_generation": record.share_generation,
        "state": record.ssl.state(),
        "reason": record.ssl.reason,
        "next_attempt": record.ssl.next_attempt,
    })
}
