//! User-Agents and what the rules make of them: the table that tests the rules. Those of mail
//! providers, browsers, mail programs, crawlers and tools are as they are seen in logs; those of
//! gateways stand for the many forms in which these name themselves.

use super::verdict::Class;

/// Agent, class, reasons and proxy.
pub(super) const AGENTS: &[(&str, Class, &[&str], Option<&str>)] = &[
    // Proxies and prefetchers of mail providers.
    ("Mozilla/5.0", Class::Prefetch, &["agent_apple_privacy"], Some("apple")),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0",
        Class::Prefetch,
        &["agent_gmail_prefetch"],
        Some("gmail"),
    ),
    (
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0",
        Class::Prefetch,
        &["agent_gmail_prefetch"],
        Some("gmail"),
    ),
    (
        "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
        Class::Proxy,
        &["agent_gmail_proxy"],
        Some("gmail"),
    ),
    (
        "Mozilla/5.0 (Windows; U; Windows NT 5.1; de; rv:1.9.0.7) Gecko/2009021910 Firefox/3.0.7 (via ggpht.com GoogleImageProxy)",
        Class::Proxy,
        &["agent_gmail_proxy"],
        Some("gmail"),
    ),
    (
        "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
        Class::Proxy,
        &["agent_yahoo_proxy"],
        Some("yahoo"),
    ),
    // Says nothing: Apple Mail without privacy protection, and machines.
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
        Class::Unknown,
        &["agent_ambiguous"],
        None,
    ),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)",
        Class::Unknown,
        &["agent_ambiguous"],
        None,
    ),
    // Previews.
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko; BingPreview/1.0b) Chrome/80.0.3987.122 Safari/537.36",
        Class::Prefetch,
        &["agent_bingpreview"],
        None,
    ),
    (
        "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
        Class::Prefetch,
        &["agent_skypeuripreview"],
        None,
    ),
    (
        "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5 skype-url-preview@microsoft.com",
        Class::Prefetch,
        &["agent_skypeuripreview"],
        None,
    ),
    (
        "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
        Class::Prefetch,
        &["agent_link_preview"],
        None,
    ),
    (
        "Slack-ImgProxy 1.19 (+https://api.slack.com/robots)",
        Class::Prefetch,
        &["agent_link_preview"],
        None,
    ),
    (
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        Class::Prefetch,
        &["agent_link_preview"],
        None,
    ),
    (
        "TelegramBot (like TwitterBot)",
        Class::Prefetch,
        &["agent_link_preview"],
        None,
    ),
    ("WhatsApp/2.23.20.0", Class::Prefetch, &["agent_link_preview"], None),
    // Gateways that name themselves.
    (
        "Mozilla/5.0 (compatible; proofpoint-urldefense/1.0)",
        Class::Scanner,
        &["agent_urldefense", "agent_proofpoint"],
        None,
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) SafeLinks/1.0",
        Class::Scanner,
        &["agent_safelinks"],
        None,
    ),
    (
        "BarracudaCentral/1.0 (Barracuda Sentinel (EE))",
        Class::Scanner,
        &["agent_barracuda"],
        None,
    ),
    ("Barracuda Sentinel (EE)", Class::Scanner, &["agent_barracuda"], None),
    ("Mimecast-URL-Protection/1.0", Class::Scanner, &["agent_mimecast"], None),
    (
        "Mozilla/5.0 (compatible; ProofPoint URL Scanner)",
        Class::Scanner,
        &["agent_proofpoint"],
        None,
    ),
    (
        "Mozilla/5.0 (compatible; Forcepoint ThreatSeeker)",
        Class::Scanner,
        &["agent_forcepoint"],
        None,
    ),
    (
        "Mozilla/5.0 (compatible; Symantec Email Security.cloud)",
        Class::Scanner,
        &["agent_symantec"],
        None,
    ),
    (
        "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1) TrendMicro/1.0",
        Class::Scanner,
        &["agent_trendmicro"],
        None,
    ),
    ("Sophos-URL-Checker/2.0", Class::Scanner, &["agent_sophos"], None),
    (
        "Mozilla/5.0 (compatible; Zscaler-Inspect)",
        Class::Scanner,
        &["agent_zscaler"],
        None,
    ),
    // Programs.
    (
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/119.0.6045.105 Safari/537.36",
        Class::Scanner,
        &["agent_headless"],
        None,
    ),
    (
        "Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/538.1 (KHTML, like Gecko) PhantomJS/2.1.1 Safari/538.1",
        Class::Scanner,
        &["agent_headless"],
        None,
    ),
    (
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        Class::Scanner,
        &["agent_crawler"],
        None,
    ),
    (
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        Class::Scanner,
        &["agent_crawler"],
        None,
    ),
    (
        "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
        Class::Scanner,
        &["agent_crawler"],
        None,
    ),
    (
        "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)",
        Class::Scanner,
        &["agent_crawler"],
        None,
    ),
    (
        "Mozilla/5.0 (compatible; archive.org_bot; +https://archive.org/details/archive.org_bot)",
        Class::Scanner,
        &["agent_crawler"],
        None,
    ),
    (
        "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
        Class::Scanner,
        &["agent_crawler"],
        None,
    ),
    (
        "meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)",
        Class::Scanner,
        &["agent_crawler"],
        None,
    ),
    ("curl/8.5.0", Class::Scanner, &["agent_tool"], None),
    ("Wget/1.21.4", Class::Scanner, &["agent_tool"], None),
    ("python-requests/2.31.0", Class::Scanner, &["agent_tool"], None),
    ("Python-urllib/3.11", Class::Scanner, &["agent_tool"], None),
    ("python-httpx/0.27.0", Class::Scanner, &["agent_tool"], None),
    ("Python/3.11 aiohttp/3.9.1", Class::Scanner, &["agent_tool"], None),
    ("Go-http-client/1.1", Class::Scanner, &["agent_tool"], None),
    ("libwww-perl/6.67", Class::Scanner, &["agent_tool"], None),
    (
        "Apache-HttpClient/4.5.13 (Java/11.0.20)",
        Class::Scanner,
        &["agent_tool"],
        None,
    ),
    ("axios/1.6.2", Class::Scanner, &["agent_tool"], None),
    (
        "node-fetch/1.0 (+https://github.com/bitinn/node-fetch)",
        Class::Scanner,
        &["agent_tool"],
        None,
    ),
    ("GuzzleHttp/7", Class::Scanner, &["agent_tool"], None),
    ("  ", Class::Scanner, &["agent_empty"], None),
    // People's mail programs.
    (
        "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.4.0",
        Class::Human,
        &[],
        None,
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:115.0) Gecko/20100101 Thunderbird/115.16.0",
        Class::Human,
        &[],
        None,
    ),
    (
        "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.17928; Pro)",
        Class::Human,
        &[],
        None,
    ),
    (
        "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; WOW64; Trident/8.0; .NET4.0C; .NET4.0E; Microsoft Outlook 16.0.5422; ms-office; MSOffice 16)",
        Class::Human,
        &[],
        None,
    ),
    ("Outlook-iOS/711.2620504.prod.iphone (3.34.0)", Class::Human, &[], None),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15) AppleWebKit/537.36 (KHTML, like Gecko) Microsoft Outlook/16.78 Chrome/116.0.0.0 Safari/537.36",
        Class::Human,
        &[],
        None,
    ),
    (
        "Mozilla/5.0 (Linux; Android 14; SM-S918B Build/UP1A.231005.007; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/130.0.6723.58 Mobile Safari/537.36",
        Class::Human,
        &[],
        None,
    ),
    // People's browsers.
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
        Class::Human,
        &[],
        None,
    ),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
        Class::Human,
        &[],
        None,
    ),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/130.0.6723.37 Mobile/15E148 Safari/604.1",
        Class::Human,
        &[],
        None,
    ),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Safari/605.1.15",
        Class::Human,
        &[],
        None,
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0",
        Class::Human,
        &[],
        None,
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
        Class::Human,
        &[],
        None,
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 OPR/115.0.0.0",
        Class::Human,
        &[],
        None,
    ),
    (
        "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
        Class::Human,
        &[],
        None,
    ),
    (
        "Mozilla/5.0 (Android 14; Mobile; rv:132.0) Gecko/132.0 Firefox/132.0",
        Class::Human,
        &[],
        None,
    ),
    (
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36",
        Class::Human,
        &[],
        None,
    ),
    (
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/26.0 Chrome/122.0.0.0 Mobile Safari/537.36",
        Class::Human,
        &[],
        None,
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko",
        Class::Human,
        &[],
        None,
    ),
];
