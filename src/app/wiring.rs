//! From the configuration's sections to what each part wants to know.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;

use crate::admin;
use crate::config::acme::Issue;
use crate::config::admission::Policy;
use crate::config::dns::Dmarc;
use crate::config::events::{Durability, IpDetail, SinkKind};
use crate::config::{Config, Endpoint};
use crate::control::{self, AskSettings, Limit, Limits};
use crate::dns::{CheckerSettings, Dkim, DmarcWanted, ResolverSettings, Target};
use crate::domain::DomainName;
use crate::edge::http;
use crate::edge::tls::acceptor;
use crate::event::{self, EventSettings, IpPrivacy, SinkSettings};
use crate::issuer::{CaSettings, Eab};
use crate::link::{KeyError, LinkKey, LinkKeys};

pub(super) fn addresses(endpoints: &[Endpoint]) -> Vec<SocketAddr> {
    endpoints.iter().map(|e| e.get()).collect()
}

/// edge.name and its aliases.
pub(super) fn own_names(config: &Config) -> Vec<DomainName> {
    std::iter::once(&config.edge.name)
        .chain(&config.edge.aliases)
        .cloned()
        .collect()
}

/// The configuration's resolvers, where it names any.
pub(super) fn resolver(config: &Config, base: &ResolverSettings) -> ResolverSettings {
    let mut settings = base.clone();
    if !config.dns.resolvers.is_empty() {
        settings.resolvers = addresses(&config.dns.resolvers);
    }
    settings
}

/// The first CA; the others are fallbacks.
pub(super) fn ca(config: &Config) -> anyhow::Result<CaSettings> {
    let authorities = config.authorities();
    let first = authorities.first().context("acme.directory is not configured")?;
    Ok(CaSettings {
        directory: first.directory.as_str().to_owned(),
        contact: config.acme.contact.iter().map(|c| c.as_str().to_owned()).collect(),
        ca_file: config.acme.ca_file.clone(),
        eab: first.eab.map(|(key_id, key)| Eab {
            key_id: key_id.to_owned(),
            hmac_key: key.clone(),
        }),
        profile: first.profile.map(str::to_owned),
    })
}

pub(super) fn checker(config: &Config) -> CheckerSettings {
    let dns = &config.dns;
    CheckerSettings {
        target: Target {
            name: config.edge.name.clone(),
            aliases: config.edge.aliases.clone(),
            addresses: config.edge.addresses.iter().map(|a| a.get()).collect(),
        },
        spf_include: dns.spf_include.as_ref().map(|n| n.as_str().to_owned()),
        dkim: dns
            .dkim
            .iter()
            .map(|d| Dkim {
                selector: d.selector.as_str().to_owned(),
                cname: d.cname.as_str().to_owned(),
            })
            .collect(),
        dmarc: Some(match dns.dmarc {
            Dmarc::Present => DmarcWanted::Present,
            Dmarc::None => DmarcWanted::None,
            Dmarc::Quarantine => DmarcWanted::Quarantine,
            Dmarc::Reject => DmarcWanted::Reject,
        }),
    }
}

pub(super) fn ask(config: &Config) -> Option<AskSettings> {
    let ask = config
        .admission
        .ask
        .as_ref()
        .filter(|_| config.admission.policy == Policy::Ask)?;
    Some(AskSettings {
        url: ask.url.uri().clone(),
        timeout: ask.timeout.get(),
        cache: ask.cache.get(),
    })
}

pub(super) fn control(config: &Config) -> control::Settings {
    let limit = |l: crate::config::Limit| Limit {
        count: l.count,
        per: l.per.get(),
    };
    let limits = &config.acme.limits;
    control::Settings {
        issue: match config.acme.issue {
            Issue::OnRegister => control::Issue::OnRegister,
            Issue::OnDemand => control::Issue::OnDemand,
            Issue::Off => control::Issue::Off,
        },
        limits: Limits {
            orders_per_account: limit(limits.orders_per_account),
            per_registered_domain: limit(limits.per_registered_domain),
            failed_per_name: limit(limits.failed_per_name),
        },
        target: config.edge.name.clone(),
    }
}

