//! The SSL state of a domain: what is kept of it, and what can happen to it.
//!
//! [`SslStatus::apply`] changes it. What the control plane does, and when, follows from the
//! status alone, so a restart changes nothing.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::DnsVerdict;
use super::stored;

/// What an owner sees at a glance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// An unexpired certificate is held and served.
    Issued,
    /// None held; an order runs, is queued, or a next try is scheduled.
    Pending,
    /// None held and no order on its way.
    Unknown,
}

impl State {
    /// All states, in the order people read them.
    pub const ALL: [Self; 3] = [Self::Issued, Self::Pending, Self::Unknown];

    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Pending => "pending",
            Self::Unknown => "unknown",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $word:literal in $state:ident;)*) => {
        /// Why a domain is in its state (contract, section 1).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
        pub enum Reason { $($(#[$doc])* #[serde(rename = $word)] $variant,)* }

        /// What a stored reason is taken for that only a newer version knows, where nothing else is
        /// known: it claims the least. See `SslStatus::of_unknown_reason`.
        impl Default for Reason {
            fn default() -> Self {
                Self::NeverRequested
            }
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word of the contract.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The state this reason belongs to.
            pub fn state(self) -> State {
                match self { $(Self::$variant => State::$state,)* }
            }
        }
    };
}

reasons! {
    /// Served, nothing to do.
    Ok = "ok" in Issued;
    /// Served; a renewal runs.
    Renewing = "renewing" in Issued;
    /// Served; the last renewal failed.
    RenewalFailing = "renewal_failing" in Issued;
    /// Served; DNS no longer points here.
    Moved = "moved" in Issued;
    /// DNS is right, an order waits for its turn.
    Queued = "queued" in Pending;
    /// An order is being made.
    Ordering = "ordering" in Pending;
    /// The CA looks at the challenge.
    Validating = "validating" in Pending;
    /// The last attempt failed for a passing reason.
    RetryScheduled = "retry_scheduled" in Pending;
    /// The CA could not validate the name.
    ValidationFailed = "validation_failed" in Pending;
    /// A limit of the CA is reached.
    RateLimited = "rate_limited" in Pending;
    /// The CA does not answer.
    CaUnreachable = "ca_unreachable" in Pending;
    /// No one has asked for a certificate.
    NeverRequested = "never_requested" in Unknown;
    /// No record at the name.
    DnsMissing = "dns_missing" in Unknown;
    /// The name leads elsewhere.
    DnsElsewhere = "dns_elsewhere" in Unknown;
    /// A proxy stands in front.
    Proxied = "proxied" in Unknown;
    /// An AAAA record leads elsewhere.
    StrayAaaa = "stray_aaaa" in Unknown;
    /// A CAA record forbids the CA.
    CaaForbids = "caa_forbids" in Unknown;
    /// The zone's servers fail.
    DnsError = "dns_error" in Unknown;
    /// Admission does not allow the name.
    Denied = "denied" in Unknown;
    /// An operator paused it.
    Paused = "paused" in Unknown;
    /// Too many attempts failed.
    GivenUp = "given_up" in Unknown;
    /// The certificate ran out and none is on its way.
    Expired = "expired" in Unknown;
}

/// The SSL side of a domain's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SslStatus {
    /// Why the domain is in its state; the state follows from it.
    #[serde(deserialize_with = "stored::known_or_default")]
    pub reason: Reason,
    /// Since when the reason holds.
    pub since: Timestamp,
    /// The certificate held, expired or not. `None`: there never was one.
    #[serde(default)]
    pub certificate: Option<CertificateInfo>,
    /// Failed attempts in a row.
    #[serde(default)]
    pub attempts: u32,
    /// Failed attempts since the last certificate that say nothing about the domain: they slow the
    /// trying down, and never end it.
    #[serde(default)]
    pub setbacks: u32,
    /// DNS looks in a row that found it wrong; slows the looking down.
    #[serde(default)]
    pub looks: u32,
    /// The next order or DNS check. `None`: none is planned.
    #[serde(default)]
    pub next_attempt: Option<Timestamp>,
    /// When `next_attempt` was set; from it a clock is known to have been ahead.
    #[serde(default)]
    pub planned: Option<Timestamp>,
    /// Whether `next_attempt` is a turn in the line for a limit of the CA.
    #[serde(default)]
    pub in_line: bool,
    /// The turn it has in the line for a limit of the CA, whatever it waits for now. `None`: none.
    #[serde(default)]
    pub turn: Option<Turn>,
    /// Whether `next_attempt` was put off by operators for all domains: orders were frozen, or switched
    /// off. It is due once they go on.
    #[serde(default)]
    pub stopped: bool,
    /// The CA has said that it takes no order for the name before then. `None`: it has not.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// When the last failure's back-off ends, also while DNS decides when to look. `None`: none runs.
    #[serde(default)]
    pub retry_at: Option<Timestamp>,
    /// When a queued order is expected to be through. `None`: not queued, or not known.
    #[serde(default)]
    pub eta: Option<Timestamp>,
    /// The CA's own words about the last failure. `None` after a success.
    #[serde(default)]
    pub last_error: Option<LastError>,
    /// Whether the last failure was doubted: the CA's words are kept, and nothing is concluded from them.
    #[serde(default)]
    pub doubted: bool,
    /// What the sentences fill in.
    #[serde(default)]
    pub facts: Facts,
    /// The last failed authorizations, oldest first: the CA counts them per name and hour.
    #[serde(default)]
    pub failures: Vec<Timestamp>,
    /// Whether the CA wants the certificate replaced at once: it is about to revoke it.
    #[serde(default)]
    pub hurry: bool,
    /// CAs that will not issue for the name, whatever its owner repairs.
    #[serde(default)]
    pub refusals: Vec<CaRefusals>,
    /// When DNS is looked at next while nothing is to be ordered. `None`: only before orders.
    #[serde(default)]
    pub look_at: Option<Timestamp>,
    /// Since when every look found that the name does not point here, or that its zone does not
    /// answer. `None`: the last one found it here.
    #[serde(default)]
    #[serde(alias = "astray_since")]
    pub misdirected_since: Option<Timestamp>,
    /// Whether it was told that the certificate nears its end without a successor.
    #[serde(default)]
    pub told_expiring: bool,
    /// When the renewal of the certificate held was due, before an operator wanted it replaced at
    /// once. `None`: no operator does.
    #[serde(default)]
    pub replaced_by_hand: Option<Timestamp>,
    /// Whether the certificate held is here because the CA's renewal information had brought the one
    /// before forward to its first third: that is done once, not with each successor.
    #[serde(default)]
    pub brought_forward: bool,
}

/// A turn in the line for a limit of a CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The line, by the name under which its turns are kept.
    pub line: String,
    /// When it comes.
    pub at: Timestamp,
}

