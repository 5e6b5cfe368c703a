//! Secrets and certificates. They are in files of their own, never in the configuration: read once when it is
//! loaded, zeroized on drop, never printed.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use linkseal_event::WebhookSecret;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::Config;
use crate::findings::Findings;
use crate::sections::acme::{Acme, Eab, Limits};
use crate::sections::admin::Role;
use crate::sections::events::Sink;
use crate::sections::pages::Logo;
use crate::sections::store::{PostgresTls, Store};
use crate::values::HttpUrl;

/// The contents of the files that a configuration names.
#[derive(Clone, Default)]
pub struct Secrets {
    /// In the order of `links.keys`.
    pub link_keys: Vec<LinkSecret>,
    pub admin_tokens: Vec<AdminToken>,
    pub store: StoreSecrets,
    /// Per CA: `acme` first, then its fallbacks.
    pub authorities: Vec<CaSecrets>,
    /// Per event sink.
    pub sinks: Vec<SinkSecrets>,
    pub logo: Option<Logo>,
    /// Per upstream rule: the CA certificates to trust instead of the public ones; empty if it names none.
    pub upstream_trust: Vec<Vec<CertificateDer<'static>>>,
}

/// The contents of the files for PostgreSQL; empty with an embedded store.
#[derive(Clone, Default)]
pub struct StoreSecrets {
    /// The user's password. `None`: the server must not ask for one.
    pub password: Option<SecretString>,
    /// The CA certificates to trust instead of the public ones; empty if the URL names none.
    pub trust: Vec<CertificateDer<'static>>,
}

/// The contents of one sink's files.
#[derive(Clone, Default)]
pub struct SinkSecrets {
    /// The secrets that sign a webhook's requests.
    pub webhook: Vec<WebhookSecret>,
    /// A password or token.
    pub password: Option<SecretString>,
    /// CA certificates to trust in addition to the public ones.
    pub trust: Vec<CertificateDer<'static>>,
}

/// A link key.
#[derive(Clone)]
pub struct LinkSecret {
    pub id: u8,
    pub revoked: bool,
    pub secret: Zeroizing<[u8; LINK_KEY_LEN]>,
}

/// A bearer token of the admin API.
#[derive(Clone)]
pub struct AdminToken {
    pub name: String,
    pub role: Role,
    /// The tenant it is restricted to, if any.
    pub tenant: Option<String>,
    pub token: SecretString,
}

