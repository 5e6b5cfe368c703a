//! Which answer a path asks for: a pure function of the raw path.
//!
//! The caller checks host and method with what [`Route`] says. Paths of links are read by [`LinkPath`].

use http::Method;
use linkseal_link::LinkKind;
use linkseal_link::LinkPath;

/// What a path asks for. `T` holds texts of the path: tokens, slugs and tenants, not yet checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<T> {
    /// `/.well-known/acme-challenge/{token}` (RFC 8555 §8.3).
    Challenge {
        token: T,
    },
    /// `/o/{token}` or `/o/{token}.gif`.
    Open {
        /// The tenant in `/t/{tenant}/…`. `None`: the domain's tenant.
        tenant: Option<T>,
        token: T,
    },
    /// `/c/{token}`.
    Click {
        /// The tenant in `/t/{tenant}/…`. `None`: the domain's tenant.
        tenant: Option<T>,
        token: T,
    },
    /// `/u/{token}`.
    Unsubscribe {
        /// The tenant in `/t/{tenant}/…`. `None`: the domain's tenant.
        tenant: Option<T>,
        token: T,
    },
    /// `/r/{slug}`.
    Redirect {
        slug: T,
    },
    /// `/.well-known/apple-app-site-association`.
    AppleAppSiteAssociation,
    /// `/apple-app-site-association`, where old versions of iOS look: only if the domain has one.
    AppleAppSiteAssociationAtRoot,
    /// `/.well-known/assetlinks.json`.
    AssetLinks,
    /// `/robots.txt`.
    Robots,
    /// `/.well-known/traffic-advice`.
    TrafficAdvice,
    /// `/healthz`.
    Healthz,
    Other,
}

/// The path of a request. `prefix` is `links.prefix`, without a slash at its end; it stands before
/// `/o/`, `/c/`, `/r/` and `/u/`, but not within `/t/{tenant}/…`.
pub fn route<'a>(path: &'a str, prefix: &str) -> Route<&'a str> {
    // Links first: nearly all requests are for links.
    if let Some(LinkPath { kind, tenant, text }) = LinkPath::parse(path, prefix) {
        return match kind {
            LinkKind::Open => Route::Open { tenant, token: text },
            LinkKind::Click => Route::Click { tenant, token: text },
            LinkKind::Unsubscribe => Route::Unsubscribe { tenant, token: text },
            LinkKind::Redirect => Route::Redirect { slug: text },
        };
    }
    if let Some(rest) = path.strip_prefix("/.well-known/") {
        return well_known(rest);
    }
    match path {
        "/robots.txt" => Route::Robots,
        "/healthz" => Route::Healthz,
        "/apple-app-site-association" => Route::AppleAppSiteAssociationAtRoot,
        _ => Route::Other,
    }
}

fn well_known(rest: &str) -> Route<&str> {
    if let Some(token) = rest.strip_prefix("acme-challenge/") {
        return Route::Challenge { token };
    }
    match rest {
        "apple-app-site-association" => Route::AppleAppSiteAssociation,
        "assetlinks.json" => Route::AssetLinks,
        "traffic-advice" => Route::TrafficAdvice,
        _ => Route::Other,
    }
}

impl<T> Route<T> {
    /// The same route with its texts mapped.
    pub(super) fn map<U>(self, mut f: impl FnMut(T) -> U) -> Route<U> {
        match self {
            Self::Challenge { token } => Route::Challenge { token: f(token) },
            Self::Open { tenant, token } => Route::Open {
                tenant: tenant.map(&mut f),
                token: f(token),
            },
            Self::Click { tenant, token } => Route::Click {
                tenant: tenant.map(&mut f),
                token: f(token),
            },
            Self::Unsubscribe { tenant, token } => Route::Unsubscribe {
                tenant: tenant.map(&mut f),
                token: f(token),
            },
            Self::Redirect { slug } => Route::Redirect { slug: f(slug) },
            Self::AppleAppSiteAssociation => Route::AppleAppSiteAssociation,
            Self::AppleAppSiteAssociationAtRoot => Route::AppleAppSiteAssociationAtRoot,
            Self::AssetLinks => Route::AssetLinks,
            Self::Robots => Route::Robots,
            Self::TrafficAdvice => Route::TrafficAdvice,
            Self::Healthz => Route::Healthz,
            Self::Other => Route::Other,
        }
    }

    /// The methods it answers, for the `Allow` header. `None`: any.
    pub(super) fn allow(&self) -> Option<&'static str> {
        match self {
            Self::Other => None,
            Self::Unsubscribe { .. } => Some("GET, HEAD, POST"),
            _ => Some("GET, HEAD"),
        }
    }

    /// Whether it answers a method.
    pub(super) fn allows(&self, method: &Method) -> bool {
        match self {
            Self::Other => true,
            Self::Unsubscribe { .. } if method == Method::POST => true,
            _ => method == Method::GET || method == Method::HEAD,
        }
    }

    /// Whether it is a link that names a tenant, as on edge.name.
    pub fn names_tenant(&self) -> bool {
        matches!(
            self,
            Self::Open { tenant: Some(_), .. }
                | Self::Click { tenant: Some(_), .. }
                | Self::Unsubscribe { tenant: Some(_), .. }
        )
    }

    /// The label in metrics and logs.
    pub(super) fn label(&self) -> RouteLabel {
        match self {
            Self::Challenge { .. } => RouteLabel::Challenge,
            Self::Open { .. } => RouteLabel::Open,
            Self::Click { .. } => RouteLabel::Click,
            Self::Unsubscribe { .. } => RouteLabel::Unsubscribe,
            Self::Redirect { .. } => RouteLabel::Redirect,
            Self::AppleAppSiteAssociation
            | Self::AppleAppSiteAssociationAtRoot
            | Self::AssetLinks
            | Self::Robots
            | Self::TrafficAdvice => RouteLabel::WellKnown,
            Self::Healthz => RouteLabel::Healthz,
            Self::Other => RouteLabel::Other,
        }
    }
}

