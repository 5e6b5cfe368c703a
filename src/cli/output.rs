//! Output on stdout: lines, JSON, tables.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use super::Failure;

/// Prints a text without a line break at its end.
pub(super) fn text(text: &str) -> Result<(), Failure> {
    bytes(text.as_bytes())
}

pub(super) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::OutputClosed),
        Err(error) => Err(Failure::Failed(format!("stdout cannot be written: {error}"))),
    }
}

pub(super) fn line(line: &str) -> Result<(), Failure> {
    text(&format!("{line}\n"))
}

/// Prints a value as one line of JSON.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(&serde_json::to_string(value).map_err(Failure::failed)?)
}

/// Maximum width of a column, in characters. A longer cell shifts the rest of its own row only.
const WIDEST: usize = 48;

/// Rows under a heading, each column as wide as its widest cell up to [`WIDEST`].
pub(super) fn table<const N: usize>(heading: Option<[&str; N]>, rows: &[[String; N]]) -> String {
    let heading = heading.map(|h| h.map(str::to_owned));
    let all = || heading.iter().chain(rows);
    let mut out = String::new();
    for row in all() {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = all()
                .filter_map(|r| r.get(column))
                .map(|c| c.chars().count())
                .filter(|width| *width <= WIDEST)
                .max()
                .unwrap_or(0);
            line.push_str(&format!("{cell:width$}  "));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["a".to_owned(), "b".to_owned()], ["long".to_owned(), "ü".to_owned()]];
        assert_eq!(table(Some(["X", "Y"]), &rows), "X     Y\na     b\nlong  ü\n");
        let longest = "x".repeat(253);
        let rows = [[longest.clone(), "b".to_owned()], ["long".to_owned(), "c".to_owned()]];
        assert_eq!(table(None, &rows), format!("{longest}  b\nlong  c\n"));
    }
}
