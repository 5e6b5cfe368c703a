//! The configuration as a tree in which every value knows its origin: the content of the file, with the
//! environment's overrides on top.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{KeyPath, Place, Problem, Segment};

/// A value and its origin.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) source: Source,
    pub(crate) value: Value,
    /// The variable's text, verbatim, for a value from the environment.
    pub(crate) raw: Option<String>,
}

/// The origin of a [`Node`].
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The file, at this line; the root and tables that an override created have none.
    File(Option<usize>),
    /// An environment variable.
    Environment(Arc<str>),
}

/// A TOML value.
#[derive(Debug)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Datetime(String),
    Array(Vec<Node>),
    Table(BTreeMap<String, Node>),
    /// An invalid array element, skipped so that the others keep their index.
    TakenOut,
}

impl Node {
    /// Parses a file. Syntax errors are reported, the rest is parsed.
    pub(crate) fn parse(file: &Path, text: &str) -> (Self, Vec<Problem>) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let lines = Lines::of(text);
        let line = |e: &toml::de::Error| e.span().map(|s| lines.at(s.start));
        // After an unclosed quote or bracket everything looks wrong: only the first error counts, except for
        // duplicate keys, which are errors of their own.
        let is_twice = |e: &toml::de::Error| e.message() == "duplicate key";
        let first = errors.iter().filter(|e| !is_twice(e)).map(line).next();
        let problems = errors
            .iter()
            .filter(|e| first.is_none_or(|first| line(e) <= first))
            .map(|e| Problem {
                place: Place::File {
                    path: file.to_owned(),
                    line: line(e),
                },
                key: String::new(),
                message: match e.span().filter(|_| is_twice(e)).and_then(|s| text.get(s)) {
                    Some(key) => format!("{key} is defined twice in its table: keep one"),
                    None => format!("not TOML: {}", e.message()),
                },
            })
            .collect();
        let value = from_table(table.into_inner(), &|at| Source::File(Some(lines.at(at))));
        (
            Self {
                source: Source::File(None),
                value,
                raw: None,
            },
            problems,
        )
    }

    /// A variable's value: TOML if it parses, else a string.
    pub(crate) fn from_environment(variable: &Arc<str>, raw: &str) -> Self {
        let source = Source::Environment(Arc::clone(variable));
        let value = match DeValue::parse(raw) {
            Ok(value) => from_value(value.into_inner(), &|_| source.clone()),
            Err(_) => Value::Text(raw.to_owned()),
        };
        Self {
            source,
            value,
            raw: Some(raw.to_owned()),
        }
    }

    /// Sets the value at a path of keys, creating the tables on the way. Fails inside an array.
    pub(crate) fn set(&mut self, path: &[String], node: Self) -> Result<(), InsideArray> {
        let Some((first, rest)) = path.split_first() else {
            *self = node;
            return Ok(());
        };
        if matches!(self.value, Value::Array(_)) {
            return Err(InsideArray);
        }
        if !matches!(self.value, Value::Table(_)) {
            self.value = Value::Table(BTreeMap::new());
            self.raw = None;
        }
        let Value::Table(table) = &mut self.value else {
            return Err(InsideArray);
        };
        let source = node.source.clone();
        let next = table.entry(first.clone()).or_insert_with(|| Self {
            source,
            value: Value::Table(BTreeMap::new()),
            raw: None,
        });
        next.set(rest, node)
    }

    /// Removes the value at a path, and returns whether there was one.
    pub(crate) fn take_out(&mut self, path: &[Segment]) -> bool {
        match (path, &mut self.value) {
            ([Segment::Key(key)], Value::Table(table)) => table.remove(key).is_some(),
            ([Segment::Index(index)], Value::Array(array)) => array.get_mut(*index).is_some_and(|node| {
                let was_there = !matches!(node.value, Value::TakenOut);
                node.value = Value::TakenOut;
                was_there
            }),
            ([Segment::Key(key), rest @ ..], Value::Table(table)) => {
                table.get_mut(key).is_some_and(|n| n.take_out(rest))
            }
            ([Segment::Index(index), rest @ ..], Value::Array(array)) => {
                array.get_mut(*index).is_some_and(|n| n.take_out(rest))
            }
            _ => false,
        }
    }

    /// Whether there is a value at a path of keys.
    pub(crate) fn contains(&self, path: &KeyPath) -> bool {
        path.0
            .iter()
            .try_fold(self, |node, segment| match (segment, &node.value) {
                (Segment::Key(key), Value::Table(table)) => table.get(key),
                _ => None,
            })
            .is_some()
    }

    /// Removes and returns the value at a path of keys.
    pub(crate) fn remove(&mut self, path: &KeyPath) -> Option<Self> {
        let (Segment::Key(last), tables) = path.0.split_last()? else {
            return None;
        };
        let parent = tables
            .iter()
            .try_fold(self, |node, segment| match (segment, &mut node.value) {
                (Segment::Key(key), Value::Table(table)) => table.get_mut(key),
                _ => None,
            })?;
        match &mut parent.value {
            Value::Table(table) => table.remove(last),
            _ => None,
        }
    }

    /// The origin of a key, or of the innermost table on the way to it that exists.
    pub(crate) fn source_of(&self, path: &KeyPath) -> Source {
        let mut node = self;
        for segment in &path.0 {
            let next = match (segment, &node.value) {
                (Segment::Key(key), Value::Table(table)) => table.get(key),
                (Segment::Index(index), Value::Array(array)) => array.get(*index),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.source.clone()
    }
}

/// An override tried to change one element of an array.
#[derive(Debug)]
pub(crate) struct InsideArray;

fn from_table(table: DeTable<'_>, source: &dyn Fn(usize) -> Source) -> Value {
    let entry = |(key, value): (Spanned<_>, Spanned<DeValue<'_>>)| {
        let at = key.span().start;
        let key: std::borrow::Cow<'_, str> = key.into_inner();
        (
            key.into_owned(),
            Node {
                source: source(at),
                value: from_value(value.into_inner(), source),
                raw: None,
            },
        )
    };
    Value::Table(table.into_iter().map(entry).collect())
}

fn from_value(value: DeValue<'_>, source: &dyn Fn(usize) -> Source) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            // More than 64 bits: no key allows that; as text it appears in the error.
            Err(_) => Value::Text(number.to_string()),
        },
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(number) => Value::Float(number),
            Err(_) => Value::Text(number.to_string()),
        },
        DeValue::Boolean(yes) => Value::Bool(yes),
        DeValue::Datetime(time) => Value::Datetime(time.to_string()),
        DeValue::Array(array) => Value::Array(
            array
                .into_iter()
                .map(|element| {
                    let at = element.span().start;
                    Node {
                        source: source(at),
                        value: from_value(element.into_inner(), source),
                        raw: None,
                    }
                })
                .collect(),
        ),
        DeValue::Table(table) => from_table(table, source),
    }
}

/// The byte offsets of the newlines of a text.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// The line of a byte, counted from 1.
    fn at(&self, byte: usize) -> usize {
        self.0.partition_point(|newline| *newline < byte) + 1
    }
}
