//! Corrects the terms of an SPF record: errors with one obvious reading are fixed, so that a
//! suggestion does not lose a sender because of a space or a typing error.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::mail::spf::term::{Kind, begins, term};

/// A word of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Receivers can read it.
    Readable(String),
    /// Receivers cannot read it, but it can only mean these terms.
    Repaired {
        from: String,
        to: Vec<String>,
    },
    Unreadable(String),
}

/// Longer words are not corrected; in bytes.
const MAX_WORD: usize = 300;
/// What a term begins with that follows another without a space. Not a bare `all`, with which all mail
/// passes.
const STARTS: [&str; 10] = [
    "include:",
    "redirect=",
    "exists:",
    "ip4:",
    "ip6:",
    "mx:",
    "a:",
    "-all",
    "~all",
    "?all",
];

/// The words of a text, separately for each record in it.
pub(crate) fn read(text: &str) -> Vec<Vec<Word>> {
    let text: String = text.chars().filter_map(plain).collect();
    let mut records = Vec::new();
    let mut words: Vec<Word> = Vec::new();
    let mut parts = text.split(' ').filter(|p| !p.is_empty()).skip(1).peekable();
    while let Some(part) = parts.next() {
        if part.eq_ignore_ascii_case("v=spf1") {
            records.push(std::mem::take(&mut words));
            continue;
        }
        let joined = parts.peek().and_then(|next| joined(part, next));
        words.push(match joined {
            Some(to) => {
                let next = parts.next().unwrap_or_default();
                Word::Repaired {
                    from: format!("{part} {next}"),
                    to: vec![to],
                }
            }
            None if is_meant(part) => Word::Readable(part.to_owned()),
            None => match apart(part) {
                Some(to) => Word::Repaired {
                    from: part.to_owned(),
                    to,
                },
                None if term(part).is_some() => Word::Readable(part.to_owned()),
                None => Word::Unreadable(part.to_owned()),
            },
        });
    }
    records.push(words);
    records
}

/// A character as it was meant: word processors replace dashes, spaces and quotation marks.
fn plain(c: char) -> Option<char> {
    match c {
        '\u{2010}'..='\u{2015}' | '\u{2212}' => Some('-'),
        '\u{200b}'..='\u{200d}' | '\u{feff}' | '"' | '“' | '”' | '„' => None,
        c if c.is_whitespace() => Some(' '),
        c => Some(c),
    }
}

/// Whether receivers read a word as what it looks like: `include=x` is an unknown modifier to them,
/// which they ignore.
fn is_meant(word: &str) -> bool {
    let mechanism = |name: &str| ["include", "exists", "ip4", "ip6", "mx", "a"].contains(&name);
    match term(word).map(|t| t.kind) {
        Some(Kind::Modifier) => {
            let name = word.split('=').next().unwrap_or_default();
            !mechanism(&name.to_ascii_lowercase())
        }
        kind => kind.is_some(),
    }
}

/// Joins one term that was written with a space in it: `ip4: 192.0.2.1`, `include :x.example`, `- all`.
fn joined(first: &str, second: &str) -> Option<String> {
    let name = first
        .trim_start_matches(['+', '-', '~', '?'])
        .trim_end_matches([':', '=']);
    let open = first.ends_with([':', '=']) || name.is_empty() || second.starts_with([':', '=']);
    let named = ["include", "exists", "redirect", "ip4", "ip6"].contains(&name.to_ascii_lowercase().as_str());
    if !(open || named) || first.len() + second.len() > MAX_WORD || (is_meant(first) && !second.starts_with(':')) {
        return None;
    }
    [format!("{first}{second}"), format!("{first}:{second}")]
        .into_iter()
        .find(|w| is_meant(w))
}

/// The terms of one word: corrected, or several without a space between them.
fn apart(word: &str) -> Option<Vec<String>> {
    if word.len() > MAX_WORD {
        return None;
    }
    let listed = word.split([',', ';']).filter(|p| !p.is_empty());
    let listed: Option<Vec<String>> = listed.map(one).collect();
    if let Some(listed) = listed.filter(|l| l.len() > 1) {
        return Some(listed);
    }
    let starts = |rest: &str| STARTS.iter().any(|s| begins(rest, s));
    let cuts = word.char_indices().skip(1).map(|(at, _)| at);
    let two = cuts
        .filter_map(|at| word.split_at_checked(at))
        .filter(|(_, rest)| starts(rest))
        .find_map(|(first, rest)| {
            let mut terms = vec![one(first)?];
            terms.extend(if is_meant(rest) {
                vec![rest.to_owned()]
            } else {
                apart(rest)?
            });
            Some(terms)
        });
    two.or_else(|| corrected(word).map(|whole| vec![whole]))
}

fn one(word: &str) -> Option<String> {
    if is_meant(word) {
        Some(word.to_owned())
    } else {
        corrected(word)
    }
}

