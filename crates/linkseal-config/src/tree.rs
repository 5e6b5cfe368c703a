//! The configuration as a tree in which every value knows where it stands: what the file says, with
//! the environment's overrides laid over it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{KeyPath, Place, Problem, Segment};

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) source: Source,
    pub(super) value: Value,
    /// What the environment said, word for word. `None`: the value is from the file.
    pub(super) raw: Option<String>,
}

/// Where a [`Node`] stands.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// The file, at this line. `None`: the root, or made up by an override further in.
    File(Option<usize>),
    /// This variable.
    Environment(Arc<str>),
}

/// A TOML value.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Datetime(String),
    Array(Vec<Node>),
    Table(BTreeMap<String, Node>),
    /// An array's element that was bad: passed over, so that the others keep their index.
    TakenOut,
}

impl Node {
    /// Reads a file. What is bad in its syntax is told, the rest is read.
    pub(super) fn parse(file: &Path, text: &str) -> (Self, Vec<Problem>) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let lines = Lines::of(text);
        let line = |e: &toml::de::Error| e.span().map(|s| lines.at(s.start));
        // Behind an open quotation mark or bracket everything looks wrong: what follows the first
        // slip on later lines is left out, but for keys that stand twice, which are slips of their own.
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
                    Some(key) => format!("{key} stands twice in its table: keep one"),
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

    /// What the environment says: TOML if it is, else a string.
    pub(super) fn from_environment(variable: &Arc<str>, raw: &str) -> Self {
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

    /// Puts a value at a path of keys, making the tables that lead to it. Fails inside an array.
    pub(super) fn set(&mut self, path: &[String], node: Self) -> Result<(), InsideArray> {
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

    /// Takes the value at a path out; tells whether there was one.
    pub(super) fn take_out(&mut self, path: &[Segment]) -> bool {
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

    /// Where a key stands, or the innermost table on the way to it that stands anywhere.
    pub(super) fn source_of(&self, path: &KeyPath) -> Source {
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
pub(super) struct InsideArray;

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
            // Beyond 64 bits: no key wants that; as text it is named in the error.
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

/// Where the lines of a text begin.
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
