//! Registering many domains, a line each.

use std::sync::Arc;

use linkseal_base::json;
use linkseal_domain::ssl::State;
use serde_json::Value;

use super::Control;
use super::input::{Actor, NewDomain, OperatorError, Registered};

/// A line of an import, and what came of it.
#[derive(Clone, Debug, serde::Serialize, schemars::JsonSchema)]
pub struct Import {
    /// The line's number, from 1.
    pub line: usize,
    /// The name, as far as it could be read. `None`: the line is no such object.
    pub name: Option<String>,
    /// `created`, `unchanged`, or `error`.
    pub result: &'static str,
    /// Why not. `None`: it worked.
    pub error: Option<String>,
    /// The state the domain is in. `None`: it is not registered.
    pub state: Option<State>,
    /// Why not, for pages, which say it in the reader's language. `None`: it worked, or the line
    /// could not be read.
    #[serde(skip)]
    #[schemars(skip)]
    pub refused: Option<Arc<OperatorError>>,
}

impl Import {
    fn in_words(mut self) -> Self {
        self.error = self.refused.as_ref().map(ToString::to_string);
        self
    }
}

impl Control {
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
            .in_words(),
        }
    }
}

/// The domain in a line, or what is wrong with it: the line is told beside it, so only the column is.
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
    fn what_is_wrong_is_told_with_its_column() {
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
