//! The rules by which machines are told from people: data only, with their sources.
//! [`super::verdict`] and [`super::burst`] apply them. Anyone who changes a rule changes [`VERSION`].
//!
//! Serve always, annotate only: no rule here ever changes what is answered. A sign that people
//! give off too (behind a company's one address, through a relay) is weak: alone it makes a
//! verdict `unknown`; only several together make it `scanner` ([`CERTAIN`]).

use std::time::Duration;

use super::verdict::Class;

/// The version of these rules; each event's verdict names it.
pub(super) const VERSION: &str = "2026-11.4";

/// The weight from which signs together mean a program.
pub(super) const CERTAIN: u32 = 100;

macro_rules! signs {
    ($($(#[$doc:meta])* $name:ident = $reason:literal, $class:ident, $weight:literal;)*) => {
        /// What can speak against a person.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Signal {
            $($(#[$doc])* $name,)*
        }

        impl Signal {
            /// All of them, in the order in which verdicts name them.
            pub(super) const ALL: &[Self] = &[$(Self::$name),*];

            /// As verdicts spell it.
            pub(super) fn reason(self) -> &'static str {
                match self { $(Self::$name => $reason,)* }
            }

            /// What it means by itself.
            pub(super) fn class(self) -> Class {
                match self { $(Self::$name => Class::$class,)* }
            }

            /// How much it says for a program, of [`CERTAIN`].
            pub(super) fn weight(self) -> u32 {
                match self { $(Self::$name => $weight,)* }
            }
        }
    };
}

signs! {
    /// Apple Mail Privacy Protection.
    AgentApplePrivacy = "agent_apple_privacy", Prefetch, 0;
    /// Gmail, before the message is opened.
    AgentGmailPrefetch = "agent_gmail_prefetch", Prefetch, 0;
    /// Gmail, when the message is opened.
    AgentGmailProxy = "agent_gmail_proxy", Proxy, 0;
    /// Yahoo, when the message is opened.
    AgentYahooProxy = "agent_yahoo_proxy", Proxy, 0;
    /// An agent of people and of machines.
    AgentAmbiguous = "agent_ambiguous", Unknown, 20;
    /// Bing's previews.
    AgentBingPreview = "agent_bingpreview", Prefetch, 0;
    /// Skype's and Teams' previews.
    AgentSkypeUriPreview = "agent_skypeuripreview", Prefetch, 0;
    /// Previews of links in chats.
    AgentLinkPreview = "agent_link_preview", Prefetch, 0;
    /// Proofpoint URL Defense.
    AgentUrlDefense = "agent_urldefense", Scanner, 100;
    /// Microsoft Safe Links, where it names itself.
    AgentSafeLinks = "agent_safelinks", Scanner, 100;
    /// Barracuda.
    AgentBarracuda = "agent_barracuda", Scanner, 100;
    /// Mimecast.
    AgentMimecast = "agent_mimecast", Scanner, 100;
    /// Proofpoint.
    AgentProofpoint = "agent_proofpoint", Scanner, 100;
    /// Forcepoint.
    AgentForcepoint = "agent_forcepoint", Scanner, 100;
    /// Symantec.
    AgentSymantec = "agent_symantec", Scanner, 100;
    /// Trend Micro.
    AgentTrendMicro = "agent_trendmicro", Scanner, 100;
    /// Sophos.
    AgentSophos = "agent_sophos", Scanner, 100;
    /// Zscaler.
    AgentZscaler = "agent_zscaler", Scanner, 100;
    /// A browser without a screen.
    AgentHeadless = "agent_headless", Scanner, 100;
    /// A crawler.
    AgentCrawler = "agent_crawler", Scanner, 100;
    /// An HTTP library or tool.
    AgentTool = "agent_tool", Scanner, 100;
    /// Calls itself a checker, a scanner or a filter.
    AgentChecker = "agent_checker", Scanner, 100;
    /// Calls itself a proxy for images.
    AgentImageProxy = "agent_image_proxy", Proxy, 0;
    /// No browser and no mail program, by the form of its name.
    AgentProgram = "agent_program", Scanner, 100;
    /// Microsoft Office asks what a link is before it hands it to the browser.
    AgentOfficeLookup = "agent_office_lookup", Prefetch, 0;
    /// No User-Agent.
    AgentEmpty = "agent_empty", Scanner, 100;
    /// A header says that the fetch is ahead of a person.
    HeaderPurpose = "header_purpose", Prefetch, 0;
    /// No one sees what HEAD answers.
    MethodHead = "method_head", Scanner, 100;
    /// A click before a person could have the message in hand.
    RightAfterIssue = "right_after_issue", Unknown, 50;
    /// `events.networks_file` says: scanner.
    NetworkScanner = "network_scanner", Scanner, 100;
    /// `events.networks_file` says: prefetch.
    NetworkPrefetch = "network_prefetch", Prefetch, 0;
    /// `events.networks_file` says: proxy.
    NetworkProxy = "network_proxy", Proxy, 0;
    /// `events.networks_file` says: unknown.
    NetworkUnknown = "network_unknown", Unknown, 50;
    /// Two links of one message at once: a quick person, or a program with a short message.
    TwoLinksAtOnce = "two_links_at_once", Unknown, 60;
    /// Many links of one message at once.
    BurstOfLinks = "burst_of_links", Scanner, 100;
    /// The same link from two networks at once: one of the two fetched it for the other, as
    /// gateways do that look when a person clicks, and it cannot be told which.
    TwoNetworks = "two_networks", Unknown, 40;
    /// Unsubscribes with the right token by POST (RFC 8058): scanners do not, so a person asked for
    /// it, whatever program sends it for them. It outweighs every other sign.
    OneClick = "one_click", Human, 0;
    /// A changed copy of this link came just before it, from the same network.
    ChangedTokenBefore = "changed_token_before", Scanner, 100;
}

/// What a User-Agent says about who fetches.
pub(super) struct AgentRule {
    /// What to look for, in lower case.
    pub(super) text: &'static str,
    /// What it is a sign of.
    pub(super) sign: Signal,
    /// The mail provider whose proxy it is. `None`: not a proxy.
    pub(super) proxy: Option<&'static str>,
}

const fn rule(text: &'static str, sign: Signal, proxy: Option<&'static str>) -> AgentRule {
    AgentRule { text, sign, proxy }
}

/// User-Agents that match as a whole.
pub(super) const EXACT: &[AgentRule] = &[
    // Apple Mail Privacy Protection (iOS 15, macOS 12, 2021) fetches every image of every message
    // when it arrives, whether it is read or not; real browsers say more than this.
    rule("mozilla/5.0", Signal::AgentApplePrivacy, Some("apple")),
    // Gmail fetches images of some senders before the message is opened, as this frozen agent.
    rule(
        "mozilla/5.0 (windows nt 10.0; win64; x64) applewebkit/537.36 (khtml, like gecko) chrome/42.0.2311.135 safari/537.36 edge/12.246 mozilla/5.0",
        Signal::AgentGmailPrefetch,
        Some("gmail"),
    ),
    // Apple Mail's own view without privacy protection, and several machines.
    rule(
        "mozilla/5.0 (macintosh; intel mac os x 10_15_7) applewebkit/605.1.15 (khtml, like gecko)",
        Signal::AgentAmbiguous,
        None,
    ),
];

/// Parts of User-Agents. Where several match, the class that is furthest from a person counts,
/// and all reasons are given.
pub(super) const PARTS: &[AgentRule] = &[
    // Image proxies that fetch when a person opens: an open through them counts.
    rule("googleimageproxy", Signal::AgentGmailProxy, Some("gmail")),
    rule("yahoomailproxy", Signal::AgentYahooProxy, Some("yahoo")),
    // The same frozen agent of Gmail's prefetch, whatever its platform part says.
    rule(
        "chrome/42.0.2311.135 safari/537.36 edge/12.246 mozilla/5.0",
        Signal::AgentGmailPrefetch,
        Some("gmail"),
    ),
    // Link previews. In chats: api.slack.com/robots, developers.facebook.com/docs/sharing/webmasters/web-crawlers,
    // and the agents Telegram and WhatsApp send.
    rule("bingpreview", Signal::AgentBingPreview, None),
    rule("skypeuripreview", Signal::AgentSkypeUriPreview, None),
    rule("slackbot", Signal::AgentLinkPreview, None),
    rule("slack-imgproxy", Signal::AgentLinkPreview, None),
    rule("facebookexternalhit/", Signal::AgentLinkPreview, None),
    rule("telegrambot", Signal::AgentLinkPreview, None),
    rule("whatsapp/", Signal::AgentLinkPreview, None),
    // Mail security gateways that name themselves (their makers' documentation; collected in
    // Mautic #9162 and listmonk #1025).
    rule("urldefense", Signal::AgentUrlDefense, None),
    rule("safelinks", Signal::AgentSafeLinks, None),
    rule("barracuda", Signal::AgentBarracuda, None),
    rule("mimecast", Signal::AgentMimecast, None),
    rule("proofpoint", Signal::AgentProofpoint, None),
    rule("forcepoint", Signal::AgentForcepoint, None),
    rule("symantec", Signal::AgentSymantec, None),
    rule("trendmicro", Signal::AgentTrendMicro, None),
    rule("sophos", Signal::AgentSophos, None),
    rule("zscaler", Signal::AgentZscaler, None),
    // Browsers without a screen name themselves (HeadlessChrome, PhantomJS).
    rule("headless", Signal::AgentHeadless, None),
    rule("phantomjs/", Signal::AgentHeadless, None),
    // Crawlers that name themselves by the convention of robots.txt (RFC 9309): a product token
    // that ends in `bot`, followed by its version or the link to its page.
    rule("bot/", Signal::AgentCrawler, None),
    rule("bot;", Signal::AgentCrawler, None),
    rule("crawler", Signal::AgentCrawler, None),
    rule("spider", Signal::AgentCrawler, None),
    // Google's fetchers that no person sees (developers.google.com/search/docs/crawling-indexing).
    rule("google-", Signal::AgentCrawler, None),
    // Office asks whether a link is a document that it could open itself (MS-OFFIBDF; learn.microsoft.com,
    // "Office opens hyperlinks").
    rule("existence discovery", Signal::AgentOfficeLookup, None),
    rule("protocol discovery", Signal::AgentOfficeLookup, None),
    rule("webdav-miniredir", Signal::AgentOfficeLookup, None),
    // HTTP libraries and tools under their default names: no person reads mail with them.
    rule("curl/", Signal::AgentTool, None),
    rule("wget/", Signal::AgentTool, None),
    rule("python-requests/", Signal::AgentTool, None),
    rule("python-urllib/", Signal::AgentTool, None),
    rule("python-httpx/", Signal::AgentTool, None),
    rule("aiohttp/", Signal::AgentTool, None),
    rule("go-http-client/", Signal::AgentTool, None),
    rule("libwww-perl/", Signal::AgentTool, None),
    rule("apache-httpclient/", Signal::AgentTool, None),
    rule("axios/", Signal::AgentTool, None),
    rule("node-fetch", Signal::AgentTool, None),
    rule("guzzlehttp/", Signal::AgentTool, None),
];

/// Office under the names it also opens messages with: only where a link is followed, which it leaves
/// to the browser, are they a sign.
pub(super) const OFFICE: &[&str] = &["ms-office", "msoffice", "microsoft office"];

/// Before the address of the page about a program, as crawlers name it (RFC 9309 §2.2.1).
pub(super) const ABOUT: &[&str] = &["+http://", "+https://"];

/// Words by which programs say what they are, wherever they stand and whatever else the agent
/// says: gateways put theirs behind a browser's. Looked for where no rule above knows the agent.
pub(super) const TRADES: &[(&str, Signal)] = &[
    ("scanner", Signal::AgentChecker),
    ("checker", Signal::AgentChecker),
    ("resolver", Signal::AgentChecker),
    ("validator", Signal::AgentChecker),
    ("siphon", Signal::AgentChecker),
    ("harvest", Signal::AgentChecker),
    ("link scan", Signal::AgentChecker),
    ("linkscan", Signal::AgentChecker),
    ("link-scan", Signal::AgentChecker),
    ("url scan", Signal::AgentChecker),
    ("urlscan", Signal::AgentChecker),
    ("url-scan", Signal::AgentChecker),
    ("link check", Signal::AgentChecker),
    ("linkcheck", Signal::AgentChecker),
    ("link-check", Signal::AgentChecker),
    ("mailcheck", Signal::AgentChecker),
    ("mail-check", Signal::AgentChecker),
    ("mail check", Signal::AgentChecker),
    ("mailsecurity", Signal::AgentChecker),
    ("mail-security", Signal::AgentChecker),
    ("mail security", Signal::AgentChecker),
    ("mailgateway", Signal::AgentChecker),
    ("mail-gateway", Signal::AgentChecker),
    ("mail gateway", Signal::AgentChecker),
    ("securitygateway", Signal::AgentChecker),
    ("security gateway", Signal::AgentChecker),
    // Makers and programs that check mail.
    ("ironport", Signal::AgentChecker),
    ("trellix", Signal::AgentChecker),
    ("fireeye", Signal::AgentChecker),
    ("fortimail", Signal::AgentChecker),
    ("fortiguard", Signal::AgentChecker),
    ("fortisandbox", Signal::AgentChecker),
    ("hornetsecurity", Signal::AgentChecker),
    ("messagelabs", Signal::AgentChecker),
    ("cloudmark", Signal::AgentChecker),
    ("ironscales", Signal::AgentChecker),
    ("avanan", Signal::AgentChecker),
    ("retarus", Signal::AgentChecker),
    ("spamassassin", Signal::AgentChecker),
    ("rspamd", Signal::AgentChecker),
    ("virustotal", Signal::AgentChecker),
    // Proxies of mail providers.
    ("imageproxy", Signal::AgentImageProxy),
    ("image-proxy", Signal::AgentImageProxy),
    ("image proxy", Signal::AgentImageProxy),
    ("imgproxy", Signal::AgentImageProxy),
    ("mailproxy", Signal::AgentImageProxy),
    ("mail-proxy", Signal::AgentImageProxy),
    ("mail proxy", Signal::AgentImageProxy),
    // Previews.
    ("link preview", Signal::AgentLinkPreview),
    ("link-preview", Signal::AgentLinkPreview),
    ("linkpreview", Signal::AgentLinkPreview),
    ("url preview", Signal::AgentLinkPreview),
    ("url-preview", Signal::AgentLinkPreview),
    ("urlpreview", Signal::AgentLinkPreview),
];

/// The same, where the agent is no browser's: browsers of people have names with these in them.
pub(super) const TRADES_OF_PROGRAMS: &[(&str, Signal)] = &[
    ("scan", Signal::AgentChecker),
    ("check", Signal::AgentChecker),
    ("spam", Signal::AgentChecker),
    ("virus", Signal::AgentChecker),
    ("filter", Signal::AgentChecker),
    ("security", Signal::AgentChecker),
    ("gateway", Signal::AgentChecker),
    ("sandbox", Signal::AgentChecker),
    ("proxy", Signal::AgentImageProxy),
    ("preview", Signal::AgentLinkPreview),
];

/// How browsers begin, and what shows a browser's engine in an agent that says `compatible`.
pub(super) const BROWSERS: &[&str] = &[
    "mozilla/",
    "opera/",
    // Browsers that do not say they are Mozilla: those of terminals, small ones, and old phones'.
    "lynx/",
    "w3m/",
    "elinks/",
    "elinks (",
    "links (",
    "links/",
    "netsurf/",
    "dillo/",
    "blackberry",
];
/// See [`BROWSERS`].
pub(super) const ENGINES: &[&str] = &["gecko", "webkit", "khtml", "trident", "msie", "presto"];

/// What mail programs and the systems they run on call themselves: an agent with one of these as a
/// word that does not begin like a browser's may still show a message to a person. A link it leaves
/// to a browser, so that clicks under such a name are a program's.
pub(super) const MAIL_PROGRAMS: &[&str] = &[
    "outlook",
    "microsoft office",
    "ms-office",
    "thunderbird",
    "evolution",
    "notes",
    "em client",
    "spark",
    "mailspring",
    "mailbird",
    "mailmate",
    "dalvik",
];

/// What the names of mail programs end in: `YahooMobileMail/1.0`, but neither `EmailSiphon` nor
/// `MailScanner`.
pub(super) const MAIL_END: &str = "mail";

/// What ends an ambiguous agent: WebKit's engine and no browser after it, whatever the platform.
pub(super) const AMBIGUOUS_END: &str = "applewebkit/605.1.15 (khtml, like gecko)";

/// Request headers by which browsers and proxies say that they fetch ahead: `Sec-Purpose`
/// (Fetch standard), and the older `Purpose` (Chrome), `X-Purpose` (Safari), `X-Moz` (Firefox).
pub(super) const PURPOSE_HEADERS: &[&str] = &["sec-purpose", "purpose", "x-purpose", "x-moz"];

/// What such a header says then; it may say more around it (`prefetch;prerender`).
pub(super) const PURPOSES: &[&str] = &["prefetch", "preview", "prerender"];

/// A click sooner after the link was minted than this came before a person could have the message
/// in hand: handing it to the first server takes about this long.
pub(super) const SOONEST_READ: Duration = Duration::from_secs(2);

/// Links of one message within this time are a burst. In 836 bursts of gateways all links came
/// within one second; people take longer between two (tracking.md; no source is public).
pub(super) const BURST_WINDOW: Duration = Duration::from_secs(1);

/// Different links in a burst, at least. Two alone are [`Signal::TwoLinksAtOnce`].
pub(super) const BURST_LINKS: usize = 3;

/// How soon after each other two networks fetch one link when one does it for the other.
pub(super) const TWO_NETWORKS_WINDOW: Duration = Duration::from_secs(5);

/// How soon after a changed token the right one comes from a gateway that tries whether any token
/// leads somewhere. A person with a link that was cut looks for the whole one longer than this.
pub(super) const PROBE_WINDOW: Duration = Duration::from_secs(3);

/// Verdicts hold signs as bits of one number.
const _: () = assert!(Signal::ALL.len() <= 64);
