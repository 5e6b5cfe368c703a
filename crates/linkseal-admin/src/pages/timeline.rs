//! The text of entries in a domain's history: the event, whether it is good, and the detail, translated
//! as far as linkseal wrote it.

use linkseal_base::clock::Timestamp;
use linkseal_domain::Language;
use linkseal_domain::messages::minute;

/// Whether an event is good for the domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    Neutral,
}

impl Tone {
    /// The CSS class.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Neutral => "neutral",
        }
    }
}

/// The text of an event. An unknown event is shown by its stored name.
pub(super) fn event(name: &str, l: Language) -> (String, Tone) {
    match known(name) {
        Some((en, de, tone)) => (l.pick(en, de).to_owned(), tone),
        None => (name.replace('_', " "), Tone::Neutral),
    }
}

fn known(name: &str) -> Option<(&'static str, &'static str, Tone)> {
    use Tone::{Bad, Good, Neutral};
    Some(match name {
        "registered" => ("Registered", "Eingetragen", Neutral),
        "admitted" => ("Admitted", "Zugelassen", Neutral),
        "denied" => ("Not admitted", "Nicht zugelassen", Bad),
        "dns_right" => ("DNS correct", "DNS korrekt", Good),
        "dns_wrong" => ("DNS incorrect", "DNS nicht korrekt", Bad),
        "departed" => ("Now checked less often", "Wird seltener geprüft", Neutral),
        "preflight" => ("Reachability checked", "Erreichbarkeit geprüft", Neutral),
        "probe_ok" => ("Reachable with its certificate", "Mit Zertifikat erreichbar", Good),
        "probe_failed" => (
            "Not reachable with its certificate",
            "Nicht mit Zertifikat erreichbar",
            Bad,
        ),
        "order_started" => ("Order placed", "Bestellung aufgegeben", Neutral),
        "order_resumed" => ("Order resumed", "Bestellung wieder aufgenommen", Neutral),
        "validating" => ("Validation by the CA started", "Prüfung durch die CA begonnen", Neutral),
        "issued" => ("Certificate issued", "Zertifikat ausgestellt", Good),
        "renewed" => ("Certificate renewed", "Zertifikat erneuert", Good),
        "failed" => ("Attempt failed", "Versuch fehlgeschlagen", Bad),
        "doubted" => (
            "Attempt failed; the cause is being checked",
            "Versuch fehlgeschlagen; die Ursache wird geprüft",
            Neutral,
        ),
        "order_gone" => (
            "Order no longer known to the CA",
            "Bestellung bei der CA nicht mehr bekannt",
            Neutral,
        ),
        "released" => ("Wait ended manually", "Wartezeit manuell beendet", Neutral),
        "held_back" => (
            "Delayed by a rate limit of the CA",
            "Durch ein Limit der CA verzögert",
            Neutral,
        ),
        "expiring" => ("Certificate expires soon", "Zertifikat läuft bald ab", Bad),
        "expired" => ("Certificate expired", "Zertifikat abgelaufen", Bad),
        "frozen" => ("Orders frozen", "Bestellungen angehalten", Neutral),
        "thawed" => ("Orders unfrozen", "Bestellungen freigegeben", Neutral),
        "tenant_changed" => (
            "Moved to another tenant",
            "An einen anderen Mandanten übergeben",
            Neutral,
        ),
        "certificate_lost" => (
            "Stored certificate unusable",
            "Gespeichertes Zertifikat nicht verwendbar",
            Bad,
        ),
        "valid_again" => ("Certificate valid again", "Zertifikat wieder gültig", Good),
        "paused" => ("Paused", "Pausiert", Neutral),
        "resumed" => ("Resumed", "Fortgesetzt", Neutral),
        "retired" => ("Retired", "Stillgelegt", Neutral),
        "verify" => ("Verified manually", "Manuell überprüft", Neutral),
        "reissue" => ("New certificate requested", "Neues Zertifikat angefordert", Neutral),
        _ => return None,
    })
}

/// Who did it, if the detail says so, and whether it was repeated.
pub(super) fn who(detail: &str) -> Option<(&str, bool)> {
    let again = detail.strip_prefix("again, by ").map(|who| (who, true));
    again.or_else(|| detail.strip_prefix("by ").map(|who| (who, false)))
}

/// The detail in the visitor's language, with times in the format of the pages.
pub(super) fn detail(text: &str, l: Language) -> String {
    let text = match who(text) {
        Some((who, true)) => format!("{} {who}", l.pick("again, by", "erneut, von")),
        Some((who, false)) => format!("{} {who}", l.pick("by", "von")),
        None => text.replace("until ", l.pick("until ", "bis ")),
    };
    let word = |word: &str| {
        let end = word.len() - word.trim_end_matches([',', '.', ';', ')']).len();
        let (bare, end) = word.split_at(word.len() - end);
        match bare.len() >= 20 {
            true => Timestamp::parse_rfc3339(bare).map_or_else(|| word.to_owned(), |t| minute(t, l) + end),
            false => word.to_owned(),
        }
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_translated() {
        for (stored, en, de) in [
            ("by ops", "by ops", "von ops"),
            ("again, by ops", "again, by ops", "erneut, von ops"),
            (
                "Let's Encrypt, until 2027-02-26T16:53:31Z",
                "Let's Encrypt, until 2027-02-26 16:53 UTC",
                "Let's Encrypt, bis 26.02.2027, 16:53 UTC",
            ),
            ("the CA said no", "the CA said no", "the CA said no"),
        ] {
            assert_eq!(detail(stored, Language::En), en);
            assert_eq!(detail(stored, Language::De), de);
        }
    }

    /// No event that the control plane writes is shown by its stored name.
    #[test]
    fn every_event_has_a_text() {
        let control = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../linkseal-control/src");
        let mut seen = 0;
        let mut folders = vec![control];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                // Both names of the call, until the control plane has only the latter.
                let calls = ["tells(\"", ".log(\""].map(|call| text.split(call).skip(1));
                for call in calls.into_iter().flatten() {
                    let name = call.split('"').next().unwrap();
                    assert!(known(name).is_some(), "{name} in {}", path.display());
                    seen += 1;
                }
            }
        }
        assert!(seen > 10, "the search finds the calls");
    }
}
