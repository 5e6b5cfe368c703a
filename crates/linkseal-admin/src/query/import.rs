//! Lines of an import: which are registered, how many at once, and what of them is ignored.

use serde_json::Value;

use crate::scope::Scope;

/// Lines registered at once: the store commits them together.
const IN_FLIGHT: usize = 32;
/// The same for a caller limited to a tenant: each line may query DNS, whose capacity others share.
const IN_FLIGHT_TENANT: usize = 4;

/// How many lines are registered at once.
pub(crate) fn in_flight(scope: &Scope) -> usize {
    match scope.tenant() {
        Some(_) => IN_FLIGHT_TENANT,
        None => IN_FLIGHT,
    }
}

/// The line without `state`, which an export contains and a registration does not take.
pub(crate) fn without_state(line: String) -> String {
    match serde_json::from_str::<Value>(&line) {
        Ok(Value::Object(mut domain)) if domain.contains_key("state") => {
            domain.remove("state");
            Value::Object(domain).to_string()
        }
        _ => line,
    }
}

/// Whether a line is blank or a comment.
pub(crate) fn is_comment(line: &str) -> bool {
    line.is_empty() || line.starts_with('#')
}

/// The text without the byte order mark that some editors write.
pub(crate) fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}