/// The contents of one CA's files.
#[derive(Clone, Default)]
pub struct CaSecrets {
    /// CA certificates to trust for its directory, in addition to the public ones.
    pub trust: Vec<CertificateDer<'static>>,
    /// The MAC key of the external account binding.
    pub eab_key: Option<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

/// Length of a link key in bytes.
const LINK_KEY_LEN: usize = 32;
/// The shortest admin token, in characters: 16 of base64url are 96 bits.
const SHORTEST_TOKEN: usize = 16;
/// The longest file that is read, in bytes; a bundle of CA certificates is the largest.
const LONGEST_FILE: u64 = 4 << 20;

/// base64url with and without padding.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Secrets {
    /// Reads all files that a configuration names, and reports what is wrong with them.
    pub(super) fn read(config: &Config, found: &mut Findings<'_>) -> Self {
        let mut secrets = Self::default();
        for (i, key) in config.links.keys.iter().enumerate() {
            let place = format!("links.keys[{i}].secret_file");
            let wanted = "64 hexadecimal digits (32 bytes), as `linkseal link keygen` creates them";
            if let Some(secret) = read_secret(&key.secret_file, &place, wanted, found, link_key) {
                if let Some(same) = secrets.link_keys.iter().find(|other| other.secret == secret) {
                    found.warn(
                        &place,
                        format!(
                            "has the same secret as the key with id {}: revoking one of them has no effect on links made with the other",
                            same.id
                        ),
                    );
                }
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
                let is_same = |other: &&AdminToken| other.token.expose_secret() == secret.expose_secret();
                if let Some(same) = secrets.admin_tokens.iter().find(is_same) {
                    found.problem(
                        &place,
                        format!(
                            "\"{}\" has the same secret as \"{}\"; each token needs its own",
                            token.name, same.name
                        ),
                    );
                }
                secrets.admin_tokens.push(AdminToken {
                    name: token.name.to_string(),
                    role: token.role,
                    tenant: token.tenant.as_ref().map(|t| t.as_str().to_owned()),
                    token: secret,
                });
            }
        }
        if let Some(warning) = too_open(&config.store.key_path().0) {
            found.warn("store.key_file", warning);
        }
        secrets.store = StoreSecrets::read(&config.store, found);
        let main = (config.acme.ca_file.as_deref(), config.acme.eab.as_ref());
        secrets.authorities.push(CaSecrets::read("acme", main, found));
        for (i, fallback) in config.acme.fallback.iter().enumerate() {
            let files = (fallback.ca_file.as_deref(), fallback.eab.as_ref());
            secrets
                .authorities
                .push(CaSecrets::read(&format!("acme.fallback[{i}]"), files, found));
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

impl StoreSecrets {
    fn read(store: &Store, found: &mut Findings<'_>) -> Self {
        let Some(url) = store.postgres() else {
            return Self::default();
        };
        let password = store.password_file.as_deref().and_then(|file| {
            let wanted = "the password of store.url's user in one line";
            read_secret(file, "store.password_file", wanted, found, password)
        });
        let trust = match url.tls() {
            PostgresTls::VerifyFull { roots: Some(file) } => {
                let wanted = "certificates in PEM form (sslrootcert)";
                read(file, "store.url", wanted, found, certificates)
            }
            PostgresTls::VerifyFull { roots: None } | PostgresTls::Disabled => None,
        };
        Self {
            password,
            trust: trust.unwrap_or_default(),
        }
    }
}

impl CaSecrets {
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
                "the MAC key in base64url or base64, as the CA issued it",
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

/// A CA with its configuration and the contents of its files.
#[derive(Clone, Copy)]
pub struct CaConfig<'a> {
    pub directory: &'a HttpUrl,
    /// Key id and MAC key of the external account binding.
    pub eab: Option<(&'a str, &'a Zeroizing<Vec<u8>>)>,
    /// CA certificates to trust for the directory, in addition to the public ones.
    pub trust: &'a [CertificateDer<'static>],
    /// The profile to order; without one, the CA's default.
    pub profile: Option<&'a str>,
    pub limits: &'a Limits,
}

impl Config {
    /// The CAs in order of preference.
    pub fn authorities(&self) -> Vec<CaConfig<'_>> {
        let Acme {
            directory,
            eab,
            profile,
            limits,
            fallback,
            ..
        } = &self.acme;
        let main = (directory, eab, profile, limits);
        let fallback = fallback.iter().map(|f| (&f.directory, &f.eab, &f.profile, &f.limits));
        let all = std::iter::once(main).chain(fallback);
        all.zip(&self.secrets.authorities)
            .map(|((directory, eab, profile, limits), secrets)| CaConfig {
                directory,
                eab: eab.as_ref().map(|e| e.key_id.as_str()).zip(secrets.eab_key.as_ref()),
                trust: &secrets.trust,
                profile: profile.as_deref(),
                limits,
            })
            .collect()
    }
}

/// Parses 64 hexadecimal digits, the form of link keys and of the sealing key.
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

/// A password may begin or end with a space; only the end of the line does not belong to it.
fn password(text: &str) -> Option<SecretString> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    (!text.is_empty() && !text.contains(['\n', '\r', '\0'])).then(|| SecretString::from(text))
}

/// A MAC key in base64url, as RFC 8555 §7.3.4 requires, or in the standard alphabet, as some CAs show it.
fn eab_key(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text = Zeroizing::new(text.trim().replace('+', "-").replace('/', "_"));
    let key = Zeroizing::new(BASE64URL.decode(text.as_bytes()).ok()?);
    Some(key).filter(|key| !key.is_empty())
}

fn certificates(text: &str) -> Option<Vec<CertificateDer<'static>>> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .ok()?;
    Some(all).filter(|all| !all.is_empty())
}

/// The warning if a file with a secret is accessible for too many users.
fn too_open(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    // The group may read it: root owns the file, the service's group reads it.
    (mode & 0o037 != 0).then(|| {
        format!(
            "{} is accessible beyond its owner and group (mode {mode:03o}); `chmod 640` it",
            path.display()
        )
    })
}

/// What to do about a file that cannot be read, after the error.
pub(crate) fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => "; let the service's user read it: `chgrp linkseal` and `chmod 640` it",
        _ => "",
    }
}

/// Reads a file that must not be readable for everyone.
fn read_secret<T>(
    path: &Path,
    key: &str,
    wanted: &str,
    found: &mut Findings<'_>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    if let Some(warning) = too_open(path) {
        found.warn(key, warning);
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
        found.problem(
            key,
            format!(
                "{} cannot be read ({e}); it must contain {wanted}{}",
                path.display(),
                advice(&e)
            ),
        );
        return None;
    }
    let parsed = parse(&text);
    if parsed.is_none() {
        let length = text.trim().chars().count();
        found.problem(
            key,
            format!(
                "{} must contain {wanted}; it contains {length} characters",
                path.display()
            ),
        );
    }
    parsed
}