/// How often a CA refused a name by its policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaRefusals {
    /// Its directory URL.
    pub ca: String,
    /// How often in a row.
    pub times: u32,
    /// When it did last.
    pub last: Timestamp,
}

/// What is known of a stored certificate without opening it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateInfo {
    /// Start of its validity.
    pub not_before: Timestamp,
    /// End of its validity.
    pub not_after: Timestamp,
    /// When we obtained it: CAs date back. `None`: an earlier version did not note it.
    #[serde(default)]
    pub obtained: Option<Timestamp>,
    /// The issuer's common name, else its whole distinguished name.
    pub issuer: String,
    /// The serial number in lower-case hexadecimal.
    pub serial: String,
    /// The names it is for.
    pub sans: Vec<String>,
    /// The directory URL of the CA that issued it.
    pub ca: String,
    /// The ARI identifier (RFC 9773 §4.1). `None`: the certificate lacks what it is made of.
    #[serde(default)]
    pub ari_id: Option<String>,
    /// When its renewal is due.
    pub renew_at: Timestamp,
    /// When the CA is to be asked for renewal information again. `None`: the CA offers none.
    #[serde(default)]
    pub ari_check_at: Option<Timestamp>,
}

/// A failure in the CA's own words (RFC 7807 problem, RFC 8555 §6.7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LastError {
    /// The problem's type, such as `urn:ietf:params:acme:error:connection`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the CA said.
    pub detail: String,
    /// When.
    pub at: Timestamp,
    /// Problems of single identifiers (RFC 8555 §6.7.1).
    #[serde(default)]
    pub subproblems: Vec<SubProblem>,
}

/// One subproblem of a [`LastError`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SubProblem {
    /// The problem's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the CA said.
    pub detail: String,
    /// The identifier it is about. `None`: the CA did not say.
    #[serde(default)]
    pub identifier: Option<String>,
}

