//! The signed requests of ACME (RFC 8555 §6.2): flattened JWS, ES256 for accounts, HS256 for external
//! account bindings. They are parsed and verified here; `routes` and the handlers authorise them.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::{hmac, signature};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::problem::Problem;

/// The length of a coordinate of a P-256 point, in bytes.
const COORDINATE: usize = 32;

/// A JWS in the flattened serialization (RFC 7515 §7.2.2).
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Jws {
    protected: String,
    payload: String,
    signature: String,
}

/// The protected header.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    /// `None`: the header carries the key itself.
    pub(super) kid: Option<String>,
    /// `None`: the header names a known key.
    pub(super) jwk: Option<Jwk>,
    /// Absent in an external account binding only.
    pub(super) nonce: Option<String>,
    /// A request without one is refused.
    pub(super) url: Option<String>,
}

/// A P-256 public key. Its fields are in the order that RFC 7638 hashes them in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Jwk {
    crv: String,
    kty: String,
    x: String,
    y: String,
}

/// An account's key, known to be a P-256 key.
#[derive(Clone, Debug)]
pub(super) struct AccountKey {
    /// The uncompressed point (SEC 1 §2.3.3).
    point: Vec<u8>,
    /// The base64url SHA-256 thumbprint (RFC 7638).
    pub(super) thumbprint: String,
}

impl Jws {
    /// Reads a request's body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(body).map_err(|_| Problem::malformed("Parse error reading JWS"))
    }

    /// Reads a JWS within another document.
    pub(super) fn from_value(value: &serde_json::Value) -> Result<Self, Problem> {
        Self::deserialize(value).map_err(|_| Problem::malformed("Parse error reading the inner JWS"))
    }

    /// The protected header, which is not verified yet.
    pub(super) fn header(&self) -> Result<Header, Problem> {
        let json = decode(&self.protected)?;
        serde_json::from_slice(&json).map_err(|_| Problem::malformed("Parse error reading the JWS protected header"))
    }

    /// The payload. Callers check the signature first.
    pub(super) fn payload(&self) -> Result<Vec<u8>, Problem> {
        decode(&self.payload)
    }

    /// Checks an account's signature.
    pub(super) fn verify(&self, header: &Header, key: &AccountKey) -> Result<(), Problem> {
        if header.alg != "ES256" {
            let mut problem = Problem::new(
                StatusCode::BAD_REQUEST,
                "badSignatureAlgorithm",
                format!(
                    "JWS signature header contains unsupported algorithm \"{}\", expected one of [ES256]",
                    header.alg
                ),
            );
            problem.algorithms = Some(vec!["ES256"]);
            return Err(problem);
        }
        let signature = decode(&self.signature)?;
        signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, &key.point)
            .verify(self.signed().as_bytes(), &signature)
            .map_err(|_| Problem::malformed("JWS verification error"))
    }

    /// Checks the MAC of an external account binding; compares in constant time.
    pub(super) fn verify_mac(&self, header: &Header, key: &[u8]) -> Result<(), Problem> {
        if header.alg != "HS256" {
            return Err(Problem::malformed(
                "the external account binding must be signed with HS256",
            ));
        }
        let tag = decode(&self.signature)?;
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), self.signed().as_bytes(), &tag)
            .map_err(|_| Problem::unauthorized("The external account binding's MAC does not verify"))
    }

    fn signed(&self) -> String {
        format!("{}.{}", self.protected, self.payload)
    }
}

impl Jwk {
    /// Checks that this is a P-256 key. Whether its point is on the curve is checked by `verify`.
    pub(super) fn account_key(&self) -> Result<AccountKey, Problem> {
        let bad = || {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "badPublicKey",
                "only P-256 account keys are accepted",
            )
        };
        if self.kty != "EC" || self.crv != "P-256" {
            return Err(bad());
        }
        let (x, y) = (decode(&self.x)?, decode(&self.y)?);
        if x.len() != COORDINATE || y.len() != COORDINATE {
            return Err(bad());
        }
        let json = serde_json::to_vec(self).map_err(|_| bad())?;
        let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, &json));
        Ok(AccountKey {
            point: [&[4], x.as_slice(), y.as_slice()].concat(),
            thumbprint,
        })
    }
}

/// Decodes base64url without padding, as everywhere in ACME.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, Problem> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Problem::malformed("a field is not base64url without padding"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thumbprint_matches_rfc_7638() {
        // The key of RFC 7515 appendix A.3, with members that the hash leaves out (RFC 7638 §3.2).
        let jwk: Jwk = serde_json::from_str(
            r#"{"kty":"EC","use":"sig","alg":"ES256","crv":"P-256",
                "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
        )
        .unwrap();
        assert_eq!(
            jwk.account_key().unwrap().thumbprint,
            "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U"
        );
    }

    #[test]
    fn the_signature_of_rfc_7515_a3_verifies_and_a_changed_one_does_not() {
        // RFC 7515 appendix A.3.
        let jwk: Jwk = serde_json::from_str(
            r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
        )
        .unwrap();
        let mut jws = Jws {
            protected: "eyJhbGciOiJFUzI1NiJ9".into(),
            payload: "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
                .into(),
            signature: "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q".into(),
        };
        let key = jwk.account_key().unwrap();
        let header = jws.header().unwrap();
        jws.verify(&header, &key).unwrap();
        jws.payload.push_str("AAAA");
        assert_eq!(
            jws.verify(&header, &key).unwrap_err().kind,
            "urn:ietf:params:acme:error:malformed"
        );
    }
}
