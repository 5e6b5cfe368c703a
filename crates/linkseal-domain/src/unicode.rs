//! Internationalized names as people read them. A label is shown in Unicode only if it cannot be mistaken
//! for another one: it is in one script (UTS #39, "highly restrictive"), and its letters do not all look
//! Latin. Any other label stays an A-label, as in browsers.

use std::borrow::Cow;

use icu_properties::props::{EnumeratedProperty, GeneralCategory, GeneralCategoryGroup, Script};

use super::DomainName;

/// Cyrillic and Greek letters that look Latin; a label of these alone would be read as a Latin one.
const LOOK_LATIN: &str = "аысԁеԍһіюјӏорԗԛѕԝхуъьҽпгѵѡαβεηικνοπρτυχω";
/// Latin letters beyond ASCII that are read as ASCII ones.
const READ_AS_ASCII: [char; 4] = ['ı', 'ĸ', 'ŉ', 'ſ'];

impl DomainName {
    /// The name as people read it: each label in Unicode where that is safe, else as an A-label.
    pub fn to_unicode(&self) -> Cow<'_, str> {
        if !self.as_str().contains("xn--") {
            return Cow::Borrowed(self.as_str());
        }
        let labels: Vec<Cow<'_, str>> = self.as_str().split('.').map(shown).collect();
        Cow::Owned(labels.join("."))
    }

    /// The name for people who also have to copy it: with the A-labels behind it where they differ.
    pub fn with_ascii(&self) -> Cow<'_, str> {
        match self.to_unicode() {
            Cow::Borrowed(same) => Cow::Borrowed(same),
            Cow::Owned(unicode) if unicode == self.as_str() => Cow::Borrowed(self.as_str()),
            Cow::Owned(unicode) => Cow::Owned(format!("{unicode} ({self})")),
        }
    }

    /// Whether its Unicode form starts with a text, even if it is shown as A-labels.
    pub fn starts_with_unicode(&self, prefix: &str) -> bool {
        idna::domain_to_unicode(self.as_str()).0.starts_with(prefix)
    }
}

fn shown(label: &str) -> Cow<'_, str> {
    if !label.starts_with("xn--") {
        return Cow::Borrowed(label);
    }
    match idna::domain_to_unicode(label) {
        (unicode, Ok(())) if is_safe(&unicode) => Cow::Owned(unicode),
        _ => Cow::Borrowed(label),
    }
}

/// Whether a label in Unicode cannot be mistaken for another one.
fn is_safe(label: &str) -> bool {
    let group = GeneralCategoryGroup::Letter
        .union(GeneralCategoryGroup::Mark)
        .union(GeneralCategoryGroup::Number);
    let is_word = |c: char| c == '-' || group.contains(GeneralCategory::for_char(c));
    if !label.chars().all(is_word) || label.chars().all(|c| c.is_ascii() || LOOK_LATIN.contains(c)) {
        return false;
    }
    let mut scripts: Vec<Script> = label.chars().map(Script::for_char).collect();
    scripts.retain(|s| ![Script::Common, Script::Inherited].contains(s));
    scripts.dedup();
    let within = |allowed: &[Script]| scripts.iter().all(|s| allowed.contains(s));
    let one = scripts.windows(2).all(|w| w.first() == w.last());
    let east_asian = [
        [Script::Latin, Script::Han, Script::Hiragana, Script::Katakana].as_slice(),
        &[Script::Latin, Script::Han, Script::Bopomofo],
        &[Script::Latin, Script::Han, Script::Hangul],
    ];
    let latin = within(&[Script::Latin]);
    (one || east_asian.into_iter().any(within)) && (!latin || label.chars().all(is_common_latin))
}

/// Latin letters of modern languages: phonetic and historic letters look like others.
fn is_common_latin(c: char) -> bool {
    let known =
        matches!(c, '\u{df}'..='\u{17e}' | '\u{1a0}'..='\u{1b0}' | '\u{218}'..='\u{21b}' | '\u{1ea0}'..='\u{1ef9}');
    c.is_ascii() || (known && !READ_AS_ASCII.contains(&c))
}

/// How to find names that start with a text in Unicode among A-labels: a prefix that all of them have
/// and, if others have it too, the text to check with [`DomainName::starts_with_unicode`].
pub fn search_prefix(text: &str) -> (String, Option<String>) {
    let text = text.trim().to_lowercase();
    if text.is_ascii() {
        return (text, None);
    }
    // A final dot ends a label: IDNA maps case, width and composition, also of a part of one.
    let (mapped, _) = idna::domain_to_unicode(&text);
    let (whole, part) = mapped.rsplit_once('.').unwrap_or(("", mapped.as_str()));
    let whole = match whole {
        "" => String::new(),
        labels => format!(
            "{}.",
            idna::domain_to_ascii(labels).unwrap_or_else(|_| labels.to_owned())
        ),
    };
    match part.is_ascii() {
        true => (format!("{whole}{part}"), None),
        false => (format!("{whole}xn--"), Some(mapped)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    #[test]
    fn a_label_is_shown_in_unicode_only_if_it_cannot_be_mistaken() {
        for shown in [
            "links.bücher.example",
            "straße.example",
            "łódź.example",
            "việt.example",
            "пример.example",
            "ελλάδα.example",
            "例え.example",
            "日本語abc.example",
            "한국.example",
            "नमस्ते.example",
            "שלום.example",
            "bücher.пример.example",
        ] {
            assert_eq!(name(shown).to_unicode(), shown);
            assert_eq!(name(shown).with_ascii(), format!("{shown} ({})", name(shown)));
        }
        for hidden in [
            // Cyrillic letters that all look Latin, and some among Latin ones.
            "аррӏе.example",
            "раypal.example",
            "gооgle.example",
            // Greek among Latin, Latin that is read as another letter, phonetic letters, an emoji.
            "αpple.example",
            "faceb\u{43e}\u{43e}k.example",
            "lıkes.example",
            "ɑpple.example",
            "i❤.example",
        ] {
            let name = name(hidden);
            assert_eq!(
                (name.to_unicode(), name.with_ascii()),
                (name.as_str().into(), name.as_str().into()),
                "{hidden}"
            );
        }
        assert_eq!(name("links.customer.example").to_unicode(), "links.customer.example");
    }

    #[test]
    fn a_search_in_unicode_is_a_range_of_a_labels_and_a_check_of_each() {
        for (typed, range, rest) in [
            ("links.cu", "links.cu", None),
            ("links.bü", "links.xn--", Some("links.bü")),
            ("LINKS.BÜ", "links.xn--", Some("links.bü")),
            ("bücher.e", "xn--bcher-kva.e", None),
            ("bücher.", "xn--bcher-kva.", None),
            ("bücher.ö", "xn--bcher-kva.xn--", Some("bücher.ö")),
        ] {
            assert_eq!(
                search_prefix(typed),
                (range.to_owned(), rest.map(str::to_owned)),
                "{typed}"
            );
        }
        assert!(name("links.bücher.example").starts_with_unicode("links.bü"));
        assert!(!name("links.böcher.example").starts_with_unicode("links.bü"));
    }
}
