//! The sentences that explain what is different in a suggested record.

use linkseal_domain::Text;

use super::Draft;

/// Terms named in a sentence.
const MAX_NAMED: usize = 8;
/// Characters shown of a term.
const MAX_NAMED_LENGTH: usize = 60;

impl Draft {
    pub(super) fn notes(&self) -> Option<Text> {
        let end = self.end();
        let mut notes = Vec::new();
        if !self.repaired.is_empty() {
            let all = |word: &str| {
                let pairs = self.repaired.iter();
                named(pairs.map(|(from, to)| format!("\"{}\" {word} \"{}\"", short(from), short(to))))
            };
            notes.push(Text::new(
                format!("Corrected: {}.", all("is now")),
                format!("Korrigiert: {}.", all("ist jetzt")),
            ));
        }
        if !self.lost.is_empty() {
            let lost = named(self.lost.iter().map(|t| short(t)));
            notes.push(Text::new(
                format!("Left out because receivers cannot use it: {lost}. Add these senders again with the correct spelling; until then the record must end in {end}."),
                format!("Weggelassen, weil Empfänger es nicht verwenden können: {lost}. Tragen Sie diese Absender korrekt geschrieben wieder ein; bis dahin muss der Eintrag mit {end} enden."),
            ));
        } else if self.ends.iter().any(|e| e != self.ends.first().unwrap_or(e)) {
            notes.push(Text::new(
                format!("The records end differently; the new one ends in {end}, the less strict ending."),
                format!("Die Einträge enden unterschiedlich; der neue endet mit {end}, der weniger strengen Angabe."),
            ));
        }
        if !self.voids.is_empty() {
            let voids = named(self.voids.iter().map(|t| short(t)));
            notes.push(Text::new(
                format!("Left out because these hosts do not exist: {voids}."),
                format!("Weggelassen, weil es diese Hosts nicht gibt: {voids}."),
            ));
        }
        if !self.doubles.is_empty() {
            let doubles = named(self.doubles.iter().map(|t| short(t)));
            notes.push(Text::new(
                format!("Left out because another include already contains it: {doubles}."),
                format!("Weggelassen, weil ein anderes include es bereits enthält: {doubles}."),
            ));
        }
        if !self.resolved.is_empty() {
            let resolved = named(self.resolved.iter().map(|t| short(t)));
            notes.push(Text::new(
                format!("To save DNS lookups, {resolved} was replaced with its addresses: update them if the servers move."),
                format!("Um DNS-Abfragen zu sparen, wurde {resolved} durch die Adressen ersetzt: Aktualisieren Sie diese, wenn die Server umziehen."),
            ));
        }
        notes.into_iter().reduce(|all, note| all.and(Some(note)))
    }
}

pub(super) fn short(text: &str) -> String {
    let mut kept: String = text.chars().take(MAX_NAMED_LENGTH).collect();
    if kept.len() < text.len() {
        kept.push('…');
    }
    kept
}

pub(super) fn named(all: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = all.take(MAX_NAMED + 1).collect();
    if all.len() > MAX_NAMED {
        all.truncate(MAX_NAMED);
        all.push("…".to_owned());
    }
    all.join(", ")
}
