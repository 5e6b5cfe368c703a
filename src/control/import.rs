//! Registering many domains, a line each.

use super::Control;
use super::input::{Actor, NewDomain, Registered};
use crate::domain::ssl::State;

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
}

impl Control {
    /// Registers the domain of one line of an import. `only`: the tenant that whoever imports is
    /// kept to; `None`: to none.
    pub async fn import_line(&self, number: usize, text: &str, only: Option<&str>, actor: &Actor) -> Import {
        let failed = |name: Option<String>, error: String| Import {
            line: number,
            name,
            result: "error",
            error: Some(error),
            state: None,
        };
        let mut new: NewDomain = match serde_json::from_str(text) {
            Ok(new) => new,
            Err(error) => return failed(None, format!("not a domain object: {error}")),
        };
        let name = new.name.to_string();
        if let Err(error) = new.keep_to(only) {
            return failed(Some(name), error.to_string());
        }
        match self.register(new, actor).await {
            Ok(Registered { record, created }) => Import {
                line: number,
                name: Some(name),
                result: if created { "created" } else { "unchanged" },
                error: None,
                state: Some(record.ssl.state()),
            },
            Err(error) => failed(Some(name), error.to_string()),
        }
    }
}
