//! The CA's keys and what it signs: a root (kept on disk if configured), an intermediate created at
//! every start, the listener's own certificate, and leaves.

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use linkseal_base::clock::Timestamp;
use linkseal_base::random;
use linkseal_domain::cert::certificate::chain_from_pem;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

use super::csr::SubjectKey;

/// Root, intermediate and listener certificates are valid from 2020-01-01, so that a client with the
/// system's clock accepts them even if the CA's own clock was moved.
const INFRASTRUCTURE_SINCE: Timestamp = Timestamp::from_secs(1_577_836_800);
/// They end this long after the start, which is longer than any test of renewals.
const INFRASTRUCTURE_LIFETIME: Duration = Duration::from_secs(20 * 365 * 86_400);
/// Serial numbers carry 127 random bits; RFC 5280 §4.1.2.2 allows 20 bytes.
const SERIAL_BYTES: usize = 16;
/// Bytes of a subject key identifier (RFC 7093 §2).
const KEY_IDENTIFIER_BYTES: usize = 20;
/// An empty BasicConstraints: not a CA. rcgen writes the default value FALSE into it, which DER forbids
/// (X.690 §11.5) and strict clients refuse.
const NO_CA: [u8; 2] = [0x30, 0x00];
/// A common name has at most 64 characters (X.520). Without one, strict clients require a
/// critical SAN extension, which rcgen does not write.
const MAX_COMMON_NAME: usize = 64;
/// Object identifiers of extensions (RFC 5280 §4.2.1).
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const SUBJECT_KEY_IDENTIFIER: &[u64] = &[2, 5, 29, 14];
/// The DER tag of what a subject key identifier is.
const OCTET_STRING: u8 = 0x04;
/// The root's key in the state folder.
const ROOT_KEY_FILE: &str = "devca-root.key";
/// The root's certificate in the state folder, for clients to trust.
const ROOT_FILE: &str = "devca-root.pem";

/// The signing side of the CA.
pub(super) struct CaHierarchy {
    root_pem: String,
    intermediate: Certificate,
    intermediate_key: KeyPair,
}

/// A signed leaf certificate.
pub(super) struct Signed {
    /// Leaf and intermediate.
    pub(super) chain_pem: String,
    /// The serial number in lower-case hexadecimal.
    pub(super) serial: String,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

/// Certificate and key of the listener.
pub(super) struct ListenerCertificate {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl CaHierarchy {
    /// Loads the root from `state_dir`, or creates it there; `None` creates one in memory.
    pub(super) fn open(state_dir: Option<&Path>, now: Timestamp) -> io::Result<Self> {
        let root_key = match state_dir {
            Some(dir) => root_key_in(dir)?,
            None => KeyPair::generate().map_err(io::Error::other)?,
        };
        let root = root_certificate(&root_key, now).map_err(io::Error::other)?;
        let root_pem = match state_dir {
            Some(dir) => root_pem_in(dir, &root, &root_key)?,
            None => root.pem(),
        };
        let intermediate_key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = infrastructure("Dev Issuing E1", &intermediate_key, now);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let intermediate = params
            .signed_by(&intermediate_key, &root, &root_key)
            .map_err(io::Error::other)?;
        Ok(Self {
            root_pem,
            intermediate,
            intermediate_key,
        })
    }

    pub(super) fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// A certificate for the CA's own listener.
    pub(super) fn listener(&self, address: IpAddr, now: Timestamp) -> Result<ListenerCertificate, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = infrastructure("Dev ACME", &key, now);
        params.subject_alt_names = vec![SanType::DnsName("localhost".try_into()?), SanType::IpAddress(address)];
        leaf_usage(&mut params, &key, false);
        let leaf = params.signed_by(&key, &self.intermediate, &self.intermediate_key)?;
        Ok(ListenerCertificate {
            chain: vec![leaf.der().clone(), self.intermediate.der().clone()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        })
    }

    /// Signs a leaf for names that were validated.
    pub(super) fn sign(
        &self,
        key: &SubjectKey,
        names: &[String],
        not_before: Timestamp,
        lifetime: Duration,
    ) -> Result<Signed, rcgen::Error> {
        let serial = serial();
        // X.509 counts whole seconds.
        let not_before = Timestamp::from_secs(not_before.as_secs());
        let not_after = Timestamp::from_secs((not_before + lifetime).as_secs());
        let mut params = CertificateParams::default();
        params.not_before = not_before.to_datetime();
        params.not_after = not_after.to_datetime();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = names.iter().find(|n| n.len() <= MAX_COMMON_NAME) {
            params.distinguished_name.push(DnType::CommonName, name.as_str());
        }
        params.subject_alt_names = names
            .iter()
            .map(|n| Ok(SanType::DnsName(n.as_str().try_into()?)))
            .collect::<Result<_, rcgen::Error>>()?;
        leaf_usage(&mut params, key, key.algorithm() == &rcgen::PKCS_RSA_SHA256);
        let leaf = params.signed_by(key, &self.intermediate, &self.intermediate_key)?;
        Ok(Signed {
            chain_pem: format!("{}{}", leaf.pem(), self.intermediate.pem()),
            serial: hex::encode(serial),
            not_before,
            not_after,
        })
    }