/// Routes as metrics and logs label them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteLabel {
    Challenge,
    Open,
    Click,
    Redirect,
    /// Unsubscribe pages and posts.
    Unsubscribe,
    /// App-link files, robots.txt, traffic-advice.
    WellKnown,
    Healthz,
    /// Redirects from HTTP to HTTPS.
    ToHttps,
    /// A host that is not served, or not on this connection.
    Refused,
    /// Passed to a back end.
    Upstream,
    Other,
}

impl RouteLabel {
    /// All labels, in the order of their numbers.
    pub(super) const ALL: [Self; 11] = [
        Self::Challenge,
        Self::Open,
        Self::Click,
        Self::Redirect,
        Self::Unsubscribe,
        Self::WellKnown,
        Self::Healthz,
        Self::ToHttps,
        Self::Refused,
        Self::Upstream,
        Self::Other,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Challenge => "challenge",
            Self::Open => "open",
            Self::Click => "click",
            Self::Redirect => "redirect",
            Self::Unsubscribe => "unsubscribe",
            Self::WellKnown => "well_known",
            Self::Healthz => "healthz",
            Self::ToHttps => "to_https",
            Self::Refused => "refused",
            Self::Upstream => "upstream",
            Self::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(token: &str) -> Route<&str> {
        Route::Open { tenant: None, token }
    }

    #[test]
    fn every_path_of_the_specification() {
        let click = |tenant, token| Route::Click { tenant, token };
        for (path, found) in [
            ("/o/abc", open("abc")),
            ("/o/abc.gif", open("abc")),
            ("/o/abc.gif.gif", open("abc.gif")),
            ("/o/", open("")),
            ("/o/a/b", open("a/b")),
            ("/o", Route::Other),
            ("/c/abc", click(None, "abc")),
            ("/c/abc.gif", click(None, "abc.gif")),
            ("/c/a%2Fb", click(None, "a%2Fb")),
            ("/r/summer/sale", Route::Redirect { slug: "summer/sale" }),
            (
                "/u/abc",
                Route::Unsubscribe {
                    tenant: None,
                    token: "abc",
                },
            ),
            ("/t/acme/c/abc", click(Some("acme"), "abc")),
            (
                "/t/acme/o/abc.gif",
                Route::Open {
                    tenant: Some("acme"),
                    token: "abc",
                },
            ),
            (
                "/t/acme/u/abc",
                Route::Unsubscribe {
                    tenant: Some("acme"),
                    token: "abc",
                },
            ),
            ("/t/acme/r/abc", Route::Other),
            ("/t//c/abc", Route::Other),
            ("/t/acme", Route::Other),
            ("/t/acme/t/acme/c/abc", Route::Other),
            ("/.well-known/acme-challenge/x-Y_9", Route::Challenge { token: "x-Y_9" }),
            (
                "/.well-known/apple-app-site-association",
                Route::AppleAppSiteAssociation,
            ),
            ("/.well-known/assetlinks.json", Route::AssetLinks),
            ("/.well-known/traffic-advice", Route::TrafficAdvice),
            ("/.well-known/security.txt", Route::Other),
            ("/robots.txt", Route::Robots),
            ("/healthz", Route::Healthz),
            ("/", Route::Other),
            ("", Route::Other),
            ("*", Route::Other),
            ("/C/abc", click(None, "abc")),
            ("//c/abc", click(None, "abc")),
            ("/c%2Fabc", click(None, "abc")),
            ("/apple-app-site-association", Route::AppleAppSiteAssociationAtRoot),
            ("/é/c", Route::Other),
        ] {
            assert_eq!(route(path, ""), found, "{path}");
        }
    }

    #[test]
    fn a_prefix_moves_links_and_nothing_else() {
        assert_eq!(route("/track/o/abc", "/track"), open("abc"));
        assert_eq!(route("/o/abc", "/track"), Route::Other);
        assert_eq!(route("/robots.txt", "/track"), Route::Robots);
        assert!(matches!(
            route("/t/acme/c/abc", "/track"),
            Route::Click {
                tenant: Some("acme"),
                ..
            }
        ));
    }

    #[test]
    fn methods() {
        let unsubscribe = route("/u/x", "");
        for method in [Method::GET, Method::HEAD, Method::POST] {
            assert!(unsubscribe.allows(&method));
            assert_eq!(open("x").allows(&method), method != Method::POST);
            assert!(Route::<&str>::Other.allows(&method));
        }
        assert!(!unsubscribe.allows(&Method::DELETE));
    }

    #[test]
    fn labels_are_in_the_order_of_their_numbers() {
        for (place, label) in RouteLabel::ALL.into_iter().enumerate() {
            assert_eq!(label as usize, place);
        }
    }

    proptest! {
        #[test]
        fn any_path_routes(path in "\\PC{0,60}", prefix in "(/[a-z]{1,5})?") {
            let _ = route(&path, &prefix);
            let with = format!("{prefix}/c/{path}");
            prop_assert_eq!(route(&with, &prefix), Route::Click { tenant: None, token: path.as_str() });
        }
    }
}
