//! Suggestions evaluated by a receiver written from the RFC.

use super::*;

/// A receiver's result for mail from an address (RFC 7208 §2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mail {
    Pass,
    Fail,
    SoftFail,
    Neutral,
    None,
    Error,
}

/// A receiver written from the RFC, independently of the checker.
struct Receiver {
    lookups: usize,
    voids: usize,
}

impl Receiver {
    async fn result(queries: &Queries<'_>, ip: IpAddr) -> Mail {
        let mut receiver = Self { lookups: 0, voids: 0 };
        receiver.check_host(queries, DOMAIN.to_owned(), ip).await
    }

    fn check_host<'a>(
        &'a mut self,
        queries: &'a Queries<'_>,
        domain: String,
        ip: IpAddr,
    ) -> Pin<Box<dyn Future<Output = Mail> + 'a>> {
        Box::pin(async move {
            let Ok(answer) = queries.get(&domain, Kind::Txt).await else {
                return Mail::None;
            };
            let texts: Vec<&str> = answer
                .texts()
                .filter(|t| *t == "v=spf1" || t.starts_with("v=spf1 "))
                .collect();
            let [text] = texts.as_slice() else {
                return if texts.is_empty() { Mail::None } else { Mail::Error };
            };
            let mut redirect = None;
            for word in text.split(' ').skip(1).filter(|w| !w.is_empty()) {
                let Some(term) = term::term(word) else {
                    return Mail::Error;
                };
                if let Term::Redirect { target } = term.kind {
                    redirect = Some(target.to_owned());
                    continue;
                }
                let costs = !matches!(term.kind, Term::All | Term::Address | Term::Modifier);
                self.lookups += usize::from(costs);
                if self.lookups > 10 || self.voids > 2 {
                    return Mail::Error;
                }
                let matches = match term.kind {
                    Term::All => true,
                    Term::Address => {
                        let value = word.split_once(':').unwrap().1;
                        let net = value.parse::<ipnet::IpNet>().ok();
                        net.map_or_else(|| value.parse() == Ok(ip), |n| n.contains(&ip))
                    }
                    Term::Include { target, .. } => match self.check_host(queries, target.to_owned(), ip).await {
                        Mail::Pass => true,
                        Mail::Error | Mail::None => return Mail::Error,
                        _ => false,
                    },
                    Term::Hosts { mx, name, .. } => {
                        let name = name.map_or_else(|| domain.clone(), str::to_owned);
                        let Some(addresses) = self.hosts(queries, &name, mx).await else {
                            return Mail::Error;
                        };
                        addresses.contains(&ip)
                    }
                    Term::Exists { target } => queries.get(target, Kind::A).await.is_ok(),
                    _ => false,
                };
                if matches {
                    return match word.as_bytes()[0] {
                        b'-' => Mail::Fail,
                        b'~' => Mail::SoftFail,
                        b'?' => Mail::Neutral,
                        _ => Mail::Pass,
                    };
                }
            }
            let Some(target) = redirect else { return Mail::Neutral };
            self.lookups += 1;
            match self.check_host(queries, target, ip).await {
                Mail::None => Mail::Error,
                result => result,
            }
        })
    }

    /// The addresses of a host, or of a domain's mail hosts. `None`: too many of these.
    async fn hosts(&mut self, queries: &Queries<'_>, name: &str, mx: bool) -> Option<Vec<IpAddr>> {
        let mut hosts = vec![name.to_owned()];
        if mx {
            let answer = queries.get(name, Kind::Mx).await.unwrap_or_default();
            let exchanges = answer.records.iter().map(|r| r.data.to_string());
            hosts = exchanges.map(|e| e.split(' ').nth(1).unwrap().to_owned()).collect();
        }
        if hosts.len() > 10 {
            return None;
        }
        let mut found = Vec::new();
        for host in &hosts {
            for kind in [Kind::A, Kind::Aaaa] {
                found.extend(queries.get(host, kind).await.unwrap_or_default().addresses());
            }
        }
        self.voids += usize::from(found.is_empty());
        Some(found)
    }
}

