//! Who looks at a page, and how: what every page's handler is given.

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

/// Who looks at a page. Handlers take it as an argument; by then the visitor has been let in to
/// this very page, and the token of a form has been found right.
#[derive(Clone)]
pub(crate) struct Visitor {
    /// The language they read: from `?lang=`, else the cookie, else `Accept-Language`.
    pub(crate) lang: Language,
    /// What they may see. A page that shows more than one domain keeps to [`Scope::tenant`].
    pub(crate) scope: Scope,
    /// What every form carries as the hidden field `csrf`; scripts send it as `X-CSRF-Token`.
    pub(crate) csrf: String,
    /// The platform's name and looks.
    pub(crate) brand: Arc<Brand>,
    pub(super) who: Who,
    pub(super) from: IpAddr,
    /// The page's path and query, the language left out.
    pub(super) here: String,
}

#[derive(Clone)]
pub(super) enum Who {
    /// No one is signed in.
    Stranger,
    /// Someone on this machine, where no tokens are configured.
    Local(Caller),
    /// Someone who signed in with a token.
    SignedIn(Caller),
    /// Someone with a share link: its token.
    Guest(String),
}

impl Visitor {
    /// Their role. `None`: someone with a share link, or no one who is known.
    pub(crate) fn role(&self) -> Option<Role> {
        self.caller().map(Caller::role)
    }

    /// Whether their role allows what this one does.
    pub(crate) fn can(&self, role: Role) -> bool {
        self.role() >= Some(role)
    }

    /// Whether they may verify the domain they look at: with the role support, or by a share link.
    pub(crate) fn can_verify(&self) -> bool {
        self.is_guest() || self.can(Role::Support)
    }

    /// Whether they see one domain by a share link: no lists, no fleet, no way out of the page.
    pub(crate) fn is_guest(&self) -> bool {
        matches!(self.who, Who::Guest(_))
    }

    /// The name of the token they are signed in with, for "signed in as" and a way to sign out.
    pub(crate) fn signed_in_as(&self) -> Option<&str> {
        match &self.who {
            Who::SignedIn(caller) => Some(caller.name()),
            Who::Stranger | Who::Local(_) | Who::Guest(_) => None,
        }
    }

    /// As audit lines name them.
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

    /// The path of a domain's page and of what is below it: `rest` is empty, or begins with a
    /// slash, such as `/verify`.
    pub(crate) fn domain_path(&self, name: &DomainName, rest: &str) -> String {
        match &self.who {
            // No cookie remembers the language there.
            Who::Guest(token) => with_language(&format!("/share/{token}{rest}"), self.lang),
            _ => format!("/domains/{name}{rest}"),
        }
    }

    /// This page in another language.
    pub(crate) fn in_language(&self, language: Language) -> String {
        with_language(&self.here, language)
    }

    /// A text in the language they read.
    pub(crate) fn text<'t>(&self, text: &'t Text) -> &'t str {
        text.in_language(self.lang)
    }

    /// One of two words.
    pub(crate) fn say<'t>(&self, en: &'t str, de: &'t str) -> &'t str {
        match self.lang {
            Language::En => en,
            Language::De => de,
        }
    }

    /// Waits for the turn of the visitor's token at a list.
    pub(super) async fn list_turn(&self, context: &Context) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        match self.caller() {
            Some(caller) => Ok(Some(context.lists.take(caller, context.control.clock()).await?)),
            None => Ok(None),
        }
    }

    /// Waits for the turn of the visitor's token to register a domain; see
    /// [`Turns::for_registration`](crate::turns::Turns).
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
        visitor.ok_or_else(|| Problem::forbidden("this is a page"))
    }
}

/// The domain a page is about: the one in the path, or the one a share link opens.
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
