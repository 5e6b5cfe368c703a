//! Verdict, rows, SSL state and sentence agree, whatever DNS answers.

use super::*;

/// Records and failures of the names that matter; some contradict others.
fn answers() -> impl Strategy<Value = Vec<(&'static str, Kind, Option<&'static str>)>> {
    const VIA: &str = "t.customer.example";
    let names = prop::sample::select(vec![NAME, VIA, EDGE, "customer.example", "other.example"]);
    let data = prop::sample::select(vec![
        (Kind::Cname, Some(EDGE)),
        (Kind::Cname, Some(VIA)),
        (Kind::Cname, Some("other.example")),
        (Kind::Cname, Some("x.cdn.cloudflare.net")),
        (Kind::Cname, None),
        (Kind::A, Some("203.0.113.1")),
        (Kind::A, Some("192.0.2.9")),
        (Kind::A, Some("104.16.0.1")),
        (Kind::A, None),
        (Kind::Aaaa, Some("2001:db8::1")),
        (Kind::Aaaa, Some("2001:db8::9")),
        (Kind::Aaaa, Some("2606:4700::1")),
        (Kind::Aaaa, None),
        (Kind::Caa, Some("0 issue ca.example")),
        (Kind::Caa, Some("0 issue other.example")),
        (Kind::Caa, None),
    ]);
    let one = (names, data).prop_map(|(name, (kind, value))| (name, kind, value));
    prop::collection::vec(one, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn verdict_rows_state_and_sentence_agree_whatever_dns_answers(
        answers in answers(),
        name in prop::sample::select(vec![NAME, "customer.example"]),
        configured in any::<bool>(),
    ) {
        let script = Script::new();
        for (name, kind, value) in &answers {
            match value {
                Some(value) => script.add(name, *kind, value),
                None => script.fail(name, *kind, LookupError::ServFail { text: None }),
            }
        }
        let ours = ["203.0.113.1", "2001:db8::1"];
        let addresses = if configured { &ours[..] } else { &[] };
        let checker = checker(Arc::new(script), addresses);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let mut record = record(name, None);
        let report = runtime.block_on(checker.report(&record));
        let points_here = runtime.block_on(checker.points_here(&record.name));
        let finding = &report.finding;

        prop_assert_eq!(report.https, finding.verdict == DnsVerdict::Right);
        prop_assert_eq!(finding.fault.is_some(), matches!(finding.verdict, DnsVerdict::Error { .. }));
        prop_assert_eq!(points_here.unwrap_or(finding.pointing == DnsVerdict::Right), finding.pointing == DnsVerdict::Right);
        prop_assert_eq!(points_here.is_none(), matches!(finding.pointing, DnsVerdict::Error { .. }));
        let not_right = report.records.iter().filter(|r| r.verdict != RecordStatus::Ok);
        prop_assert_eq!(not_right.count() == 0, report.https);

        if finding.fault == Some(Fault::Ours) {
            // The customer's servers are not blamed.
            prop_assert!(report.records.iter().all(|r| r.verdict != RecordStatus::Error && !r.hint.en.contains("DNS provider")));
            return Ok(());
        }
        record.apply(SslEvent::DnsChecked(finding.verdict.clone()), Timestamp::from_secs(1));
        prop_assert_eq!(record.ssl.reason.is_dns(), !report.https);
        let context = Context { target: EDGE, addresses: &checker.target().addresses, ca_id: Some("ca.example"), ca: "ca.example" };
        let text = messages::message(&record, context);
        prop_assert!(!text.en.contains('…') && !text.de.contains('…'), "{}", text.en);
        if !report.https {
            let facts = &record.ssl.facts;
            let known = match record.ssl.reason {
                Reason::Proxied => &facts.provider,
                Reason::CaaForbids => &facts.host,
                Reason::DnsError => &facts.zone,
                _ => &facts.found,
            };
            // A row shows what the sentence names, and the sentence requests no CNAME of an apex.
            let known = known.clone().unwrap_or_default();
            let shows = |r: &&RecordReport| {
                let parts: Vec<&str> = known.split(", ").collect();
                parts.iter().all(|k| r.hint.en.contains(k) || r.found.iter().any(|f| f == k) || r.host == *k)
            };
            prop_assert!(report.records.iter().filter(|r| r.verdict != RecordStatus::Ok).any(|r| shows(&r)), "{known}: {report:?}");
            prop_assert!(text.en.contains(&known), "{known}: {}", text.en);
            if name == "customer.example" {
                prop_assert!(!text.en.contains(" CNAME track"), "{}", text.en);
            }
        }
    }
}
