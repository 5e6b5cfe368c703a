//! What can speak for or against a person: each signal's reason text, class and weight.

use std::fmt;

use super::class::Class;

macro_rules! signals {
    ($($(#[$doc:meta])* $name:ident = $reason:literal, $class:ident, $weight:literal;)*) => {
        /// Something about a request that speaks for or against a person.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Signal {
            $($(#[$doc])* $name,)*
        }

        impl Signal {
            /// All signals, in the order in which verdicts list them.
            pub(super) const ALL: &[Self] = &[$(Self::$name),*];

            /// The reason as verdicts spell it.
            pub(super) fn reason(self) -> &'static str {
                match self { $(Self::$name => $reason,)* }
            }

            /// The class it stands for by itself.
            pub(super) fn class(self) -> Class {
                match self { $(Self::$name => Class::$class,)* }
            }

            /// How much it speaks for a program; see [`super::rules::CERTAIN`].
            pub(super) fn weight(self) -> u32 {
                match self { $(Self::$name => $weight,)* }
            }
        }
    };
}

signals! {
    /// Apple Mail Privacy Protection.
    AgentApplePrivacy = "agent_apple_privacy", Prefetch, 0;
    /// Gmail, before the message is opened.
    AgentGmailPrefetch = "agent_gmail_prefetch", Prefetch, 0;
    /// Gmail, when the message is opened.
    AgentGmailProxy = "agent_gmail_proxy", Proxy, 0;
    /// Yahoo, when the message is opened.
    AgentYahooProxy = "agent_yahoo_proxy", Proxy, 0;
    /// An agent that people and machines use.
    AgentAmbiguous = "agent_ambiguous", Unknown, 20;
    /// Bing's previews.
    AgentBingPreview = "agent_bingpreview", Prefetch, 0;
    /// Previews of Skype and Teams.
    AgentSkypeUriPreview = "agent_skypeuripreview", Prefetch, 0;
    /// Link previews in chats.
    AgentLinkPreview = "agent_link_preview", Prefetch, 0;
    /// Proofpoint URL Defense.
    AgentUrlDefense = "agent_urldefense", Scanner, 100;
    /// Microsoft Safe Links, when it names itself.
    AgentSafeLinks = "agent_safelinks", Scanner, 100;
    AgentBarracuda = "agent_barracuda", Scanner, 100;
    AgentMimecast = "agent_mimecast", Scanner, 100;
    AgentProofpoint = "agent_proofpoint", Scanner, 100;
    AgentForcepoint = "agent_forcepoint", Scanner, 100;
    AgentSymantec = "agent_symantec", Scanner, 100;
    AgentTrendMicro = "agent_trendmicro", Scanner, 100;
    AgentSophos = "agent_sophos", Scanner, 100;
    AgentZscaler = "agent_zscaler", Scanner, 100;
    /// A headless browser.
    AgentHeadless = "agent_headless", Scanner, 100;
    AgentCrawler = "agent_crawler", Scanner, 100;
    /// An HTTP library or tool.
    AgentTool = "agent_tool", Scanner, 100;
    /// Calls itself a checker, a scanner or a filter.
    AgentChecker = "agent_checker", Scanner, 100;
    /// Calls itself an image proxy.
    AgentImageProxy = "agent_image_proxy", Proxy, 0;
    /// Neither a browser nor a mail program, by the form of its name.
    AgentProgram = "agent_program", Scanner, 100;
    /// Microsoft Office asks what a link is before it passes it to the browser.
    AgentOfficeLookup = "agent_office_lookup", Prefetch, 0;
    /// No User-Agent.
    AgentEmpty = "agent_empty", Scanner, 100;
    /// A header says that the fetch is a prefetch.
    HeaderPurpose = "header_purpose", Prefetch, 0;
    /// No person sees the answer to a HEAD request.
    MethodHead = "method_head", Scanner, 100;
    /// A click before the message can have been delivered.
    RightAfterIssue = "right_after_issue", Unknown, 50;
    /// `events.networks_file` says `scanner`.
    NetworkScanner = "network_scanner", Scanner, 100;
    /// `events.networks_file` says `prefetch`.
    NetworkPrefetch = "network_prefetch", Prefetch, 0;
    /// `events.networks_file` says `proxy`.
    NetworkProxy = "network_proxy", Proxy, 0;
    /// `events.networks_file` says `unknown`.
    NetworkUnknown = "network_unknown", Unknown, 50;
    /// Two links of one message at once: a quick person, or a program with a short message.
    TwoLinksAtOnce = "two_links_at_once", Unknown, 60;
    /// Many links of one message at once.
    BurstOfLinks = "burst_of_links", Scanner, 100;
    /// The same link from two networks at once: one of them fetched it for the other, as gateways do
    /// that check a link when a person clicks it; which one cannot be told.
    TwoNetworks = "two_networks", Unknown, 40;
    /// An unsubscription with a valid token by POST (RFC 8058): scanners do not send these, so a person
    /// asked for it, whatever program sends it for them. Outweighs every other signal.
    OneClick = "one_click", Human, 0;
    /// A modified copy of this link came just before it, from the same network.
    ChangedTokenBefore = "changed_token_before", Scanner, 100;
}

/// [`Signals`] has one bit for each.
const _: () = assert!(Signal::ALL.len() <= 64);

/// A set of signals.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Signals(u64);

impl Signals {
    pub(crate) fn add(&mut self, signal: Signal) {
        self.0 |= 1 << signal as u8;
    }

    /// Adds those of another set.
    pub(super) fn join(&mut self, others: Self) {
        self.0 |= others.0;
    }

    pub(super) fn has(self, signal: Signal) -> bool {
        self.0 & (1 << signal as u8) != 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Signal> {
        // Most requests have none or one.
        let mut left = self.0;
        std::iter::from_fn(move || {
            let signal = Signal::ALL.get(left.trailing_zeros() as usize).copied();
            left &= left.wrapping_sub(1);
            signal
        })
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(Signal::reason)).finish()
    }
}
