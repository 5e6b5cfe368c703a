//! Which rule applies to a request: a look-up in memory, only for what the edge does not answer itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use linkseal_base::shutdown::Tasks;

use super::metrics::{Counters, Metrics};
use super::pool::Backend;
use super::{RuleSettings, UpstreamError};

/// All rules, as one snapshot. A host's own rules come before those for all hosts; the longest prefix wins.
#[derive(Clone, Default)]
pub struct Upstreams {
    /// By host, the longest prefix first.
    of_host: HashMap<String, Vec<Arc<Rule>>>,
    of_all: Vec<Arc<Rule>>,
}

/// One rule.
pub(in crate::http) struct Rule {
    pub(in crate::http) prefix: String,
    pub(in crate::http) response_timeout: Duration,
    pub(in crate::http) idle_timeout: Duration,
    pub(in crate::http) max_body: u64,
    pub(in crate::http) events: bool,
    pub(in crate::http) counters: Counters,
    pub(in crate::http) backend: Arc<Backend>,
}

impl Upstreams {
    /// Back ends with the same [`super::Origin`] in `previous` keep their connections and health. Connections
    /// run in `tasks`.
    pub fn new(
        rules: Vec<RuleSettings>,
        previous: &Self,
        metrics: &Metrics,
        tasks: &Tasks,
    ) -> Result<Self, UpstreamError> {
        let mut backends: Vec<Arc<Backend>> = previous.rules().map(|r| Arc::clone(&r.backend)).collect();
        let mut made = Self::default();
        for settings in rules {
            let backend = match backends.iter().find(|b| b.origin == settings.origin) {
                Some(backend) => Arc::clone(backend),
                None => {
                    let backend = Arc::new(Backend::new(settings.origin, tasks)?);
                    backends.push(Arc::clone(&backend));
                    backend
                }
            };
            let host = settings.host.as_ref().map_or("*", |name| name.as_str());
            let rule = Arc::new(Rule {
                counters: metrics.of(&format!("{host}{}", settings.prefix)),
                prefix: settings.prefix,
                response_timeout: settings.response_timeout,
                idle_timeout: settings.idle_timeout,
                max_body: settings.max_body,
                events: settings.events,
                backend,
            });
            match settings.host {
                Some(name) => made.of_host.entry(name.as_str().to_owned()).or_default().push(rule),
                None => made.of_all.push(rule),
            }
        }
        for rules in made.of_host.values_mut().chain(std::iter::once(&mut made.of_all)) {
            rules.sort_by_key(|rule| std::cmp::Reverse(rule.prefix.len()));
        }
        Ok(made)
    }

    /// The rule for a path on a domain. `None` if there is none, or if the path climbs out of its prefix.
    pub(in crate::http) fn find(&self, domain: &str, path: &str) -> Option<&Arc<Rule>> {
        let own = self.of_host.get(domain).into_iter().flatten();
        let rule = own.chain(&self.of_all).find(|rule| path.starts_with(&rule.prefix))?;
        (!climbs_out(&rule.prefix, path)).then_some(rule)
    }

    fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.of_host.values().flatten().chain(&self.of_all)
    }
}

