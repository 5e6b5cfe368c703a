//! The entries of a domain's history in people's words: what happened, whether that is good, and
//! the detail in the reader's language as far as linkseal wrote it.

use linkseal_base::clock::Timestamp;
use linkseal_domain::Language;
use linkseal_domain::messages::minute;

/// What an entry means for the domain, whatever state it was in then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    Neutral,
}

impl Tone {
    /// The class of its mark.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Neutral => "neutral",
        }
    }
}

/// An event's name in words. One that this page does not know yet is shown as it is stored.
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
        "dns_right" => ("DNS is right", "DNS stimmt", Good),
        "dns_wrong" => ("DNS is not right", "DNS stimmt nicht", Bad),
        "departed" => ("Checked less often", "Seltenere Prüfung", Neutral),
        "preflight" => ("Reachability checked", "Erreichbarkeit geprüft", Neutral),
        "probe_ok" => ("Reachable with its certificate", "Mit Zertifikat erreichbar", Good),
        "probe_failed" => (
            "Not reachable with its certificate",
            "Nicht mit Zertifikat erreichbar",
            Bad,
        ),
        "order_started" => ("Order placed", "Bestellung aufgegeben", Neutral),
        "order_resumed" => ("Order resumed", "Bestellung wieder aufgenommen", Neutral),
        "validating" => ("The CA checks", "Die CA prüft", Neutral),
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
        "released" => ("Waiting ended by hand", "Warten von Hand beendet", Neutral),
        "held_back" => (
            "Held back by a limit of the CA",
            "Durch ein Limit der CA aufgehalten",
            Neutral,
        ),
        "expiring" => ("Certificate expires soon", "Zertifikat läuft bald ab", Bad),
        "expired" => ("Certificate expired", "Zertifikat abgelaufen", Bad),
        "frozen" => ("Orders frozen", "Bestellungen eingefroren", Neutral),
        "thawed" => ("Orders released", "Bestellungen freigegeben", Neutral),
        "tenant_changed" => (
            "Moved to another tenant",
            "An einen anderen Mandanten übergeben",
            Neutral,
        ),
        "certificate_lost" => (
            "Stored certificate cannot be used",
            "Gespeichertes Zertifikat nicht verwendbar",
            Bad,
        ),
        "valid_again" => ("Certificate is valid after all", "Zertifikat ist doch gültig", Good),
        "paused" => ("Paused", "Angehalten", Neutral),
        "resumed" => ("Resumed", "Fortgesetzt", Neutral),
        "retired" => ("Retired", "Stillgelegt", Neutral),
        "verify" => ("Verified by hand", "Von Hand überprüft", Neutral),
        "reissue" => ("New certificate requested", "Neues Zertifikat angefordert", Neutral),
        _ => return None,
    })
}

/// Who did it, where a detail says that, and whether it was done again.
pub(super) fn who(detail: &str) -> Option<(&str, bool)> {
    let again = detail.strip_prefix("again, by ").map(|who| (who, true));
    again.or_else(|| detail.strip_prefix("by ").map(|who| (who, false)))
}

/// A detail as the reader sees it: who did it in their language, times as the page writes them.
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
            true => Timestamp::parse_rfc3339(bare).map_or_else(|| word.to_owned(), |t| minute(t) + end),
            false => word.to_owned(),
        }
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_in_the_readers_language() {
        for (stored, en, de) in [
            ("by ops", "by ops", "von ops"),
            ("again, by ops", "again, by ops", "erneut, von ops"),
            (
                "Let's Encrypt, until 2027-02-26T16:53:31Z",
                "Let's Encrypt, until 2027-02-26 16:53 UTC",
                "Let's Encrypt, bis 2027-02-26 16:53 UTC",
            ),
            ("the CA said no", "the CA said no", "the CA said no"),
        ] {
            assert_eq!(detail(stored, Language::En), en);
            assert_eq!(detail(stored, Language::De), de);
        }
    }

    /// Every event that the control plane writes has words: none is shown by its stored name.
    #[test]
    fn every_event_has_words() {
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
                for call in text.split("tells(\"").skip(1) {
                    let name = call.split('"').next().unwrap();
                    assert!(known(name).is_some(), "{name} in {}", path.display());
                    seen += 1;
                }
            }
        }
        assert!(seen > 10, "the search finds the calls");
    }
}
