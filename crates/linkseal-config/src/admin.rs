//! `[admin]`: who may use the admin API.

use std::collections::BTreeSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Paths;
use super::check::Findings;
use super::listen::Listen;
use super::text::{Label, Network, Tenant};

/// Who may use the admin API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Whether the admin port speaks plain HTTP off loopback too: for a network that is trusted.
    pub plain: bool,
    /// Networks of reverse proxies in front of the admin port: the client is who they name, in a
    /// PROXY header, in Forwarded or in X-Forwarded-For. From others these are not believed.
    pub trusted_proxies: Vec<Network>,
    /// The bearer tokens. Empty: anybody on this machine may do everything, on loopback only.
    pub tokens: Vec<Token>,
}

/// A bearer token of the admin API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Who uses it; stands in the audit log.
    pub name: Label,
    /// What it allows.
    pub role: Role,
    /// The file that holds it: at least 16 visible characters.
    pub secret_file: PathBuf,
    /// The only tenant whose domains it sees and changes. Absent: everything.
    pub tenant: Option<Tenant>,
}

/// What a token allows; each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Verifies and pauses too.
    Support,
    /// Everything.
    Admin,
}

impl Admin {
    pub(super) fn resolve(&mut self, paths: &Paths<'_>) {
        self.tokens
            .iter_mut()
            .for_each(|token| paths.resolve(&mut token.secret_file));
    }

    pub(super) fn check(&self, listen: &Listen, found: &mut Findings<'_>) {
        let mut names = BTreeSet::new();
        for (i, token) in self.tokens.iter().enumerate() {
            if !names.insert(&token.name) {
                found.problem(
                    &format!("admin.tokens[{i}].name"),
                    format!(
                        "\"{}\" is an earlier token's name; the audit log could not tell them apart",
                        token.name
                    ),
                );
            }
        }
        for (i, network) in self.trusted_proxies.iter().enumerate() {
            if network.get().prefix_len() == 0 {
                found.problem(
                    &format!("admin.trusted_proxies[{i}]"),
                    format!("{network} is everybody: anybody could claim any address; give your proxies' networks"),
                );
            }
        }
        if !self.trusted_proxies.is_empty() && self.tokens.is_empty() {
            found.warn(
                "admin.trusted_proxies",
                "without admin.tokens what a proxy hands on is refused: add a token",
            );
        }
        let open: Vec<_> = listen
            .admin
            .iter()
            .enumerate()
            .filter(|(_, a)| !a.ip().to_canonical().is_loopback())
            .collect();
        for (i, address) in open {
            if self.tokens.is_empty() {
                found.problem_unless_unread(
                    &format!("listen.admin[{i}]"),
                    "admin.tokens",
                    format!("{address} is not on loopback: add admin.tokens, or listen on 127.0.0.1 or [::1]"),
                );
            } else if self.plain {
                found.warn(
                    "admin.plain",
                    format!("tokens to {address} cross the network in the clear"),
                );
            }
        }
    }
}
