//! `[admin]`: access to the admin port.

use std::collections::BTreeSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::listen::Listen;
use crate::findings::Findings;
use crate::paths::Paths;
use crate::values::{Label, Network, Tenant};

/// Access to the admin port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Whether the admin port uses plain HTTP on other addresses than loopback too, for trusted networks.
    pub plain: bool,
    /// Networks of reverse proxies before the admin port. The client address they report (PROXY header, Forwarded, X-Forwarded-For) is trusted; from other peers it is ignored.
    pub trusted_proxies: Vec<Network>,
    /// Bearer tokens. Without any, the admin port is available on loopback only, with full access for every local process.
    pub tokens: Vec<Token>,
}

/// A bearer token of the admin API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The name of the token's user in the audit log.
    pub name: Label,
    /// What the token allows.
    pub role: Role,
    /// File with the token: at least 16 visible ASCII characters.
    pub secret_file: PathBuf,
    /// The tenant whose domains the token may see and change. Without one: all domains.
    pub tenant: Option<Tenant>,
}

/// What a token allows; each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Read access.
    Viewer,
    /// Also verifies and pauses domains.
    Support,
    /// Full access.
    Admin,
}

impl Admin {
    pub(crate) fn resolve(&mut self, paths: &Paths<'_>) {
        self.tokens
            .iter_mut()
            .for_each(|token| paths.resolve(&mut token.secret_file));
    }

    pub(crate) fn check(&self, listen: &Listen, found: &mut Findings<'_>) {
        let mut names = BTreeSet::new();
        for (i, token) in self.tokens.iter().enumerate() {
            if !names.insert(&token.name) {
                found.problem(
                    &format!("admin.tokens[{i}].name"),
                    format!(
                        "\"{}\" is the name of an earlier token; names must be unique in the audit log",
                        token.name
                    ),
                );
            }
        }
        for (i, network) in self.trusted_proxies.iter().enumerate() {
            if network.get().prefix_len() == 0 {
                found.problem(
                    &format!("admin.trusted_proxies[{i}]"),
                    format!("{network} is the whole Internet: every client could claim any address; use your proxies' networks"),
                );
            }
        }
        if !self.trusted_proxies.is_empty() && self.tokens.is_empty() {
            found.warn(
                "admin.trusted_proxies",
                "requests through a proxy are refused without admin.tokens: add a token",
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
                    format!("tokens to {address} cross the network unencrypted"),
                );
            }
        }
    }
}
