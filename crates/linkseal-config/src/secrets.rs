//! Secrets, which stand in files of their own and never in the configuration: read once when it is
//! loaded, kept in memory that is wiped, never printed.

use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use linkseal_event::WebhookSecret;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::Config;
use super::acme::{Acme, Eab};
use super::admin::Role;
use super::check::Findings;
use super::events::Sink;
use super::pages::Logo;

/// What the files named in a configuration hold.
#[derive(Clone, Default)]
pub struct Secrets {
    /// Keys of links, in the order of `links.keys`: the last one mints.
    pub link_keys: Vec<LinkSecret>,
    /// Tokens of the admin API.
    pub admin_tokens: Vec<AdminToken>,
    /// For each CA, `acme` first, then its fallbacks: what its files hold.
    pub authorities: Vec<AuthoritySecrets>,
    /// For each sink of events: what its files hold.
    pub sinks: Vec<SinkSecrets>,
    /// The platform's logo. `None`: none is configured.
    pub logo: Option<Logo>,
    /// For each upstream rule: the only certificates to trust for it. Empty: the public ones.
    pub upstream_trust: Vec<Vec<CertificateDer<'static>>>,
}

/// What the files of one sink hold.
#[derive(Clone, Default)]
pub struct SinkSecrets {
    /// What signs a webhook's requests.
    pub webhook: Vec<WebhookSecret>,
    /// A password or a token. `None`: none is configured.
    pub password: Option<SecretString>,
    /// Certificates to trust, beside the public ones.
    pub trust: Vec<CertificateDer<'static>>,
}

/// A key of links.
#[derive(Clone)]
pub struct LinkSecret {
    /// Its id.
    pub id: u8,
    /// Whether it is revoked.
    pub revoked: bool,
    /// Its bytes.
    pub secret: Zeroizing<[u8; LINK_KEY_LEN]>,
}

/// A token of the admin API.
#[derive(Clone)]
pub struct AdminToken {
    /// Who uses it.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// The only tenant whose domains it sees. `None`: everything.
    pub tenant: Option<String>,
    /// The token.
    pub token: SecretString,
}

/// What the files of one CA hold.
#[derive(Clone, Default)]
pub struct AuthoritySecrets {
    /// Certificates to trust for its directory, beside the public ones.
    pub trust: Vec<CertificateDer<'static>>,
    /// The MAC key of the external account binding. `None`: the CA wants none.
    pub eab_key: Option<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

/// Length of a link key in bytes.
const LINK_KEY_LEN: usize = 32;
/// Shortest admin token in characters: 16 of base64url are 96 bits.
const SHORTEST_TOKEN: usize = 16;
/// Longest secret file in bytes; a bundle of CA certificates is the largest there is.
const LONGEST_FILE: u64 = 4 << 20;

/// base64url as CAs hand it out, with and without padding.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Secrets {
    /// Reads all files that a configuration names; what is wrong with them goes to the findings.
    pub(super) fn read(config: &Config, found: &mut Findings<'_>) -> Self {
        let mut secrets = Self::default();
        for (i, key) in config.links.keys.iter().enumerate() {
            let place = format!("links.keys[{i}].secret_file");
            let wanted = "64 hexadecimal digits (32 bytes), as `linkseal link keygen` makes them";
            if let Some(secret) = read_secret(&key.secret_file, &place, wanted, found, link_key) {
                secrets.link_keys.push(LinkSecret {
                    id: key.id,
                    revoked: key.revoked,
                    secret,
                });
            }
        }
        for (i, token) in config.admin.tokens.iter().enumerate() {
            let place = format!("admin.tokens[{i}].secret_file");
            let wanted = "a token of at least 16 visible ASCII characters";
            if let Some(secret) = read_secret(&token.secret_file, &place, wanted, found, admin_token) {
                secrets.admin_tokens.push(AdminToken {
                    name: token.name.to_string(),
                    role: token.role,
                    tenant: token.tenant.as_ref().map(|t| t.as_str().to_owned()),
                    token: secret,
                });
            }
        }
        let main = (config.acme.ca_file.as_deref(), config.acme.eab.as_ref());
        secrets.authorities.push(AuthoritySecrets::read("acme", main, found));
        for (i, fallback) in config.acme.fallback.iter().enumerate() {
            let files = (fallback.ca_file.as_deref(), fallback.eab.as_ref());
            secrets
                .authorities
                .push(AuthoritySecrets::read(&format!("acme.fallback[{i}]"), files, found));
        }
        for (i, sink) in config.events.sink.iter().enumerate() {
            secrets
                .sinks
                .push(SinkSecrets::read(&format!("events.sink[{i}]"), sink, found));
        }
        secrets.logo = config.pages.logo.as_deref().and_then(|path| Logo::read(path, found));
        for (i, rule) in config.upstream.iter().enumerate() {
            let place = format!("upstream[{i}].ca_file");
            let trust = rule
                .ca_file
                .as_deref()
                .and_then(|file| read(file, &place, "certificates in PEM form", found, certificates));
            secrets.upstream_trust.push(trust.unwrap_or_default());
        }
        secrets
    }
}

impl AuthoritySecrets {
    fn read(section: &str, (ca_file, eab): (Option<&Path>, Option<&Eab>), found: &mut Findings<'_>) -> Self {
        let trust = ca_file.map(|file| {
            let place = format!("{section}.ca_file");
            read(file, &place, "certificates in PEM form", found, certificates).unwrap_or_default()
        });
        let eab_key = eab.and_then(|eab| {
            let place = format!("{section}.eab.hmac_key_file");
            read_secret(
                &eab.hmac_key_file,
                &place,
                "the MAC key in base64url, as the CA gave it",
                found,
                eab_key,
            )
        });
        Self {
            trust: trust.unwrap_or_default(),
            eab_key,
        }
    }
}

