//! Translates the configuration's sections into each part's settings.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use anyhow::Context as _;
use linkseal_base::shutdown::Tasks;
use linkseal_config::acme::Issue;
use linkseal_config::admission::{Ownership, Policy};
use linkseal_config::dns::Dmarc;
use linkseal_config::events::{OptOut, SinkKind, SinkUrl};
use linkseal_config::upstream::{HostPattern, Http2};
use linkseal_config::{Config, ListenAddr};
use linkseal_control::{AskSettings, CnameSettings, Limit, Limits, PreflightSettings};
use linkseal_dns::{CheckerSettings, Dkim, DmarcWanted, ResolverSettings, Target};
use linkseal_domain::EdgeNames;
use linkseal_edge::http;
use linkseal_edge::http::upstream::{self, Upstreams};
use linkseal_edge::limits::Bounds;
use linkseal_edge::tls::acceptor;
use linkseal_event::{
    self, EventSettings, FileSettings, NatsLogin, NatsSettings, Networks, Privacy, SinkSettings, WebhookSettings,
};
use linkseal_issuer::{CaSettings, Eab};
use linkseal_link::{KeyError, LinkKey, LinkKeys};

use crate::descriptors;

pub(super) fn addresses(endpoints: &[ListenAddr]) -> Vec<SocketAddr> {
    endpoints.iter().map(|e| e.get()).collect()
}

pub(crate) fn edge_names(config: &Config) -> EdgeNames {
    EdgeNames {
        name: config.edge.name.clone(),
        aliases: config.edge.aliases.clone(),
    }
}

/// The configuration's resolvers if it names any, otherwise those of `base`.
pub(super) fn resolver(config: &Config, base: &ResolverSettings) -> ResolverSettings {
    let mut settings = base.clone();
    if !config.dns.resolvers.is_empty() {
        settings.resolvers = addresses(&config.dns.resolvers);
    }
    settings
}

/// The CAs in order of preference, each with its own limits.
pub(super) fn authorities(config: &Config) -> Vec<(CaSettings, Limits)> {
    let authorities = config.authorities().into_iter().map(|ca| {
        let settings = CaSettings {
            directory: ca.directory.as_str().to_owned(),
            contact: config.acme.contact.iter().map(|c| c.as_str().to_owned()).collect(),
            trust: ca.trust.to_vec(),
            eab: ca.eab.map(|(key_id, key)| Eab {
                key_id: key_id.to_owned(),
                hmac_key: key.clone(),
            }),
            profile: ca.profile.map(str::to_owned),
        };
        (settings, limits(ca.limits))
    });
    authorities.collect()
}

