//! The environment's part in the configuration: `LINKSEAL_SECTION__KEY=value` overrides a key. Nothing else
//! reads the environment for the configuration.

use std::sync::Arc;

use secrecy::SecretString;

use super::tree::{InsideArray, Node};

/// The prefix of every variable.
const PREFIX: &str = "LINKSEAL_";
/// Between section and key.
const SEPARATOR: &str = "__";
/// The variable that holds the admin API's bearer token, for the commands that talk to an edge.
pub const ADMIN_TOKEN_VARIABLE: &str = "LINKSEAL_ADMIN_TOKEN";
/// Variables with the prefix that belong to the command line, not to the configuration.
const NOT_OURS: [&str; 1] = [ADMIN_TOKEN_VARIABLE];

/// An environment variable, name and value.
pub(crate) type Variable = (String, String);

/// This process's variables that have the prefix. A value that is not UTF-8 gets replacement characters,
/// which no key allows, so that it is refused where it matters.
pub(crate) fn of_process() -> Vec<Variable> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect()
}

/// The admin API's bearer token for commands that talk to a running edge, if one is set.
pub fn admin_token() -> Option<SecretString> {
    let token = std::env::var_os(ADMIN_TOKEN_VARIABLE)?.into_string().ok()?;
    let token = token.trim();
    (!token.is_empty()).then(|| token.into())
}

/// Something wrong with a variable's name.
pub(crate) struct BadVariable {
    pub(crate) variable: Arc<str>,
    pub(crate) message: String,
}

/// Puts the overrides on top of the tree. Unknown keys are found when the tree is read.
pub(crate) fn lay_over(tree: &mut Node, variables: &[Variable]) -> Vec<BadVariable> {
    let mut bad = Vec::new();
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if NOT_OURS.contains(&name.as_str()) || is_service_link(rest) {
            continue;
        }
        let variable: Arc<str> = name.as_str().into();
        let path: Vec<String> = rest.split(SEPARATOR).map(str::to_ascii_lowercase).collect();
        let message = if path.len() < 2 || path.iter().any(String::is_empty) {
            Some(
                "unknown; overrides are named LINKSEAL_SECTION__KEY, with two underscores between section and key"
                    .to_owned(),
            )
        } else {
            let node = Node::from_environment(&variable, value);
            tree.set(&path, node)
                .err()
                .map(|InsideArray| format!("{}: an array can only be overridden as a whole", path.join(".")))
        };
        bad.extend(message.map(|message| BadVariable { variable, message }));
    }
    bad
}

/// Whether Kubernetes set the variable for a service named `linkseal` or `linkseal-…`. It puts
/// `…_SERVICE_HOST`, `…_SERVICE_PORT[_NAME]`, `…_PORT` and `…_PORT_80_TCP[_PROTO|_PORT|_ADDR]` into every
/// container of the namespace, and no key looks like that.
fn is_service_link(rest: &str) -> bool {
    let service = |word| rest == word || rest.contains(&format!("_{word}")) || rest.starts_with(word);
    let port_number = rest.split("PORT_").skip(1).any(|after| {
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let protocol = after.get(digits..).unwrap_or_default();
        digits > 0 && ["_TCP", "_UDP", "_SCTP"].iter().any(|p| protocol.starts_with(p))
    });
    !rest.contains(SEPARATOR)
        && (service("SERVICE_HOST")
            || service("SERVICE_PORT")
            || rest == "PORT"
            || rest.ends_with("_PORT")
            || port_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_links_are_not_taken_for_overrides() {
        for name in [
            "PORT",
            "SERVICE_HOST",
            "SERVICE_PORT_HTTPS",
            "PORT_9180_TCP_ADDR",
            "ADMIN_SERVICE_HOST",
            "ADMIN_PORT_80_TCP",
        ] {
            assert!(is_service_link(name), "{name}");
        }
        for name in ["EDGE__NAME", "EDGE_NAME", "EDGE__PUBLIC_HTTPS_PORT", "NOPE", "PORTS"] {
            assert!(!is_service_link(name), "{name}");
        }
    }
}
