//! The rules by which machines are told from people: data only, with their sources.
//! [`super::verdict`] applies them. Whoever changes a rule changes [`VERSION`].
//!
//! Serve always, annotate only: no rule here ever changes what is answered.

use super::verdict::Class;

/// The version of these rules; each event's verdict names it.
pub(super) const VERSION: &str = "2026-11";

/// What a User-Agent says about who fetches.
pub(super) struct AgentRule {
    /// What to look for, in lower case.
    pub(super) text: &'static str,
    /// The reason given in the verdict.
    pub(super) reason: &'static str,
    /// What it means.
    pub(super) class: Class,
    /// The mail provider whose proxy it is. `None`: not a proxy.
    pub(super) proxy: Option<&'static str>,
}

const fn rule(text: &'static str, reason: &'static str, class: Class, proxy: Option<&'static str>) -> AgentRule {
    AgentRule {
        text,
        reason,
        class,
        proxy,
    }
}

/// User-Agents that match as a whole.
pub(super) const EXACT: &[AgentRule] = &[
    // Apple Mail Privacy Protection (iOS 15, macOS 12, 2021) fetches every image of every message
    // when it arrives, whether it is read or not; real browsers say more than this.
    rule("mozilla/5.0", "agent_apple_privacy", Class::Prefetch, Some("apple")),
    // Gmail fetches images of some senders before the message is opened, as this frozen agent.
    rule(
        "mozilla/5.0 (windows nt 10.0; win64; x64) applewebkit/537.36 (khtml, like gecko) chrome/42.0.2311.135 safari/537.36 edge/12.246 mozilla/5.0",
        "agent_gmail_prefetch",
        Class::Prefetch,
        Some("gmail"),
    ),
    // Apple Mail's own view without privacy protection, and several machines.
    rule(
        "mozilla/5.0 (macintosh; intel mac os x 10_15_7) applewebkit/605.1.15 (khtml, like gecko)",
        "agent_ambiguous",
        Class::Unknown,
        None,
    ),
];

/// Parts of User-Agents. Where several match, the class that is furthest from a person counts,
/// and all reasons are given.
pub(super) const PARTS: &[AgentRule] = &[
    // Image proxies that fetch when a person opens: an open through them counts.
    rule("googleimageproxy", "agent_gmail_proxy", Class::Proxy, Some("gmail")),
    rule("yahoomailproxy", "agent_yahoo_proxy", Class::Proxy, Some("yahoo")),
    // The same frozen agent of Gmail's prefetch, whatever its platform part says.
    rule(
        "chrome/42.0.2311.135 safari/537.36 edge/12.246 mozilla/5.0",
        "agent_gmail_prefetch",
        Class::Prefetch,
        Some("gmail"),
    ),
    // Link previews.
    rule("bingpreview", "agent_bingpreview", Class::Prefetch, None),
    rule("skypeuripreview", "agent_skypeuripreview", Class::Prefetch, None),
    // Mail security gateways that name themselves (their makers' documentation; collected in
    // Mautic #9162 and listmonk #1025).
    rule("urldefense", "agent_urldefense", Class::Scanner, None),
    rule("safelinks", "agent_safelinks", Class::Scanner, None),
    rule("barracuda", "agent_barracuda", Class::Scanner, None),
    rule("mimecast", "agent_mimecast", Class::Scanner, None),
    rule("proofpoint", "agent_proofpoint", Class::Scanner, None),
    rule("forcepoint", "agent_forcepoint", Class::Scanner, None),
    rule("symantec", "agent_symantec", Class::Scanner, None),
    rule("trendmicro", "agent_trendmicro", Class::Scanner, None),
    rule("sophos", "agent_sophos", Class::Scanner, None),
    rule("zscaler", "agent_zscaler", Class::Scanner, None),
    // Browsers without a screen name themselves (HeadlessChrome).
    rule("headless", "agent_headless", Class::Scanner, None),
    // Crawlers that name themselves by the convention of robots.txt (RFC 9309): a product token
    // that ends in `bot`, followed by its version or the link to its page.
    rule("bot/", "agent_crawler", Class::Scanner, None),
    rule("bot;", "agent_crawler", Class::Scanner, None),
    rule("crawler", "agent_crawler", Class::Scanner, None),
    rule("spider", "agent_crawler", Class::Scanner, None),
    // HTTP libraries and tools under their default names: no person reads mail with them.
    rule("curl/", "agent_tool", Class::Scanner, None),
    rule("wget/", "agent_tool", Class::Scanner, None),
    rule("python-requests/", "agent_tool", Class::Scanner, None),
    rule("python-urllib/", "agent_tool", Class::Scanner, None),
    rule("aiohttp/", "agent_tool", Class::Scanner, None),
    rule("go-http-client/", "agent_tool", Class::Scanner, None),
    rule("libwww-perl/", "agent_tool", Class::Scanner, None),
    rule("apache-httpclient/", "agent_tool", Class::Scanner, None),
];

/// What ends an ambiguous agent: WebKit's engine and no browser after it, whatever the platform.
pub(super) const AMBIGUOUS_END: &str = "applewebkit/605.1.15 (khtml, like gecko)";

/// Request headers by which browsers and proxies say that they fetch ahead: `Sec-Purpose`
/// (Fetch standard), and the older `Purpose` (Chrome), `X-Purpose` (Safari), `X-Moz` (Firefox).
pub(super) const PURPOSE_HEADERS: &[&str] = &["sec-purpose", "purpose", "x-purpose", "x-moz"];

/// What such a header says then; it may say more around it (`prefetch;prerender`).
pub(super) const PURPOSES: &[&str] = &["prefetch", "preview", "prerender"];

/// A click sooner after the link was minted than this came before a person could have the message
/// in hand: handing it to the first server takes about this long. In milliseconds.
pub(super) const SOONEST_READ_MS: u64 = 2_000;