pub(super) fn checker(config: &Config) -> CheckerSettings {
    let dns = &config.dns;
    CheckerSettings {
        target: Target {
            names: edge_names(config),
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

/// `loopback_ports`: the ports used instead of 80 and 443 if everything is on loopback.
pub(super) fn preflight(config: &Config, loopback_ports: Option<(u16, u16)>) -> Option<PreflightSettings> {
    config.acme.preflight.then(|| PreflightSettings {
        address: config.acme.preflight_address.map(|a| a.get()),
        own: config.edge.addresses.iter().map(|a| a.get()).collect(),
        ports: loopback_ports.unwrap_or((80, 443)),
        private: loopback_ports.is_some(),
    })
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

fn limit(limit: linkseal_config::Limit) -> Limit {
    Limit {
        count: limit.count,
        per: limit.per.get(),
    }
}

pub(super) fn control(config: &Config) -> linkseal_control::Settings {
    linkseal_control::Settings {
        issue: match config.acme.issue {
            Issue::OnRegister => linkseal_control::Issue::OnRegister,
            Issue::OnDemand => linkseal_control::Issue::OnDemand,
            Issue::Off => linkseal_control::Issue::Off,
        },
        names: edge_names(config),
        recheck: config.dns.recheck_interval.get(),
        departed_after: config.dns.departed_after.get(),
        probe: probe(config),
        cname: cname(config),
        ownership: match config.admission.ownership {
            Ownership::Txt => linkseal_control::Ownership::Txt,
            Ownership::None => linkseal_control::Ownership::None,
        },
        max_domains_per_tenant: Some(config.admission.max_domains_per_tenant).filter(|most| *most > 0),
        rejected_capacity: usize::try_from(config.admission.rejected_capacity).unwrap_or(usize::MAX),
    }
}

/// A CA's limits, as configured.
pub(crate) fn limits(limits: &linkseal_config::acme::Limits) -> Limits {
    Limits {
        orders_per_account: limit(limits.orders_per_account),
        per_registered_domain: limit(limits.per_registered_domain),
        failed_per_name: limit(limits.failed_per_name),
    }
}

fn cname(config: &Config) -> Option<CnameSettings> {
    let cname = &config.admission.cname;
    let count = |n: NonZeroU32| usize::try_from(n.get()).unwrap_or(usize::MAX);
    (config.admission.policy == Policy::Cname).then(|| CnameSettings {
        per_registered_domain: cname.per_registered_domain.get(),
        max_labels: count(cname.max_labels),
        admission_rate: limit(cname.admission_rate),
        lookups: limit(cname.lookups),
        max_concurrent_lookups: count(cname.max_concurrent_lookups),
        negative_ttl: cname.negative_ttl.get(),
    })
}

fn probe(config: &Config) -> Option<linkseal_control::ProbeSettings> {
    let edge = &config.edge;
    Some(linkseal_control::ProbeSettings {
        every: edge.probe_interval.get()?.get(),
        address: edge.probe_address.map(|a| a.get()),
        port: edge.public_https_port.get(),
        own: edge.addresses.iter().map(|a| a.get()).collect(),
    })
}

pub(super) fn orders(config: &Config) -> usize {
    usize::try_from(config.acme.max_concurrent_orders.get()).unwrap_or(usize::MAX)
}

/// The limits of connections: as configured, but no more than the allowed descriptors permit.
pub(super) fn connections(config: &Config) -> Bounds {
    let count = |n: NonZeroU32| usize::try_from(n.get()).unwrap_or(usize::MAX);
    let usual = Bounds::of(descriptors::connections(config, descriptors::allowed()));
    let edge = &config.edge;
    Bounds {
        max: usual.max,
        per_address: edge.max_connections_per_address.map_or(usual.per_address, count),
        per_network: edge.max_connections_per_network.map_or(usual.per_network, count),
    }
}

pub(super) fn balancers(config: &Config) -> Vec<ipnet::IpNet> {
    config.listen.proxy_protocol_from.iter().map(|n| n.get()).collect()
}

pub(super) fn acceptor(config: &Config) -> acceptor::Settings {
    acceptor::Settings::new(config.edge.name.clone(), config.edge.handshake_wait.get())
}

/// The rules for back ends; rules that `previous` has as well keep their connections.
pub(super) fn upstreams(
    config: &Config,
    previous: &Upstreams,
    metrics: &http::Metrics,
    tasks: &Tasks,
) -> anyhow::Result<Upstreams> {
    let rules = config.upstream.iter().zip(&config.secrets.upstream_trust);
    let rules = rules.map(|(rule, trust)| upstream::RuleSettings {
        host: match &rule.host {
            HostPattern::Any => None,
            HostPattern::One(name) => Some(name.clone()),
        },
        prefix: rule.prefix.as_str().to_owned(),
        origin: upstream::Origin {
            to: rule.to.uri().clone(),
            trust: trust.clone(),
            http2: match rule.http2 {
                Http2::Auto => upstream::Http2::Auto,
                Http2::PriorKnowledge => upstream::Http2::PriorKnowledge,
                Http2::Off => upstream::Http2::Off,
            },
            connect_timeout: rule.connect_timeout.get(),
            max_concurrent: usize::try_from(rule.max_concurrent.get()).unwrap_or(usize::MAX),
            max_per_network: rule.max_per_network(),
        },
        response_timeout: rule.response_timeout.get(),
        idle_timeout: rule.idle_timeout.get(),
        max_body: rule.max_body.bytes(),
        events: rule.events,
    });
    Ok(Upstreams::new(rules.collect(), previous, metrics.upstream(), tasks)?)
}

pub(super) fn http(config: &Config, upstreams: Upstreams) -> anyhow::Result<http::Settings> {
    Ok(http::Settings {
        names: edge_names(config),
        public_https_port: config.edge.public_https_port.get(),
        prefix: config.links.prefix.as_str().to_owned(),
        fallback_url: config.links.fallback_url.as_ref().map(|u| u.as_str().to_owned()),
        max_age: config.links.max_age.map(|age| age.get()),
        keys: Arc::new(link_keys(config)?),
        upstreams,
    })
}

/// The link keys, with their revocations.
pub(crate) fn link_keys(config: &Config) -> Result<LinkKeys, KeyError> {
    let secrets = &config.secrets.link_keys;
    let keys = LinkKeys::new(secrets.iter().map(|k| LinkKey::new(k.id, &k.secret)))?;
    secrets.iter().filter(|k| k.revoked).for_each(|k| keys.revoke(k.id));
    Ok(keys)
}

pub(super) fn challenge_upstream(config: &Config) -> anyhow::Result<Option<Arc<http::ChallengeUpstream>>> {
    let upstream = config.acme.challenge_upstream.as_ref();
    Ok(upstream
        .map(|u| http::ChallengeUpstream::new(u.as_str()))
        .transpose()?
        .map(Arc::new))
}

pub(super) fn events(config: &Config) -> anyhow::Result<EventSettings> {
    let events = &config.events;
    let mut sinks = Vec::with_capacity(events.sink.len());
    for (sink, secrets) in events.sink.iter().zip(&config.secrets.sinks) {
        let kind = match (sink.kind, &sink.url) {
            (SinkKind::File, _) => {
                let path = sink.path.as_ref().context("events.sink.path is missing")?;
                linkseal_event::SinkKind::File(FileSettings {
                    path: path.display().to_string(),
                    max_bytes: sink.max_bytes.map(|b| b.bytes()),
                    compress: sink.compress.is_some(),
                    keep: sink.keep.map(|k| k.get()),
                })
            }
            (SinkKind::Webhook, Some(SinkUrl::Http(url))) => linkseal_event::SinkKind::Webhook(WebhookSettings {
                url: url.uri().clone(),
                secrets: secrets.webhook.clone(),
                batch: usize::try_from(sink.webhook_batch().get()).unwrap_or(usize::MAX),
                trust: secrets.trust.clone(),
                allow_private: sink.allow_private == Some(true),
            }),
            (SinkKind::Nats, Some(SinkUrl::Nats(url))) => linkseal_event::SinkKind::Nats(NatsSettings {
                url: url.clone(),
                subject: sink.nats_subject().to_owned(),
                login: match (sink.user.clone(), secrets.password.clone()) {
                    (_, None) => NatsLogin::None,
                    (None, Some(token)) => NatsLogin::Token(token),
                    (Some(name), Some(password)) => NatsLogin::User { name, password },
                },
                trust: secrets.trust.clone(),
            }),
            (SinkKind::Webhook | SinkKind::Nats, _) => anyhow::bail!("events.sink.url does not fit its kind"),
        };
        sinks.push(SinkSettings {
            name: sink.name.as_str().to_owned(),
            types: (!sink.types.is_empty()).then(|| sink.types.clone()),
            kind,
        });
    }
    Ok(EventSettings {
        dir: events.dir.clone(),
        durability: events.durability,
        keep: events.keep.get(),
        max_bytes: events.max_bytes.bytes(),
        privacy: privacy(config),
        sinks,
    })
}

pub(super) fn privacy(config: &Config) -> Privacy {
    let events = &config.events;
    Privacy {
        ip: events.ip,
        user_agent: events.user_agent,
        referer: events.referer,
        honour_opt_out: events.dnt == OptOut::Honour,
    }
}

/// Reads the list of networks if one is configured.
pub(super) fn networks(config: &Config) -> anyhow::Result<Networks> {
    let file = config.events.networks_file.as_deref();
    Ok(file.map(Networks::read).transpose()?.unwrap_or_default())
}

/// Call this after `context` has its new settings: the admin port shows the link keys in use.
pub(super) fn admin(config: &Config, context: &http::Context) -> linkseal_admin::Settings {
    linkseal_admin::Settings {
        plain: config.admin.plain,
        tokens: config.secrets.admin_tokens.clone(),
        trusted_proxies: config.admin.trusted_proxies.iter().map(|n| n.get()).collect(),
        names: edge_names(config),
        pages: config.pages.clone(),
        logo: config.secrets.logo.clone(),
        link_keys: Arc::clone(&context.settings.load().keys),
        prefix: config.links.prefix.as_str().to_owned(),
        max_age: config.links.max_age.map(|age| age.get()),
    }
}
