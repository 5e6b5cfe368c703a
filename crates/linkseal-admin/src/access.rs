//! The tokens that may use the API and the pages (RFC 6750), their roles, and the caller of a
//! request. Without tokens, any client on this machine is the caller `local` with every right.

use std::net::IpAddr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use axum::extract::FromRequestParts;
use http::request::Parts;
use linkseal_config::AdminToken;
use linkseal_config::admin::Role;
use linkseal_control::Actor;
use secrecy::ExposeSecret;

use crate::problem::Problem;
use crate::scope::Scope;

/// The name in audit entries where no tokens are configured.
const LOCAL: &str = "local";

/// The configured tokens.
pub(crate) struct Access {
    tokens: Vec<Token>,
}

/// A configured token.
pub(crate) struct Token {
    name: String,
    role: Role,
    scope: Scope,
    /// Tokens differ in length and their digests do not, so comparing digests leaks neither length
    /// nor content.
    digest: Digest,
}

/// Who makes a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    name: String,
    role: Role,
    scope: Scope,
    from: IpAddr,
    /// The token's digest; `None` where no tokens are configured.
    digest: Option<Digest>,
}

impl Access {
    pub(crate) fn new(tokens: &[AdminToken]) -> Self {
        let tokens = tokens.iter().map(|t| Token {
            name: t.name.clone(),
            role: t.role,
            scope: t.tenant.clone().map_or(Scope::All, Scope::Tenant),
            digest: digest(&SHA256, t.token.expose_secret().as_bytes()),
        });
        Self {
            tokens: tokens.collect(),
        }
    }

    /// Whether no tokens are configured, so that any client on this machine has every right.
    pub(crate) fn is_open(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The caller on this machine, where no tokens are configured.
    pub(crate) fn local(&self, from: IpAddr) -> Result<Caller, Problem> {
        // The configuration allows this on loopback only, but a reload does not move the socket.
        if !from.is_loopback() {
            return Err(Problem::unauthorized(
                "no token is configured, so only clients on this machine are allowed",
            ));
        }
        Ok(Caller {
            name: LOCAL.to_owned(),
            role: Role::Admin,
            scope: Scope::All,
            from,
            digest: None,
        })
    }

    /// Whether a caller who was admitted earlier would still be, with no fewer rights. For requests
    /// that last long.
    pub(crate) fn still_grants(&self, caller: &Caller) -> bool {
        let Some(digest) = &caller.digest else {
            return self.is_open();
        };
        self.named(&caller.name).is_some_and(|token| {
            let same = verify_slices_are_equal(token.digest.as_ref(), digest.as_ref()).is_ok();
            same && token.role >= caller.role && token.scope == caller.scope
        })
    }

    /// The configured token with this text.
    pub(crate) fn find(&self, given: &[u8]) -> Option<&Token> {
        let given = digest(&SHA256, given);
        let mut found = None;
        // All are compared, so that the time reveals neither whether one matches nor which.
        for token in &self.tokens {
            if verify_slices_are_equal(token.digest.as_ref(), given.as_ref()).is_ok() {
                found = Some(token);
            }
        }
        found
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Token> {
        self.tokens.iter().find(|t| t.name == name)
    }
}

impl Token {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn digest(&self) -> &[u8] {
        self.digest.as_ref()
    }
}

impl Caller {
    pub(crate) fn of(token: &Token, from: IpAddr) -> Self {
        Self {
            name: token.name.clone(),
            role: token.role,
            scope: token.scope.clone(),
            from,
            digest: Some(token.digest),
        }
    }

    /// Whether the caller showed no token because none are configured.
    pub(crate) fn is_local(&self) -> bool {
        self.digest.is_none()
    }

    /// The token's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The caller as audit entries name them.
    pub(crate) fn actor(&self) -> Actor {
        Actor {
            who: self.name.clone(),
            from: self.from,
            tenant: self.scope.tenant().map(str::to_owned),
        }
    }

    /// Refuses the token of a single tenant. `what` says what needs a token for all tenants.
    pub(crate) fn must_see_all(&self, what: &str) -> Result<(), Problem> {
        if self.scope == Scope::All {
            return Ok(());
        }
        let name = &self.name;
        let detail = format!("{what}; the token \"{name}\" is limited to one tenant");
        Err(Problem::forbidden(detail).on_pages(
            format!("This page covers all tenants; the token “{name}” is limited to one."),
            format!("Diese Seite umfasst alle Mandanten; das Token „{name}“ gilt nur für einen."),
        ))
    }

    /// Refuses a role below `needed`.
    pub(crate) fn must_be(&self, needed: Role) -> Result<(), Problem> {
        if self.role >= needed {
            return Ok(());
        }
        let (name, has, needed) = (&self.name, role_name(self.role), role_name(needed));
        let detail = format!("this needs the role {needed}; the token \"{name}\" has {has}");
        Err(Problem::forbidden(detail).on_pages(
            format!("This needs the role {needed}; the token “{name}” has the role {has}."),
            format!("Dafür ist die Rolle {needed} nötig; das Token „{name}“ hat die Rolle {has}."),
        ))
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Support => "support",
        Role::Admin => "admin",
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Problem::unauthorized("send a token: Authorization: Bearer …"))
    }
}
