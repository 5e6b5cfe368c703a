//! Checks that types cannot express: whether the values of a configuration fit together. Each section checks
//! its own; this calls them all.

use super::Config;
use super::findings::Findings;
use super::sections::upstream;

/// Checks every section on its own and against the others.
pub(super) fn check(config: &Config, found: &mut Findings<'_>) {
    config.listen.check(found);
    config.edge.check(found);
    config.admission.check(found);
    config.acme.check(found);
    config.acme.check_names(&config.edge, found);
    config.store.check(&config.edge, &config.events, found);
    config.links.check(found);
    config.events.check(found);
    upstream::check(&config.upstream, found);
    config.dns.check(found);
    config.admin.check(&config.listen, found);
    config.pages.check(found);
    config.log.check(found);
}