impl SinkSecrets {
    fn read(section: &str, sink: &Sink, found: &mut Findings<'_>) -> Self {
        let mut secrets = Self::default();
        for (i, file) in sink.secret_files.iter().enumerate() {
            let place = format!("{section}.secret_files[{i}]");
            let secret = read_secret(file, &place, WebhookSecret::WANTED, found, WebhookSecret::parse);
            secrets.webhook.extend(secret);
        }
        if let Some(file) = &sink.password_file {
            let place = format!("{section}.password_file");
            secrets.password = read_secret(file, &place, "a password or token in one line", found, one_line);
        }
        if let Some(file) = &sink.ca_file {
            let place = format!("{section}.ca_file");
            secrets.trust = read(file, &place, "certificates in PEM form", found, certificates).unwrap_or_default();
        }
        secrets
    }
}

/// A CA to order from: what is configured and what its files hold.
#[derive(Clone, Copy)]
pub struct CaConfig<'a> {
    /// Its ACME directory.
    pub directory: &'a super::text::HttpUrl,
    /// The id of the external account binding and its MAC key. `None`: the CA wants none.
    pub eab: Option<(&'a str, &'a Zeroizing<Vec<u8>>)>,
    /// PEM file of certificates to trust for the directory, beside the public ones. `None`: none.
    pub ca_file: Option<&'a Path>,
    /// Certificates to trust for the directory, beside the public ones.
    pub trust: &'a [CertificateDer<'static>],
    /// The profile to order. `None`: the CA's default.
    pub profile: Option<&'a str>,
    /// Its limits.
    pub limits: &'a super::acme::Limits,
}

impl Config {
    /// The CAs to order from, first choice first.
    pub fn authorities(&self) -> Vec<CaConfig<'_>> {
        let Acme {
            directory,
            ca_file,
            eab,
            profile,
            limits,
            fallback,
            ..
        } = &self.acme;
        let main = (directory, ca_file, eab, profile, limits);
        let others = fallback
            .iter()
            .map(|f| (&f.directory, &f.ca_file, &f.eab, &f.profile, &f.limits));
        let all = std::iter::once(main).chain(others);
        all.zip(&self.secrets.authorities)
            .map(|((directory, ca_file, eab, profile, limits), secrets)| CaConfig {
                directory,
                eab: eab.as_ref().map(|e| e.key_id.as_str()).zip(secrets.eab_key.as_ref()),
                ca_file: ca_file.as_deref(),
                trust: &secrets.trust,
                profile: profile.as_deref(),
                limits,
            })
            .collect()
    }
}

/// Reads 64 hexadecimal digits, as keys of links and the sealing key are written.
pub(super) fn link_key(text: &str) -> Option<Zeroizing<[u8; LINK_KEY_LEN]>> {
    let mut key = Zeroizing::new([0; LINK_KEY_LEN]);
    hex::decode_to_slice(text.trim(), key.as_mut_slice()).ok().map(|()| key)
}

fn admin_token(text: &str) -> Option<SecretString> {
    let token = text.trim();
    let fine = token.len() >= SHORTEST_TOKEN && token.bytes().all(|b| b.is_ascii_graphic());
    fine.then(|| SecretString::from(token))
}

fn one_line(text: &str) -> Option<SecretString> {
    let text = text.trim();
    (!text.is_empty() && !text.contains('\n')).then(|| SecretString::from(text))
}

fn eab_key(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    BASE64URL
        .decode(text.trim())
        .ok()
        .filter(|key| !key.is_empty())
        .map(Zeroizing::new)
}

fn certificates(text: &str) -> Option<Vec<CertificateDer<'static>>> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .ok()?;
    Some(all).filter(|all| !all.is_empty())
}

/// Reads a file that only its owner should be able to read.
fn read_secret<T>(
    path: &Path,
    key: &str,
    wanted: &str,
    found: &mut Findings<'_>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    if let Ok(mode) = fs::metadata(path).map(|m| m.permissions().mode() & 0o777)
        && mode & 0o037 != 0
    {
        // Its group may read it: that is how root keeps a file which the service only reads.
        found.warn(
            key,
            format!(
                "{} is open to others than its owner and group (mode {mode:03o}); `chmod 640` it",
                path.display()
            ),
        );
    }
    read(path, key, wanted, found, parse)
}

fn read<T>(
    path: &Path,
    key: &str,
    wanted: &str,
    found: &mut Findings<'_>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let mut text = Zeroizing::new(String::new());
    if let Err(e) = File::open(path).and_then(|file| file.take(LONGEST_FILE).read_to_string(&mut text)) {
        let advice = if e.kind() == ErrorKind::PermissionDenied {
            "; let the service's user read it: `chgrp linkseal` and `chmod 640` it"
        } else {
            ""
        };
        found.problem(
            key,
            format!("{} cannot be read ({e}); it must hold {wanted}{advice}", path.display()),
        );
        return None;
    }
    let parsed = parse(&text);
    if parsed.is_none() {
        let length = text.trim().chars().count();
        found.problem(
            key,
            format!("{} must hold {wanted}; it holds {length} characters", path.display()),
        );
    }
    parsed
}