/// What a sentence of `messages.md` fills in, beside the times. Every `None`: not known, or not needed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// What DNS holds instead of what it should.
    pub found: Option<String>,
    /// Whose proxy stands in front.
    pub provider: Option<String>,
    /// Where the record stands that has to be changed: the CAA record that decides, or a stray AAAA.
    pub host: Option<String>,
    /// The zone whose servers fail.
    pub zone: Option<String>,
    /// How they fail.
    pub error: Option<String>,
    /// The CA in use, by its host name.
    pub ca: Option<String>,
    /// What kind of failure the last attempt met.
    #[serde(deserialize_with = "stored::known")]
    pub cause: Option<FailureKind>,
    /// What came of the last try to fetch the challenge's URL from here.
    pub preflight: Option<Preflight>,
    /// Until when a handshake may be answered by the stand-in that serves challenges only.
    pub stand_in_until: Option<Timestamp>,
    /// Whether the last look at DNS failed on our side, or is not believed.
    pub not_seen: bool,
}

impl Facts {
    /// The proxy through which the challenge's URL was found to arrive here. `None`: none is known.
    pub fn arrives_through(&self) -> Option<&str> {
        self.preflight
            .as_ref()
            .filter(|p| p.miss.is_none())
            .and_then(|p| p.through.as_deref())
    }
}

/// What came of fetching the challenge's URL from here, before an order. It tells people where to
/// look; it forbids nothing, for a CA sees the network from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preflight {
    /// When it was tried.
    pub at: Timestamp,
    /// Whose proxy stands between. `None`: none is known of.
    #[serde(default)]
    pub through: Option<String>,
    /// What came instead of the answer of this fleet. `None`: that arrived.
    #[serde(default)]
    pub miss: Option<String>,
}

/// What kind of failure an attempt met; picks the reason, the wait and the advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The CA could not connect to port 80 (`connection`).
    Connection,
    /// The CA got an answer, but not ours (`unauthorized`, `incorrectResponse`).
    WrongAnswer,
    /// The CA's own DNS look-ups failed (`dns`).
    CaDns,
    /// A CAA record forbids the CA (`caa`).
    Caa,
    /// The CA will not issue for this name (`rejectedIdentifier`).
    Rejected,
    /// A limit on this name is reached (`rateLimited`).
    NameLimit,
    /// A limit on the whole account is reached.
    AccountLimit,
    /// The CA does not answer, or answers with its own failure (5xx, `serverInternal`).
    Unreachable,
    /// The CA accepted the answer but did not finish in time.
    Stuck,
    /// The CA refused something that we did (`malformed`, `badCSR`, `unauthorized` account).
    Refused,
    /// What the CA issued cannot be used: run out, not valid yet, for another name or key.
    Unusable,
    /// Something failed on our side: store, key, configuration.
    Internal,
    /// The clock here is wrong: certificates that are valid look expired or not yet valid.
    Clock,
    /// The TLS certificate of the CA's server is not trusted here (`acme.ca_file`).
    Trust,
    /// The CA wants a person to see to our account (`userActionRequired`, a deactivated account).
    Account,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [Self; 15] = [
        Self::Connection,
        Self::WrongAnswer,
        Self::CaDns,
        Self::Caa,
        Self::Rejected,
        Self::NameLimit,
        Self::AccountLimit,
        Self::Unreachable,
        Self::Stuck,
        Self::Refused,
        Self::Unusable,
        Self::Internal,
        Self::Clock,
        Self::Trust,
        Self::Account,
    ];

    /// Whether it is held against the domain: its owner can do something about it, or the CA will
    /// not have the name.
    pub fn blames_domain(self) -> bool {
        matches!(
            self,
            Self::Connection | Self::WrongAnswer | Self::CaDns | Self::Caa | Self::Rejected | Self::NameLimit
        )
    }

    /// Whether it is for the operator of this edge to put right.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Internal | Self::Clock | Self::Trust | Self::Account)
    }

    /// Whether the CA refuses the name itself, so that another one may have it.
    pub fn is_refusal_of_name(self) -> bool {
        matches!(self, Self::Rejected | Self::Caa)
    }

    /// Whether the CA counts it as a failed authorization (its limit per name and hour).
    pub fn is_failed_authorization(self) -> bool {
        matches!(self, Self::Connection | Self::WrongAnswer | Self::CaDns | Self::Caa)
    }
}

