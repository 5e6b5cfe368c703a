//! SPF records of a customer, checked against scripted DNS.

mod receiver;
mod suggestion;
mod verdict;

use std::net::IpAddr;
use std::pin::Pin;

use super::*;
use crate::lookup::Kind;
use crate::mail::spf::term;
use crate::mail::spf::walk::steps;
use crate::testing::Script;

const DOMAIN: &str = "customer.example";
const OURS: &str = "spf.platform.example";

async fn report(script: &Script) -> RecordReport {
    script.add(OURS, Kind::Txt, "v=spf1 ip4:192.0.2.0/24 -all");
    script
        .with_queries(async |queries| check(queries, DOMAIN, OURS).await)
        .await
}

/// Names that records may refer to.
fn world() -> Script {
    let script = Script::new();
    for host in ["e", "1", "2", "3", "4", "6", "mail"] {
        script.add(&format!("{host}.example"), Kind::A, "198.51.100.1");
    }
    script.add("1.example", Kind::A, "198.51.100.2");
    script.add("2.example", Kind::Aaaa, "2001:db8::2");
    script.add(DOMAIN, Kind::A, "198.51.100.3");
    script.add(DOMAIN, Kind::Mx, "10 mail.example");
    script.add("5.example", Kind::Mx, "10 mail.example");
    for (name, text) in [
        ("_spf.other.example", "v=spf1 ip4:192.0.2.7 -all"),
        (
            "deep.example",
            "v=spf1 include:_spf.other.example a:1.example a:2.example ~all",
        ),
        ("half.example", "v=spf1 include:gone.example ip4:192.0.2.8 -all"),
        ("v1.example", "v=spf1 ip4:203.0.113.1 -all"),
        ("v2.example", "v=spf1 ip4:203.0.113.2 -all"),
        ("v3.example", "v=spf1 ip4:203.0.113.3 -all"),
    ] {
        script.add(name, Kind::Txt, text);
    }
    for i in 0..12 {
        script.add("many.example", Kind::Mx, &format!("10 m{i}.example"));
        script.add(&format!("m{i}.example"), Kind::A, &format!("198.51.100.{}", 100 + i));
    }
    script
}
