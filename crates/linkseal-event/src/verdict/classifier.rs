//! Judges one request by its method, its headers and its network.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aho_corasick::BuildError;
use arc_swap::ArcSwap;
use http::{HeaderMap, Method, header};

use super::Verdict;
use super::agent::AgentMatcher;
use super::networks::Networks;
use super::rules;
use super::signal::{Signal, Signals};
use crate::event_type::EventType;

/// Judges single requests. Clones share the list of networks.
#[derive(Clone)]
pub struct Classifier {
    agents: AgentMatcher,
    networks: Arc<ArcSwap<Networks>>,
}

/// A verdict, and the mail provider's proxy that was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    pub verdict: Verdict,
    /// For `client.proxy`: the mail provider, if it is one's proxy.
    pub proxy: Option<&'static str>,
}

impl Classifier {
    /// The rules of this version, and no networks.
    ///
    /// # Errors
    /// When the table of rules cannot be compiled, which a test rules out.
    pub fn builtin() -> Result<Self, BuildError> {
        Ok(Self {
            agents: AgentMatcher::new()?,
            networks: Arc::default(),
        })
    }

    /// Replaces the list of networks.
    pub fn set_networks(&self, networks: Networks) {
        self.networks.store(Arc::new(networks));
    }

    /// The signal and the label of an address in the list of networks.
    pub(crate) fn network(&self, ip: IpAddr) -> Option<(Signal, Arc<str>)> {
        let networks = self.networks.load();
        networks.find(ip).map(|n| (n.signal(), Arc::clone(&n.label)))
    }

    /// Judges a request by itself. `since_issue` is the time since its link was minted, if known.
    pub fn judge(
        &self,
        kind: EventType,
        method: &Method,
        headers: &HeaderMap,
        since_issue: Option<Duration>,
    ) -> Judged {
        let mut signals = Signals::default();
        if method == Method::HEAD {
            signals.add(Signal::MethodHead);
        }
        let agent = headers.get(header::USER_AGENT).map_or(&[][..], |v| v.as_bytes());
        let proxy = self.agents.judge(kind, agent, &mut signals);
        if rules::PURPOSE_HEADERS
            .iter()
            .any(|h| headers.get(h).is_some_and(|v| is_prefetch(v.as_bytes())))
        {
            signals.add(Signal::HeaderPurpose);
        }
        if kind == EventType::Unsubscribe && method == Method::POST {
            // Mail providers send it for a person, without an agent or under that of their proxies.
            signals = Signals::default();
            signals.add(Signal::OneClick);
        }
        // Not for opens: a mail program may show a message the moment it arrives.
        if kind == EventType::Click && since_issue.is_some_and(|t| t < rules::SOONEST_READ) {
            signals.add(Signal::RightAfterIssue);
        }
        Judged {
            verdict: Verdict::from_signals(signals),
            proxy,
        }
    }
}

/// Whether a purpose header says that the fetch is a prefetch.
fn is_prefetch(value: &[u8]) -> bool {
    rules::PURPOSES
        .iter()
        .any(|p| value.windows(p.len()).any(|w| w.eq_ignore_ascii_case(p.as_bytes())))
}