/// A failed attempt, classified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind it is.
    pub kind: FailureKind,
    /// The CA's words, or ours when the CA said nothing.
    pub error: LastError,
    /// The CA's Retry-After as a time. `None`: it gave none.
    pub retry_after: Option<Timestamp>,
}

/// What the operators want of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Certificates are ordered and renewed for it.
    Wanted,
    /// It is paused: none is ordered until it is resumed.
    Paused,
    /// It is retired: none is ordered, and what is held may run out.
    Retired,
}

/// What can happen to a domain.
#[derive(Clone, Debug, PartialEq)]
pub enum SslEvent {
    /// DNS was looked at.
    DnsChecked(DnsVerdict),
    /// DNS was looked at because a person or the platform asked for it: a reason to expect a change.
    DnsCheckedByHand(DnsVerdict),
    /// A look at DNS failed on our side, or is not believed: it says nothing about the domain.
    LookFailed,
    /// The challenge's URL was fetched from here.
    Preflight(Preflight),
    /// The challenge's URL is about to be fetched through a proxy that may come on port 443.
    StandIn {
        /// Until when the stand-in may answer.
        until: Timestamp,
    },
    /// An order took its place in the queue.
    Queued {
        /// When it is expected to be through. `None`: not known.
        eta: Option<Timestamp>,
    },
    /// An order is being made.
    OrderStarted {
        /// The CA, by its host name.
        ca: String,
    },
    /// The CA was asked to look.
    Validating,
    /// A certificate was obtained and stored.
    Issued(CertificateInfo),
    /// An attempt failed.
    Failed {
        /// How.
        failure: Failure,
        /// The wait that back-off gives this attempt, jitter included.
        backoff: Duration,
    },
    /// An attempt failed while linkseal suspected itself: it counts and its words are kept, but the
    /// state does not follow it.
    Doubted {
        /// What failed.
        failure: Failure,
        /// When to try again.
        until: Timestamp,
    },
    /// The CA's account-wide limit holds the queue until then; no fault of the domain.
    HeldBack {
        /// When the queue goes on.
        until: Timestamp,
        /// The CA, by its host name.
        ca: String,
        /// Whether that is its turn in the line for a limit.
        in_line: bool,
    },
    /// It has a turn in the line for a limit of the CA.
    InLine(Turn),
    /// The CA is out of use until then, and no other can be ordered from; no fault of the domain.
    CaOut {
        /// When it is tried again.
        until: Timestamp,
        /// The CA, by its host name.
        ca: String,
    },
    /// Nothing can be ordered from the CA until then, for a reason that is ours.
    OursToSolve {
        /// When it is tried again.
        until: Timestamp,
        /// The CA, by its host name.
        ca: String,
        /// What is wrong.
        kind: FailureKind,
    },
    /// Another CA takes the order, at once.
    Elsewhere,
    /// An operator has ended what it waits for.
    Released,
    /// All orders are frozen; no fault of the domain.
    Frozen {
        /// When it is looked at again, should no one end the freeze.
        until: Timestamp,
    },
    /// Nothing is ordered by the configuration (`acme.issue`).
    SwitchedOff {
        /// When it is looked at again, should nothing be said of it before.
        until: Timestamp,
    },
    /// Orders go on, after a freeze or switched on again: what was stopped goes on where it was.
    Thawed,
    /// A CA will not issue for the name, by its policy or by CAA; how the attempt failed is told
    /// besides.
    RefusedBy {
        /// Its directory URL.
        ca: String,
    },
    /// The CA's renewal information was read.
    RenewalInfo {
        /// The moment chosen in its window.
        renew_at: Timestamp,
        /// When to ask again.
        check_at: Timestamp,
    },
    /// DNS is to be looked at again then, though nothing is to be ordered.
    LookAt {
        /// When.
        at: Timestamp,
    },
    /// Nothing can be done for it now, through no fault of its own or the CA's.
    Postponed {
        /// When to look again.
        until: Timestamp,
    },
    /// An operator wants a new certificate, whatever is held.
    Reissue,
    /// Admission does not allow the name (any more).
    Denied,
    /// An operator paused or retired it; which of both, its [`Wish`] says.
    SetAside,
    /// An operator resumed it, or brought it back.
    Resumed,
    /// The certificate held cannot be read from the store, or is not there.
    Lost {
        /// What is wrong with it.
        why: String,
    },
    /// It is wanted (again): registered, resumed, admitted, or asked for by hand.
    Wanted,
    /// Time went by.
    Tick,
}

