//! Registering many domains, one per line.

use std::sync::Arc;

use linkseal_base::json;
use linkseal_domain::ssl::State;
use serde_json::Value;

use super::input::{NewDomain, Registered};
use super::{Operator, OperatorError};
use crate::core::Actor;

/// The result of one line of an import.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Import {
    /// The line number, starting at 1.
    pub line: usize,
    /// The domain name; null if the line is not valid.
    pub name: Option<String>,
    /// `created`, `unchanged`, or `error`.
    pub result: &'static str,
    /// What is wrong; null if the domain is registered.
    pub error: Option<String>,
    /// The SSL state of the domain; null if it is not registered.
    pub state: Option<State>,
    /// The error for pages, which show it in the reader's language; `None` also if the line is not
    /// valid.
    #[serde(skip)]
    #[schemars(skip)]
    pub refused: Option<Arc<OperatorError>>,
}

impl Import {
    fn with_text(mut self) -> Self {
        self.error = self.refused.as_ref().map(ToString::to_string);
        self
    }
}

impl Operator {
    /// Registers the domain of one line of an import.
    pub async fn import_line(&self, number: usize, text: &str, actor: &Actor) -> Import {
        let failed = |name: Option<String>, error: String| Import {
            line: number,
            name,
            result: "error",
            error: Some(error),
            state: None,
            refused: None,
        };
        let new = match read(text) {
            Ok(new) => new,
            Err(error) => return failed(None, error),
        };
        let name = new.name.to_string();
        match self.register(new, actor).await {
            Ok(Registered { record, created }) => Import {
                line: number,
                name: Some(name),
                result: if created { "created" } else { "unchanged" },
                error: None,
                state: Some(record.ssl.state()),
                refused: None,
            },
            Err(error) => Import {
                refused: Some(Arc::new(error)),
                ..failed(Some(name), String::new())
            }
            .with_text(),
        }
    }
}

/// Parses a line. Errors give the column only: the line number is reported beside them.
fn read(text: &str) -> Result<NewDomain, String> {
    let value = serde_json::from_str(text).map_err(|error| {
        let place = format!(" at line {} column {}", error.line(), error.column());
        let what = error.to_string();
        format!(
            "column {}: {}",
            error.column(),
            what.strip_suffix(&place).unwrap_or(&what)
        )
    })?;
    match value {
        Value::Object(_) => json::read(value).map_err(|error| error.to_string()),
        _ => Err(r#"a line is a JSON object, such as {"name": "links.customer.example"}"#.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_give_their_column() {
        let error = |text: &str| read(text).unwrap_err();
        assert!(
            error(r#"{"name": "a.example",}"#).starts_with("column 22: "),
            "{}",
            error(r#"{"name": "a.example",}"#)
        );
        assert!(error("a.example").starts_with("column 1: "));
        assert!(error(r#"["a.example"]"#).starts_with("a line is a JSON object"));
        assert!(error(r#"{"name": "a.example", "colour": 1}"#).starts_with("unknown field `colour`"));
        for text in [r#"{"name": "bad name"}"#, r#"{"nam": 1}"#, "{"] {
            assert!(!error(text).contains("line 1"), "{}", error(text));
        }
    }
}