const SENDERS: [&str; 12] = [
    "192.0.2.1",
    "192.0.2.7",
    "192.0.2.8",
    "198.51.100.1",
    "198.51.100.2",
    "198.51.100.3",
    "198.51.100.105",
    "2001:db8::2",
    "203.0.113.1",
    "203.0.113.2",
    "203.0.113.3",
    "192.0.2.200",
];

async fn mail(script: &Script) -> Vec<Mail> {
    let mut results = Vec::new();
    for ip in SENDERS {
        let ip = ip.parse().unwrap();
        results.push(
            script
                .with_queries(async |queries| Receiver::result(queries, ip).await)
                .await,
        );
    }
    results
}

fn some_terms() -> impl proptest::strategy::Strategy<Value = Vec<&'static str>> {
    const TERMS: [&str; 34] = [
        "a",
        "mx",
        "a:1.example",
        "a:2.example",
        "a:3.example",
        "a:gone1.example",
        "a:gone2.example",
        "a:gone3.example",
        "mx:5.example",
        "mx:many.example",
        "exists:%{i}.e.example",
        "ptr",
        "include:v1.example",
        "include:v2.example",
        "?include:v3.example",
        "include:deep.example",
        "include:_spf.other.example",
        "include:half.example",
        "include:gone.example",
        "include:spf.platform.example",
        "include:spf.platfrom.example",
        "include: v1.example",
        "include=v2.example",
        "include:v1.example-all",
        "ip4:192.0.2.1",
        "ip4: 192.0.2.1",
        "192.0.2.8",
        "ip4:192.0.2",
        "mxinclude:v1.example",
        "redirect=deep.example",
        "redirect=gone.example",
        "-all",
        "~all",
        "?all",
    ];
    proptest::collection::vec(proptest::sample::select(TERMS.as_slice()), 0..12)
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(300))]

    /// A published suggestion is correct; mail that passed still passes, and so does mail from every
    /// address that the old record names.
    #[test]
    fn suggestions_are_correct_and_all_mail_that_passed_still_passes(first in some_terms(), second in proptest::option::weighted(0.2, some_terms())) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let texts: Vec<String> = [Some(first), second].into_iter().flatten().map(|t| format!("v=spf1 {}", t.join(" "))).collect();
        runtime.block_on(async {
            let with = |texts: &[String]| {
                let script = world();
                script.add(OURS, Kind::Txt, "v=spf1 ip4:192.0.2.0/28 -all");
                texts.iter().for_each(|t| script.add(DOMAIN, Kind::Txt, t));
                script
            };
            let queries = async |script: &Script| script.with_queries(async |queries| check(queries, DOMAIN, OURS).await).await;
            let script = with(&texts);
            let row = queries(&script).await;
            let Some(suggested) = row.expected.first() else {
                assert!(row.hint.en.contains("First remove services"), "{texts:?}: {}", row.hint.en);
                return;
            };
            let after = with(std::slice::from_ref(suggested));
            let again = queries(&after).await;
            assert_eq!(again.verdict, RecordStatus::Ok, "{texts:?} -> {suggested}: {}", again.hint.en);
            assert_eq!(&again.expected[0], suggested);
            for ((ip, was), is) in SENDERS.into_iter().zip(mail(&script).await).zip(mail(&after).await) {
                assert!(was != Mail::Pass || is == Mail::Pass, "{ip}: {texts:?} -> {suggested}: {is:?}");
                let named = texts.iter().any(|t| t.contains(ip) && t.split(ip).next().is_some_and(|b| !b.contains("all")));
                assert!(!named || is == Mail::Pass, "{ip} of {texts:?} -> {suggested}: {is:?}");
                assert_ne!(is, Mail::Error, "{texts:?} -> {suggested}");
            }
        });
    }
}