/// Whether a path leaves its prefix once a back end resolves its dot segments. Back ends differ in what
/// they decode first and whether they merge slashes, so the worst case counts: `%2e`, `%2f`, `%5c` and `\`
/// are decoded, and empty segments are ignored.
fn climbs_out(prefix: &str, path: &str) -> bool {
    if !path.contains("..") && !path.contains('%') {
        return false;
    }
    let floor = prefix.split('/').filter(|s| !s.is_empty()).count();
    let plain = path
        .to_ascii_lowercase()
        .replace("%2e", ".")
        .replace("%2f", "/")
        .replace("%5c", "/")
        .replace('\\', "/");
    let mut depth = 0usize;
    for segment in plain.split('/') {
        // `..;x` is a dot segment to servers that know path parameters.
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." if depth <= floor => return true,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use linkseal_domain::DomainName;

    use super::super::{Http2, Origin};
    use super::*;

    fn rule(host: Option<&str>, prefix: &str, to: &str) -> RuleSettings {
        RuleSettings {
            host: host.map(|name| DomainName::parse(name).unwrap()),
            prefix: prefix.to_owned(),
            origin: Origin {
                to: to.parse().unwrap(),
                trust: Vec::new(),
                http2: Http2::Auto,
                connect_timeout: Duration::from_secs(5),
                max_concurrent: 8,
                max_per_network: 8,
            },
            response_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(5),
            max_body: 1024,
            events: false,
        }
    }

    fn made(rules: Vec<RuleSettings>, previous: &Upstreams) -> Upstreams {
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        Upstreams::new(rules, previous, &metrics, &Tasks::new()).unwrap()
    }

    #[test]
    fn the_longest_prefix_wins_and_a_hosts_own_rules_come_first() {
        let all = made(
            vec![
                rule(None, "/", "http://a:1"),
                rule(None, "/track/old/", "http://b:1"),
                rule(None, "/track/", "http://c:1"),
                rule(Some("links.a.example"), "/track", "http://d:1"),
            ],
            &Upstreams::default(),
        );
        for (host, path, to) in [
            ("x.example", "/", Some("a")),
            ("x.example", "/track", Some("a")),
            ("x.example", "/track/", Some("c")),
            ("x.example", "/track/old/1", Some("b")),
            ("x.example", "/track/%6fld/1", Some("c")),
            ("x.example", "/Track/", Some("a")),
            ("x.example", "", None),
            ("x.example", "*", None),
            ("links.a.example", "/track/old/1", Some("d")),
            ("links.a.example", "/tracking", Some("d")),
            ("links.a.example", "/other", Some("a")),
        ] {
            let found = all.find(host, path).and_then(|r| r.backend.origin.to.host());
            assert_eq!(found, to, "{host}{path}");
        }
        assert!(Upstreams::default().find("x.example", "/").is_none());
    }

    #[test]
    fn no_path_climbs_out_of_its_prefix() {
        let all = made(vec![rule(None, "/a/b/", "http://h")], &Upstreams::default());
        for path in [
            "/a/b/../c",
            "/a/b/%2e%2e/c",
            "/a/b/.%2E/c",
            "/a/b/x/../../c",
            "/a/b/..%2fc",
            "/a/b/x%2F..%2f..%2Fc",
            "/a/b/..\\c",
            "/a/b/..%5cc",
            "/a/b//../c",
            "/a/b/./../c",
            "/a/b/..;x/c",
            "/a/b/..",
        ] {
            assert!(all.find("x.example", path).is_none(), "{path}");
        }
        for path in [
            "/a/b/",
            "/a/b/x/../c",
            "/a/b/..c",
            "/a/b/c..",
            "/a/b/...",
            "/a/b/%2F/%zz/~/%",
            "/a/b/%252e%252e/c",
        ] {
            assert!(all.find("x.example", path).is_some(), "{path}");
        }
    }

    #[test]
    fn a_reload_keeps_unchanged_back_ends() {
        let first = made(
            vec![rule(None, "/", "http://a:1"), rule(None, "/b", "http://b:1")],
            &Upstreams::default(),
        );
        let mut wider = rule(None, "/b", "http://b:1");
        wider.origin.max_concurrent += 1;
        let second = made(vec![rule(Some("x.example"), "/c", "http://a:1"), wider], &first);
        let backend = |all: &Upstreams, path| Arc::clone(&all.find("x.example", path).unwrap().backend);
        assert!(Arc::ptr_eq(&backend(&first, "/"), &backend(&second, "/c")));
        assert!(!Arc::ptr_eq(&backend(&first, "/b"), &backend(&second, "/b")));
        assert!(second.find("x.example", "/").is_none());
    }

    #[test]
    fn rules_for_one_back_end_share_it() {
        let all = made(
            vec![rule(None, "/a", "http://a:1"), rule(None, "/b", "http://a:1")],
            &Upstreams::default(),
        );
        let backend = |path| &all.find("x.example", path).unwrap().backend;
        assert!(Arc::ptr_eq(backend("/a"), backend("/b")));
    }
}