pub(super) fn orders(config: &Config) -> usize {
    usize::try_from(config.acme.max_concurrent_orders.get()).unwrap_or(usize::MAX)
}

pub(super) fn connections(config: &Config) -> usize {
    usize::try_from(config.edge.max_connections.get()).unwrap_or(usize::MAX)
}

pub(super) fn balancers(config: &Config) -> Vec<ipnet::IpNet> {
    config.listen.proxy_protocol_from.iter().map(|n| n.get()).collect()
}

pub(super) fn acceptor(config: &Config) -> acceptor::Settings {
    acceptor::Settings::new(config.edge.name.clone(), config.edge.handshake_wait.get())
}

pub(super) fn http(config: &Config) -> anyhow::Result<http::Settings> {
    Ok(http::Settings {
        edge_name: config.edge.name.clone(),
        aliases: config.edge.aliases.clone(),
        public_https_port: config.edge.public_https_port.get(),
        prefix: config.links.prefix.as_str().to_owned(),
        fallback_url: config.links.fallback_url.as_ref().map(|u| u.as_str().to_owned()),
        max_age: config.links.max_age.map(|age| age.get()),
        keys: Arc::new(link_keys(config)?),
    })
}

/// The link keys, with their revocations.
pub(crate) fn link_keys(config: &Config) -> Result<LinkKeys, KeyError> {
    let secrets = &config.secrets.link_keys;
    let keys = LinkKeys::new(secrets.iter().map(|k| LinkKey::new(k.id, &k.secret)))?;
    secrets.iter().filter(|k| k.revoked).for_each(|k| keys.revoke(k.id));
    Ok(keys)
}

pub(super) fn challenge_upstream(config: &Config) -> anyhow::Result<Option<http::ChallengeUpstream>> {
    Ok(config
        .acme
        .challenge_upstream
        .as_ref()
        .map(|u| http::ChallengeUpstream::new(u.as_str()))
        .transpose()?)
}

pub(super) fn events(config: &Config) -> anyhow::Result<EventSettings> {
    let events = &config.events;
    let mut sinks = Vec::with_capacity(events.sink.len());
    for sink in &events.sink {
        let types: Result<Vec<_>, _> = sink.types.iter().map(|t| t.as_str().parse()).collect();
        let types = types.map_err(|e: String| anyhow::anyhow!("events.sink.types: {e}"))?;
        let kind = match sink.kind {
            SinkKind::File => {
                let path = sink.path.as_ref().context("events.sink.path is missing")?;
                event::SinkKind::File {
                    path: path.display().to_string(),
                }
            }
            SinkKind::Webhook | SinkKind::Nats => {
                anyhow::bail!("events.sink.kind: only \"file\" can be used here")
            }
        };
        sinks.push(SinkSettings {
            name: sink.name.as_str().to_owned(),
            types: (!types.is_empty()).then_some(types),
            kind,
        });
    }
    Ok(EventSettings {
        dir: events.dir.clone(),
        durability: match events.durability {
            Durability::Queued => event::Durability::Queued,
            Durability::Written => event::Durability::Written,
            Durability::Synced => event::Durability::Synced,
        },
        keep: events.keep.get(),
        max_bytes: events.max_bytes.bytes(),
        ip: match events.ip {
            IpDetail::Full => IpPrivacy::Full,
            IpDetail::Truncated => IpPrivacy::Truncated,
            IpDetail::None => IpPrivacy::None,
        },
        sinks,
    })
}

/// The admin port shows what the edge uses: call it when that is in force.
pub(super) fn admin(config: &Config, context: &http::Context) -> admin::Settings {
    admin::Settings {
        plain: config.admin.plain,
        tokens: config.secrets.admin_tokens.clone(),
        edge_name: config.edge.name.clone(),
        aliases: config.edge.aliases.clone(),
        link_keys: Arc::clone(&context.settings.load().keys),
        prefix: config.links.prefix.as_str().to_owned(),
        max_age: config.links.max_age.map(|age| age.get()),
    }
}
