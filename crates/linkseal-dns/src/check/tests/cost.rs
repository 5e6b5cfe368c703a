//! Questions and time that a check takes.

use super::*;

#[tokio::test]
async fn a_cname_to_the_edge_takes_one_question_and_is_counted() {
    let script = Arc::new(script(&[(NAME, Kind::Cname, EDGE)]));
    let (mut checker, registry) = checker(Script::new(), &[]);
    checker.lookup = script.clone();
    let finding = checker.https(&name(NAME)).await;
    assert_eq!(script.asked(), [(NAME.to_owned(), Kind::Cname)]);
    assert_eq!(
        finding.chain,
        [Alias {
            from: NAME.into(),
            to: EDGE.into(),
        }]
    );
    assert_eq!(finding.ttl, Some(TTL));
    let right = registry.gather()[0]
        .get_metric()
        .iter()
        .find(|m| m.get_label()[0].value() == "right")
        .map(|m| m.get_counter().get_value());
    assert_eq!(right, Some(1.0));
}

struct Silent;

#[async_trait::async_trait]
impl Lookup for Silent {
    async fn lookup(&self, _: &str, _: Kind) -> Result<Answer, LookupError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_check_ends_at_its_time_limit() {
    let (mut checker, _) = checker(Script::new(), &[]);
    checker.lookup = Arc::new(Silent);
    checker.time = Duration::from_millis(20);
    let timed_out = DnsVerdict::Error {
        zone: "customer.example".into(),
        error: "timeout".into(),
    };
    assert_eq!(checker.https(&name(NAME)).await.verdict, timed_out);
}
