//! DNS: whether the resolvers answer, and to which addresses edge.name resolves.

use std::net::IpAddr;

use futures_util::future::join_all;
use linkseal_config::Config;
use linkseal_dns::{Kind, Lookup, LookupError, Resolver, ResolverSettings};

use super::{Finding, Surroundings, in_time, wiring};

pub(super) async fn check(config: &Config, around: &Surroundings) -> Vec<Finding> {
    let settings = wiring::resolver(config, &around.dns);
    let each: Vec<ResolverSettings> = match settings.resolvers.as_slice() {
        [] => vec![settings.clone()],
        some => some
            .iter()
            .map(|one| ResolverSettings {
                resolvers: vec![*one],
                ..settings.clone()
            })
            .collect(),
    };
    let resolvers = each
        .into_iter()
        .map(|one| in_time("dns.resolvers", resolver(config, one)));
    let name = in_time("edge.name", edge_name(config, settings));
    let (mut found, name) = futures_util::join!(join_all(resolvers), name);
    found.push(name);
    found
}

async fn resolver(config: &Config, settings: ResolverSettings) -> Finding {
    const CHECK: &str = "dns.resolvers";
    let which = match settings.resolvers.first() {
        Some(address) => address.to_string(),
        None => "the system's resolvers".to_owned(),
    };
    let resolver = match Resolver::new(settings) {
        Ok(resolver) => resolver,
        Err(error) => return Finding::failed(CHECK, format!("{which}: {error}; set dns.resolvers")),
    };
    // Two names that exist, so that a failure of one zone is not blamed on the resolver.
    let ca = config.acme.directory.uri().host().unwrap_or_default();
    let asked = [ca, config.edge.name.as_str()].map(|name| resolver.lookup(name, Kind::A));
    let answers: Vec<_> = join_all(asked).await.into_iter().map(answered).collect();
    let any = answers.iter().any(Result::is_ok);
    match answers.into_iter().find(|a| a.is_ok() == any).unwrap_or(Ok(())) {
        Ok(()) => Finding::ok(CHECK, format!("{which}: answers")),
        Err(error) => Finding::failed(
            CHECK,
            format!("{which}: no usable answer ({error}); set dns.resolvers to resolvers that answer from here"),
        ),
    }
}

/// A name or record that does not exist is an answer as well.
fn answered<T>(answer: Result<T, LookupError>) -> Result<(), LookupError> {
    match answer {
        Err(error) if !error.is_absent() => Err(error),
        _ => Ok(()),
    }
}

/// The message for a name whose look-ups gave no address; `failed` is the error of one that got no answer.
pub(super) fn without_address(name: &str, failed: Option<&LookupError>) -> String {
    match failed {
        None => format!("{name} has no address: create A and AAAA records with this edge's addresses"),
        Some(error) => {
            format!("{name} cannot be looked up ({error}): check dns.resolvers, and the name servers of its zone")
        }
    }
}

/// The addresses of a name, and the error of a look-up that got no answer.
pub(super) async fn addresses(resolver: &Resolver, name: &str) -> (Vec<IpAddr>, Option<LookupError>) {
    let (a, aaaa) = futures_util::join!(resolver.lookup(name, Kind::A), resolver.lookup(name, Kind::Aaaa));
    let failed = [&a, &aaaa]
        .into_iter()
        .find_map(|answer| answer.as_ref().err().filter(|e| !e.is_absent()).cloned());
    let found = [a, aaaa].into_iter().flatten().flat_map(|a| a.addresses()).collect();
    (found, failed)
}

async fn edge_name(config: &Config, settings: ResolverSettings) -> Finding {
    const CHECK: &str = "edge.name";
    let name = config.edge.name.as_str();
    let resolver = match Resolver::new(settings) {
        Ok(resolver) => resolver,
        Err(error) => return Finding::failed(CHECK, error.to_string()),
    };
    let (found, failed) = addresses(&resolver, name).await;
    let list = |ips: &[IpAddr]| ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if found.is_empty() {
        return Finding::failed(CHECK, without_address(name, failed.as_ref()));
    }
    let configured: Vec<IpAddr> = config.edge.addresses.iter().map(|a| a.get()).collect();
    let other: Vec<IpAddr> = found.iter().copied().filter(|ip| !configured.contains(ip)).collect();
    if !configured.is_empty() && !other.is_empty() {
        return Finding::warning(
            CHECK,
            format!(
                "{name} also resolves to {}, which edge.addresses lacks: add it there if it is this edge's, else remove the \
                 record",
                list(&other)
            ),
        );
    }
    Finding::ok(CHECK, format!("{name} resolves to {}", list(&found)))
}
