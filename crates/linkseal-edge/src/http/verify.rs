//! Whether a link's token is right: for the tenant that its path names, else for those of the domain.

use std::borrow::Cow;

use linkseal_link::{Kind, Token, VerifiedToken, decoded, token_in};

use super::exchange::Exchange;
use super::record;
use super::router::Route;

/// Verifies a link's token as it is written, else without what was appended to it, and calls `f` with
/// it. `None` if the token is not right, or `f` says so.
pub(super) fn verified<T>(
    x: &Exchange<'_>,
    kind: Kind,
    tenant: Option<&str>,
    token: &str,
    f: impl FnOnce(&VerifiedToken<'_>) -> Option<T>,
) -> Option<T> {
    let named = tenant.map(decoded);
    let whole = Token::decode(token).ok();
    if let Some(verified) = verify(x, kind, named.as_ref(), whole.as_ref()) {
        return f(&verified);
    }
    let cut = token_in(token).and_then(|cut| Token::decode(&cut).ok());
    if let Some(verified) = verify(x, kind, named.as_ref(), cut.as_ref()) {
        return f(&verified);
    }
    record::wrong_token(x, token);
    None
}

/// Whether a link's token verifies.
pub(super) fn is_ours(x: &Exchange<'_>, route: Route<&str>) -> bool {
    let verifies = |kind, tenant, token| verified(x, kind, tenant, token, |_| Some(())).is_some();
    match route {
        Route::Open { tenant, token } => verifies(Kind::Open, tenant, token),
        Route::Click { tenant, token } => verifies(Kind::Click, tenant, token),
        Route::Unsubscribe { tenant, token } => verifies(Kind::Unsubscribe, tenant, token),
        _ => false,
    }
}

/// Whether a link is older than `links.max_age`. Unsubscribe links do not ask: they work as long as
/// their key exists.
pub(super) fn is_too_old(x: &Exchange<'_>, token: &VerifiedToken<'_>) -> bool {
    let age = || x.now.saturating_since(record::minted(token));
    x.settings.max_age.is_some_and(|most| age() > most)
}

/// `named`: the tenant in the path, which may not be text.
fn verify<'t>(
    x: &Exchange<'t>,
    kind: Kind,
    named: Option<&'t Option<Cow<'t, str>>>,
    token: Option<&'t Token>,
) -> Option<VerifiedToken<'t>> {
    let token = token.filter(|t| t.kind() == kind)?;
    let keys = &x.settings.keys;
    match named {
        Some(tenant) => token.verify(keys, [tenant.as_deref()?]).ok(),
        None => {
            let former = x.entry.former_tenants().iter().map(String::as_str);
            token.verify(keys, std::iter::once(x.entry.tenant()).chain(former)).ok()
        }
    }
}