    /// The first half of every leaf's ARI identifier (RFC 9773 §4.1).
    pub(super) fn key_identifier(&self) -> Vec<u8> {
        self.intermediate.key_identifier()
    }
}

fn root_certificate(key: &KeyPair, now: Timestamp) -> Result<Certificate, rcgen::Error> {
    let mut params = infrastructure("Dev Root X1", key, now);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.self_signed(key)
}

/// The parameters that root, intermediate and listener certificate share. The name ends in a hash of the
/// key, so that two CAs can be told apart in a trust store.
fn infrastructure(name: &str, key: &KeyPair, now: Timestamp) -> CertificateParams {
    let hash = hex::encode(digest(&SHA256, key.public_key_raw()));
    let mark = hash.get(..6).unwrap_or_default();
    let mut dn = DistinguishedName::new();
    dn.push(DnType::OrganizationName, "linkseal development CA");
    dn.push(DnType::CommonName, format!("{name} {mark}"));
    let mut params = CertificateParams::default();
    params.distinguished_name = dn;
    params.serial_number = Some(SerialNumber::from_slice(&serial()));
    params.not_before = INFRASTRUCTURE_SINCE.to_datetime();
    params.not_after = whole_seconds(now + INFRASTRUCTURE_LIFETIME);
    params
}

fn leaf_usage(params: &mut CertificateParams, key: &impl PublicKeyData, rsa: bool) {
    params.is_ca = IsCa::NoCa;
    let mut no_ca = CustomExtension::from_oid_content(BASIC_CONSTRAINTS, NO_CA.to_vec());
    no_ca.set_criticality(true);
    let hash = digest(&SHA256, key.der_bytes());
    let mut identifier = vec![OCTET_STRING, KEY_IDENTIFIER_BYTES as u8];
    identifier.extend(hash.as_ref().iter().take(KEY_IDENTIFIER_BYTES));
    let identifier = CustomExtension::from_oid_content(SUBJECT_KEY_IDENTIFIER, identifier);
    params.custom_extensions = vec![no_ca, identifier];
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if rsa {
        params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
}

fn whole_seconds(t: Timestamp) -> OffsetDateTime {
    Timestamp::from_secs(t.as_secs()).to_datetime()
}

/// Positive and without a leading zero byte, so that its hexadecimal form equals that of the DER encoding.
fn serial() -> [u8; SERIAL_BYTES] {
    let mut serial = random::bytes::<SERIAL_BYTES>();
    serial[0] = (serial[0] & 0x7f) | 0x40;
    serial
}

fn root_key_in(dir: &Path) -> io::Result<KeyPair> {
    let path = dir.join(ROOT_KEY_FILE);
    match fs::read_to_string(&path) {
        Ok(pem) => KeyPair::from_pem(&pem).map_err(|e| unreadable(&path, e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let key = KeyPair::generate().map_err(io::Error::other)?;
            fs::create_dir_all(dir)?;
            write_whole(&path, &zeroize::Zeroizing::new(key.serialize_pem()), true)?;
            Ok(key)
        }
        Err(e) => Err(io::Error::new(e.kind(), format!("{}: {e}", path.display()))),
    }
}

/// The stored certificate, which clients trust already, if it is for this key; else stores the new one.
fn root_pem_in(dir: &Path, fresh: &Certificate, key: &KeyPair) -> io::Result<String> {
    let path = dir.join(ROOT_FILE);
    if let Ok(pem) = fs::read_to_string(&path)
        && chain_from_pem(&pem).is_ok_and(|chain| is_for(&chain, key))
    {
        return Ok(pem);
    }
    let pem = fresh.pem();
    write_whole(&path, &pem, false)?;
    Ok(pem)
}

fn is_for(chain: &[CertificateDer<'static>], key: &KeyPair) -> bool {
    chain.first().is_some_and(|der| {
        x509_parser::parse_x509_certificate(der).is_ok_and(|(_, c)| c.public_key().raw == key.public_key_der())
    })
}

fn unreadable(path: &Path, e: impl std::fmt::Display) -> io::Error {
    let text = format!(
        "{} holds no usable key ({e}); delete it to get a new root",
        path.display()
    );
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Writes a file atomically. A private one is readable by its owner only.
fn write_whole(path: &Path, content: &str, private: bool) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = path.with_extension("new");
    let mode = if private { 0o600 } else { 0o644 };
    // One that a crash left behind may have other permissions.
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_stored_root_survives_a_restart_and_its_key_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let now = linkseal_base::clock::Clock::system().now();
        let first = CaHierarchy::open(Some(dir.path()), now).unwrap();
        let again = CaHierarchy::open(Some(dir.path()), now + Duration::from_secs(86_400)).unwrap();
        assert_eq!(first.root_pem(), again.root_pem());
        let mode = fs::metadata(dir.path().join(ROOT_KEY_FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_ne!(CaHierarchy::open(None, now).unwrap().root_pem(), first.root_pem());
    }

    #[test]
    fn a_leaf_is_strict_der() {
        let now = Timestamp::from_secs(1_795_305_600);
        let ca = CaHierarchy::open(None, now).unwrap();
        let leaf = ca.listener([127, 0, 0, 1].into(), now).unwrap().chain.remove(0);
        let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
        let value = |oid: &[u64]| {
            let oid = x509_parser::der_parser::Oid::from(oid).unwrap();
            leaf.get_extension_unique(&oid).unwrap().unwrap().value
        };
        assert_eq!(value(BASIC_CONSTRAINTS), NO_CA, "a default value is not encoded");
        let identifier = value(SUBJECT_KEY_IDENTIFIER);
        assert_eq!((identifier.len(), &identifier[..2]), (22, &[OCTET_STRING, 20][..]));
        assert!(!leaf.is_ca());
    }

    #[test]
    fn the_error_for_a_damaged_root_key_names_its_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(ROOT_KEY_FILE), "junk").unwrap();
        let error = CaHierarchy::open(Some(dir.path()), Timestamp::default()).err().unwrap();
        assert!(error.to_string().contains(ROOT_KEY_FILE), "{error}");
    }
}