/// One term with its name and value corrected.
fn corrected(word: &str) -> Option<String> {
    let word = word.trim_matches([',', ';', '\'', '(', ')', '<', '>', '[', ']']);
    let bare = word.trim_start_matches(['+', '-', '~', '?']);
    let qualifier = word.get(..word.len() - bare.len()).filter(|q| q.len() <= 1)?;
    let found = |kind: &str, value: &str| Some(format!("{qualifier}{kind}{value}")).filter(|t| is_meant(t));
    let end = bare.trim_end_matches(['.', ':', '=']);
    if !qualifier.is_empty() && near(end, "all", 1) {
        return found("all", "");
    }
    if is_meant(word) {
        return Some(word.to_owned());
    }
    if let Some(kind) = network(bare) {
        return found(kind, bare);
    }
    let (name, value) = bare.split_once([':', '=', ';'])?;
    let value = value.trim_matches([':', '=', ',', ';', '\'', '<', '>']);
    let host = value
        .split_once("://")
        .map_or(value, |(_, rest)| rest)
        .trim_start_matches('@');
    let first = host.split('/').next().unwrap_or_default();
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "ip" | "ip4" | "ip6" | "ipv4" | "ipv6" | "ip-4" | "ip-6" | "i4" | "i6" | "p4" | "p6" | "pi4" | "pi6" => {
            found(network(value)?, value)
        }
        "a" | "mx" => found(&format!("{name}:"), host),
        _ if near(&name, "include", 2) => found("include:", first),
        _ if near(&name, "redirect", 2) => found("redirect=", first),
        _ if near(&name, "exists", 2) => found("exists:", first),
        _ => None,
    }
}

/// The mechanism for an address or a network.
fn network(text: &str) -> Option<&'static str> {
    let address = text.split('/').next().unwrap_or_default();
    if address.parse::<Ipv4Addr>().is_ok() {
        Some("ip4:")
    } else if address.parse::<Ipv6Addr>().is_ok() {
        Some("ip6:")
    } else {
        None
    }
}

/// Whether the edit distance of two words is at most `most`.
fn near(word: &str, right: &str, most: usize) -> bool {
    let (word, right) = (word.to_ascii_lowercase(), right.as_bytes());
    if word.len().abs_diff(right.len()) > most {
        return false;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in word.bytes().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let changed = at(&row, j) + usize::from(a != *b);
            next.push(changed.min(at(&row, j + 1) + 1).min(at(&next, j) + 1));
        }
        row = next;
    }
    row.last().is_some_and(|d| *d <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repaired(word: &str) -> Option<String> {
        match read(&format!("v=spf1 {word}")).remove(0).as_slice() {
            [Word::Repaired { from, to }] => {
                assert_eq!(from, &word.replace('\u{2013}', "-"));
                Some(to.join(" "))
            }
            [Word::Readable(same)] => Some(same.clone()),
            _ => None,
        }
    }

    #[test]
    fn errors_with_one_reading_are_corrected() {
        for (word, meant) in [
            ("ip4: 192.0.2.1", "ip4:192.0.2.1"),
            ("ip4 192.0.2.1", "ip4:192.0.2.1"),
            ("ip4:192.0.2.1,", "ip4:192.0.2.1"),
            ("ip4=192.0.2.1", "ip4:192.0.2.1"),
            ("ipv4:192.0.2.0/24", "ip4:192.0.2.0/24"),
            ("ip6:192.0.2.1", "ip4:192.0.2.1"),
            ("ip4:2001:db8::1", "ip6:2001:db8::1"),
            ("192.0.2.1", "ip4:192.0.2.1"),
            ("2001:db8::/32", "ip6:2001:db8::/32"),
            ("include: x.example", "include:x.example"),
            ("include :x.example", "include:x.example"),
            ("include=x.example", "include:x.example"),
            ("inlcude:x.example", "include:x.example"),
            ("includes:x.example", "include:x.example"),
            ("include:https://x.example/", "include:x.example"),
            ("redirect:x.example", "redirect=x.example"),
            ("a=mail.example", "a:mail.example"),
            ("mxinclude:x.example", "mx include:x.example"),
            ("ip4:192.0.2.1include:x.example", "ip4:192.0.2.1 include:x.example"),
            ("ip4:192.0.2.1ip4:192.0.2.2-all", "ip4:192.0.2.1 ip4:192.0.2.2 -all"),
            ("ip4:192.0.2.1,ip4:192.0.2.2", "ip4:192.0.2.1 ip4:192.0.2.2"),
            ("mx,", "mx"),
            ("- all", "-all"),
            ("~al", "~all"),
            ("-all.", "-all"),
            ("\u{2013}all", "-all"),
            ("x-note=anything", "x-note=anything"),
        ] {
            assert_eq!(repaired(word).as_deref(), Some(meant), "{word}");
        }
    }

    #[test]
    fn words_without_an_obvious_reading_are_unreadable() {
        for word in [
            "ip4:192.0.2",
            "ip4:300.1.1.1",
            "a/024",
            "mail.example",
            "nonsense",
            "mxall",
            "ip4:192.0.2.0/33",
        ] {
            assert_eq!(repaired(word), None, "{word}");
        }
    }

    #[test]
    fn records_in_one_text_are_separated() {
        let records = read("v=spf1 mx -all v=spf1 a ~all");
        assert_eq!(records.len(), 2);
        assert_eq!(records[1][0], Word::Readable("a".into()));
    }

    proptest::proptest! {
        #[test]
        fn corrected_terms_are_readable(text in "v=spf1( [-+~?]?(include|redirect|a|mx|all|exists|ip4|\\PC{0,6})[:=/ ,]?\\PC{0,12}){0,8}") {
            for word in read(&text).into_iter().flatten() {
                match word {
                    Word::Readable(text) => proptest::prop_assert!(term(&text).is_some(), "{}", text),
                    Word::Repaired { to, .. } => proptest::prop_assert!(to.iter().all(|t| term(t).is_some()), "{:?}", to),
                    Word::Unreadable(_) => {}
                }
            }
        }
    }
}
