//! The rules that tell machines from people: data only, with sources. [`super::classifier`] and
//! [`super::burst`] apply them. Every change of a rule changes [`VERSION`].
//!
//! No rule here ever changes what is answered. A signal that people cause too (behind a company's
//! single address, through a relay) is weak: alone it makes a verdict `unknown`, and only several
//! together make it `scanner` ([`CERTAIN`]).

use std::time::Duration;

use http::HeaderName;

use super::signal::Signal;

/// The version of these rules, which every verdict names.
pub(super) const VERSION: &str = "2026-11.4";

/// Signals whose weights add up to this mean a program.
pub(super) const CERTAIN: u32 = 100;

/// What a User-Agent says about who fetches.
pub(super) struct AgentRule {
    /// In lower case.
    pub(super) text: &'static str,
    pub(super) signal: Signal,
    /// The mail provider, if this is its proxy.
    pub(super) proxy: Option<&'static str>,
}

const fn rule(text: &'static str, signal: Signal, proxy: Option<&'static str>) -> AgentRule {
    AgentRule { text, signal, proxy }
}

/// Whole User-Agents.
pub(super) const EXACT: &[AgentRule] = &[
    // Apple Mail Privacy Protection (iOS 15, macOS 12, 2021) fetches every image of every message
    // when it arrives, whether it is read or not; real browsers send more than this.
    rule("mozilla/5.0", Signal::AgentApplePrivacy, Some("apple")),
    // Gmail fetches images of some senders before the message is opened, with this frozen agent.
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

/// Parts of User-Agents. If several match, the class furthest from a person counts and all reasons
/// are given.
pub(super) const PARTS: &[AgentRule] = &[
    // Image proxies that fetch when a person opens the message: such an open counts.
    rule("googleimageproxy", Signal::AgentGmailProxy, Some("gmail")),
    rule("yahoomailproxy", Signal::AgentYahooProxy, Some("yahoo")),
    // The frozen agent of Gmail's prefetch again, with any platform part.
    rule(
        "chrome/42.0.2311.135 safari/537.36 edge/12.246 mozilla/5.0",
        Signal::AgentGmailPrefetch,
        Some("gmail"),
    ),
    // Link previews in chats: api.slack.com/robots, developers.facebook.com/docs/sharing/webmasters/web-crawlers,
    // and the agents Telegram and WhatsApp send.
    rule("bingpreview", Signal::AgentBingPreview, None),
    rule("skypeuripreview", Signal::AgentSkypeUriPreview, None),
    rule("slackbot", Signal::AgentLinkPreview, None),
    rule("slack-imgproxy", Signal::AgentLinkPreview, None),
    rule("facebookexternalhit/", Signal::AgentLinkPreview, None),
    rule("telegrambot", Signal::AgentLinkPreview, None),
    rule("whatsapp/", Signal::AgentLinkPreview, None),
    // Mail security gateways that name themselves (vendors' documentation; collected in Mautic #9162
    // and listmonk #1025).
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
    // Headless browsers name themselves (HeadlessChrome, PhantomJS).
    rule("headless", Signal::AgentHeadless, None),
    rule("phantomjs/", Signal::AgentHeadless, None),
    // Crawlers that name themselves by the convention of robots.txt (RFC 9309): a product token
    // that ends in `bot`, followed by its version or the link to its page.
    rule("bot/", Signal::AgentCrawler, None),
    rule("bot;", Signal::AgentCrawler, None),
    rule("crawler", Signal::AgentCrawler, None),
    rule("spider", Signal::AgentCrawler, None),
    // Google's fetchers that act without a user (developers.google.com/search/docs/crawling-indexing).
    rule("google-", Signal::AgentCrawler, None),
    // Office asks whether a link is a document that it can open itself (MS-OFFIBDF; learn.microsoft.com,
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

/// Names that Office also uses when it opens messages. They are a signal only when a link is followed,
/// which Office leaves to the browser.
pub(super) const OFFICE: &[&str] = &["ms-office", "msoffice", "microsoft office"];

/// Prefixes of the URL by which crawlers point to their documentation (RFC 9309 §2.2.1).
pub(super) const ABOUT: &[&str] = &["+http://", "+https://"];

/// Words that name a program's purpose, anywhere in the agent: gateways append theirs to a browser's.
/// Searched only in agents that no rule above knows.
pub(super) const PROGRAM_WORDS: &[(&str, Signal)] = &[
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
    // Vendors and programs that check mail.
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

/// The same for agents that are not a browser's: names of real browsers contain some of these.
pub(super) const NON_BROWSER_WORDS: &[(&str, Signal)] = &[
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

/// How the agents of browsers begin.
pub(super) const BROWSERS: &[&str] = &[
    "mozilla/",
    "opera/",
    // Browsers that do not call themselves Mozilla: text browsers, small ones, and old phones.
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
/// Browser engines, to recognise a browser whose agent says `compatible`.
pub(super) const ENGINES: &[&str] = &["gecko", "webkit", "khtml", "trident", "msie", "presto"];

/// Names of mail programs and the systems they run on. An agent that contains one of these as a word
/// may show a message to a person although it is not a browser. Mail programs leave links to a
/// browser, so clicks with such an agent come from a program.
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

/// How names of mail programs end: `YahooMobileMail/1.0`, but neither `EmailSiphon` nor
/// `MailScanner`.
pub(super) const MAIL_END: &str = "mail";

/// The end of an ambiguous agent: WebKit's engine and no browser after it, on any platform.
pub(super) const AMBIGUOUS_END: &str = "applewebkit/605.1.15 (khtml, like gecko)";

/// Request headers that announce a prefetch: `Sec-Purpose` (Fetch standard), and the older `Purpose` (Chrome), `X-Purpose` (Safari), `X-Moz` (Firefox).
pub(super) static PURPOSE_HEADERS: [HeaderName; 4] = [
    HeaderName::from_static("sec-purpose"),
    HeaderName::from_static("purpose"),
    HeaderName::from_static("x-purpose"),
    HeaderName::from_static("x-moz"),
];

/// What such a header contains, possibly among other words (`prefetch;prerender`).
pub(super) const PURPOSES: &[&str] = &["prefetch", "preview", "prerender"];

/// A click this soon after the link was minted came before a person can have received the message:
/// handing it to the first mail server takes about this long.
pub(super) const SOONEST_READ: Duration = Duration::from_secs(2);

/// Links of one message within this time are a burst. In 836 recorded bursts of gateways all links
/// came within one second; people take longer between two. No public source is known.
pub(super) const BURST_WINDOW: Duration = Duration::from_secs(1);

/// Fewest different links in a burst. Two alone are [`Signal::TwoLinksAtOnce`].
pub(super) const BURST_LINKS: usize = 3;

/// Two networks that fetch one link within this time fetched it for the same click.
pub(super) const TWO_NETWORKS_WINDOW: Duration = Duration::from_secs(5);

/// A valid token this soon after a modified one comes from a gateway that checks whether any token
/// works. A person with a truncated link takes longer to find the whole one.
pub(super) const PROBE_WINDOW: Duration = Duration::from_secs(3);
