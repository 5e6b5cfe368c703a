//! Lists of the admin API, page by page.

use super::admin_client::query_value;

/// The position in a list; at first its beginning.
#[derive(Default)]
pub(super) struct Cursor(Option<String>);

impl Cursor {
    /// The parameter to append to the query; empty for the first page.
    pub(super) fn parameter(&self) -> String {
        let parameter = self
            .0
            .as_deref()
            .map(|cursor| format!("&cursor={}", query_value(cursor)));
        parameter.unwrap_or_default()
    }

    /// Moves to the next page. `false` at the end, and for a server that repeats a cursor.
    pub(super) fn advance(&mut self, next: Option<String>) -> bool {
        let has_more = next.is_some() && next != self.0;
        self.0 = next;
        has_more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_ends_without_a_cursor_or_with_a_repeated_one() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.parameter(), "");
        assert!(cursor.advance(Some("a b".to_owned())));
        assert_eq!(cursor.parameter(), "&cursor=a%20b");
        assert!(!cursor.advance(Some("a b".to_owned())));
        assert!(!cursor.advance(None));
    }
}
