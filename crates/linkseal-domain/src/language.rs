//! The languages of all texts for people.

/// A language in which every text exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// The default.
    En,
    De,
}

/// A text in both languages.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Text {
    /// English.
    pub en: String,
    /// German.
    pub de: String,
}

impl Text {
    pub fn new(en: impl Into<String>, de: impl Into<String>) -> Self {
        Self {
            en: en.into(),
            de: de.into(),
        }
    }

    /// The text followed by another one.
    #[must_use]
    pub fn and(mut self, more: Option<Self>) -> Self {
        if let Some(more) = more {
            self.en = format!("{} {}", self.en, more.en);
            self.de = format!("{} {}", self.de, more.de);
        }
        self
    }

    /// The text in one language.
    pub fn in_language(&self, language: Language) -> &str {
        language.pick(&self.en, &self.de)
    }
}

impl Language {
    pub const ALL: [Self; 2] = [Self::En, Self::De];

    /// Its tag (RFC 5646), for `lang` and `Content-Language`.
    pub fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::De => "de",
        }
    }

    /// Its name in the language itself.
    pub fn name(self) -> &'static str {
        self.pick("English", "Deutsch")
    }

    /// Picks one of two variants.
    pub fn pick<T>(self, english: T, german: T) -> T {
        match self {
            Self::En => english,
            Self::De => german,
        }
    }

    /// The language of a tag, ignoring its region; `None` if there are no texts in it.
    pub fn parse(tag: &str) -> Option<Self> {
        let main = tag.split('-').next()?;
        Self::ALL.into_iter().find(|l| l.tag().eq_ignore_ascii_case(main))
    }

    /// The language that an `Accept-Language` prefers (RFC 9110 §12.5.4): the higher weight, or the
    /// first of equals.
    pub fn accepted(header: &str) -> Self {
        let mut best = (Self::En, 0);
        for range in header.split(',') {
            let (tag, weight) = range.split_once(';').unwrap_or((range, ""));
            let Some(language) = Self::parse(tag.trim()) else {
                continue;
            };
            let weight = thousandths(weight);
            if weight > best.1 {
                best = (language, weight);
            }
        }
        best.0
    }
}

/// `q=0.8` in thousandths; 1000 if there is none, 0 if it is malformed (RFC 9110 §12.4.2).
fn thousandths(parameter: &str) -> u32 {
    let parameter = parameter.trim();
    if parameter.is_empty() {
        return 1000;
    }
    let value = parameter.strip_prefix("q=").or(parameter.strip_prefix("Q="));
    match value.and_then(|v| v.parse::<f32>().ok()) {
        Some(q) if (0.0..=1.0).contains(&q) => (q * 1000.0) as u32,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_with_the_higher_weight_wins() {
        for (accepted, language) in [
            ("de", Language::De),
            ("de-AT,de;q=0.9,en;q=0.8", Language::De),
            ("en-US,en;q=0.9,de;q=0.8", Language::En),
            ("en;q=0.5, DE;q=0.7", Language::De),
            ("fr, de;q=0.1", Language::De),
            ("fr", Language::En),
            ("de;q=0", Language::En),
            ("de;q=x, en;q=0.1", Language::En),
            ("*", Language::En),
            ("", Language::En),
        ] {
            assert_eq!(Language::accepted(accepted), language, "{accepted}");
        }
    }
}
