//! The visitor of a page, which every handler receives.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use linkseal_config::admin::Role;
use linkseal_control::{Actor, GUEST};
use linkseal_domain::Text;
use linkseal_domain::{DomainName, Language};
use tokio::sync::OwnedSemaphorePermit;

use super::brand::Brand;
use crate::access::Caller;
use crate::context::Context;
use crate::i18n::with_language;
use crate::input::PathDomain;
use crate::problem::Problem;
use crate::scope::Scope;

/// The visitor of a page. When a handler runs, the visitor may use the page, and the token of a form is
/// valid.
#[derive(Clone)]
pub(crate) struct Visitor {
    /// From `?lang=`, else the cookie, else `Accept-Language`.
    pub(crate) lang: Language,
    /// A page that shows several domains must limit itself to [`Scope::tenant`].
    pub(crate) scope: Scope,
    /// The form token: the hidden field `csrf`, or the header `X-CSRF-Token` of scripts.
    pub(crate) csrf: String,
    pub(crate) brand: Arc<Brand>,
    pub(super) who: Who,
    pub(super) from: IpAddr,
    /// Path and query, without the language.
    pub(super) here: String,
}

#[derive(Clone)]
pub(super) enum Who {
    /// Not signed in.
    Stranger,
    /// On this machine, where no tokens are configured.
    Local(Caller),
    /// Signed in with a token.
    SignedIn(Caller),
    /// With the token of a share link.
    Guest(String),
}

impl Visitor {
    /// The role; `None` for guests and strangers.
    pub(crate) fn role(&self) -> Option<Role> {
        self.caller().map(Caller::role)
    }

    /// Whether the role is at least this one.
    pub(crate) fn can(&self, role: Role) -> bool {
        self.role() >= Some(role)
    }

    /// Whether the visitor may verify the domain: with the role support, or a share link.
    pub(crate) fn can_verify(&self) -> bool {
        self.is_guest() || self.can(Role::Support)
    }

    /// Whether the visitor has a share link: sees one domain, no lists and no links to other pages.
    pub(crate) fn is_guest(&self) -> bool {
        matches!(self.who, Who::Guest(_))
    }

    /// The name of the token that the visitor signed in with.
    pub(crate) fn signed_in_as(&self) -> Option<&str> {
        match &self.who {
            Who::SignedIn(caller) => Some(caller.name()),
            Who::Stranger | Who::Local(_) | Who::Guest(_) => None,
        }
    }

    /// The visitor as audit entries name them.
    pub(crate) fn actor(&self) -> Actor {
        match self.caller() {
            Some(caller) => caller.actor(),
            None => Actor {
                who: GUEST.to_owned(),
                from: self.from,
                tenant: None,
            },
        }
    }

    /// The path of a domain's page or of a page below it; `rest` is empty or begins with a slash.
    pub(crate) fn domain_path(&self, name: &DomainName, rest: &str) -> String {
        match &self.who {
            // Guests have no cookie that remembers the language.
            Who::Guest(token) => with_language(&format!("/share/{token}{rest}"), self.lang),
            _ => format!("/domains/{name}{rest}"),
        }
    }

    /// This page in another language.
    pub(crate) fn in_language(&self, language: Language) -> String {
        with_language(&self.here, language)
    }

    /// A message in the visitor's language.
    pub(crate) fn text<'t>(&self, text: &'t Text) -> &'t str {
        text.in_language(self.lang)
    }

    /// The text in the visitor's language.
    pub(crate) fn say<'t>(&self, en: &'t str, de: &'t str) -> &'t str {
        match self.lang {
            Language::En => en,
            Language::De => de,
        }
    }

    /// Waits for the turn of the visitor's token to list domains.
    pub(super) async fn list_turn(&self, context: &Context) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        match self.caller() {
            Some(caller) => Ok(Some(context.lists.take(caller, context.control.clock()).await?)),
            None => Ok(None),
        }
    }

    /// Waits for the turn of the visitor's token to register a domain; see
    /// [`Turns::for_registration`](crate::limits::turns::Turns).
    pub(super) async fn registration_turn(&self, context: &Context) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        match self.caller() {
            Some(caller) => {
                let clock = context.control.clock();
                context.checks.for_registration(caller, clock).await
            }
            None => Ok(None),
        }
    }

    fn caller(&self) -> Option<&Caller> {
        match &self.who {
            Who::Local(caller) | Who::SignedIn(caller) => Some(caller),
            Who::Stranger | Who::Guest(_) => None,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let visitor = parts.extensions.get::<Self>().cloned();
        visitor.ok_or_else(|| Problem::forbidden("this is not a page"))
    }
}

/// The domain of a page: from the path, or from the share link.
pub(crate) struct Subject(pub(crate) DomainName);

impl<S: Send + Sync> FromRequestParts<S> for Subject {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let visitor = Visitor::from_request_parts(parts, state).await?;
        if let Scope::Domain(name) = visitor.scope {
            return Ok(Self(name));
        }
        let PathDomain(name) = PathDomain::from_request_parts(parts, state).await?;
        Ok(Self(name))
    }
}