/// A certificate with less than this share of its life left runs out: its renewal goes before
/// everything else, and where there is none, its platform is told.
pub const EXPIRING_SHARE: u32 = 6;
/// An order that has not moved for that long belongs to a node that died.
pub const ORDER_ABANDONED_AFTER: Duration = Duration::from_secs(300);

impl SslStatus {
    /// Of a domain nothing has been asked for.
    pub fn new(now: Timestamp) -> Self {
        Self {
            reason: Reason::NeverRequested,
            since: now,
            certificate: None,
            attempts: 0,
            looks: 0,
            next_attempt: None,
            planned: None,
            in_line: false,
            turn: None,
            stopped: false,
            not_before: None,
            retry_at: None,
            setbacks: 0,
            eta: None,
            last_error: None,
            doubted: false,
            facts: Facts::default(),
            failures: Vec::new(),
            hurry: false,
            refusals: Vec::new(),
            look_at: None,
            misdirected_since: None,
            told_expiring: false,
            replaced_by_hand: None,
            brought_forward: false,
        }
    }

    /// The state the reason belongs to.
    pub fn state(&self) -> State {
        self.reason.state()
    }

    /// When the renewal of the certificate is due by itself, whatever an operator wants of it.
    pub fn renewal_planned(&self) -> Option<Timestamp> {
        self.certificate
            .as_ref()
            .map(|c| self.replaced_by_hand.unwrap_or(c.renew_at))
    }

    /// Makes the best of a reason that only a newer version knows: the certificate is served as long
    /// as it lives, and renewed; where there is none, the next look at the record finds out why.
    pub(super) fn of_unknown_reason(&mut self) {
        if self.certificate.as_ref().is_some_and(|c| c.not_after > self.since) {
            self.reason = Reason::Ok;
        } else if self.next_attempt.is_none() {
            self.next_attempt = Some(self.since);
        }
    }

    /// When the scheduler has to look at the domain next. `None`: never by itself.
    /// `wanted`: whether certificates are ordered and renewed for it at all. Anyone who looks lets
    /// [`SslEvent::Tick`] happen first.
    pub fn next_due(&self, wanted: bool) -> Option<Timestamp> {
        let held = self.certificate.as_ref().filter(|_| self.state() == State::Issued);
        let expiry = held.map(|c| c.not_after);
        let expiring = held.filter(|_| !self.told_expiring).map(CertificateInfo::expiring_at);
        let renewal = || held.map(|c| c.asked_about_at().map_or(c.renew_at, |at| at.min(c.renew_at)));
        let work = match self.reason {
            Reason::Ok => [self.next_attempt.or_else(renewal), self.look_at]
                .into_iter()
                .flatten()
                .min(),
            Reason::Moved => self.next_attempt.or_else(renewal),
            Reason::Ordering | Reason::Validating | Reason::Renewing => {
                let abandoned = self.since + ORDER_ABANDONED_AFTER;
                Some(self.next_attempt.map_or(abandoned, |at| at.max(abandoned)))
            }
            Reason::Denied | Reason::GivenUp => None,
            _ => self.next_attempt,
        };
        let work = work.filter(|_| wanted);
        [work, expiring, expiry].into_iter().flatten().min()
    }
}

impl CertificateInfo {
    /// When the CA is to be asked for renewal information. `None`: never, since there is no identifier
    /// to ask with, or the CA offers none.
    pub fn asked_about_at(&self) -> Option<Timestamp> {
        self.ari_check_at.filter(|_| self.ari_id.is_some())
    }

    /// Until when it is young: it has used a third of its life.
    pub fn young_until(&self) -> Timestamp {
        self.not_after.minus(self.life() * 2 / 3)
    }

    /// When its renewal is due by its life alone: a third is left.
    pub fn renewal_of_old_age(&self) -> Timestamp {
        self.not_after.minus(self.life() / 3)
    }

    /// From when on it should have had a successor, with little of its life left. That follows from
    /// its life alone: a renewal that is planned too late is what has to be seen.
    pub fn expiring_at(&self) -> Timestamp {
        self.not_after.minus(self.life() / EXPIRING_SHARE)
    }
}
