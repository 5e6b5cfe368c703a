//! Signed requests (RFC 8555 §6.2, RFC 7515): ES256 under the account key, and HS256 for the
//! external account binding (RFC 8555 §7.3.4).

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::settings::Eab;

/// Who signs: the account by its URL or, before it is registered, the key itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Identity<'a> {
    /// The account's URL.
    Kid(&'a str),
    /// The public key is sent along.
    Key,
}

/// Signing failed in the crypto library.
#[derive(Debug, thiserror::Error)]
#[error("the account key cannot sign")]
pub(super) struct SignError;

/// A request body signed with the account key. `payload` is empty for a POST-as-GET (RFC 8555 §6.3).
pub(super) fn sign(
    key: &EcdsaKeyPair,
    identity: Identity<'_>,
    nonce: &str,
    url: &str,
    payload: &[u8],
) -> Result<Vec<u8>, SignError> {
    let header = match identity {
        Identity::Kid(kid) => json!({"alg": "ES256", "kid": kid, "nonce": nonce, "url": url}),
        Identity::Key => json!({"alg": "ES256", "jwk": jwk(key), "nonce": nonce, "url": url}),
    };
    let body = assemble(&header, payload, |input| {
        let signature = key.sign(&SystemRandom::new(), input).map_err(|_| SignError)?;
        Ok(signature.as_ref().to_vec())
    })?;
    Ok(body.to_string().into_bytes())
}

/// The `externalAccountBinding` of a newAccount request sent to `url`.
pub(super) fn external_account_binding(eab: &Eab, key: &EcdsaKeyPair, url: &str) -> Result<Value, SignError> {
    let header = json!({"alg": "HS256", "kid": eab.key_id, "url": url});
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &eab.hmac_key);
    let payload = jwk(key).to_string();
    assemble(&header, payload.as_bytes(), |input| {
        Ok(hmac::sign(&secret, input).as_ref().to_vec())
    })
}

/// The public key as a JWK (RFC 7517), its members in the order of RFC 7638 §3.
pub(super) fn jwk(key: &EcdsaKeyPair) -> Value {
    // An uncompressed point: 0x04, then x and y of 32 bytes each.
    let point = key.public_key().as_ref();
    let coordinate = |from: usize| URL_SAFE_NO_PAD.encode(point.get(from..from + 32).unwrap_or_default());
    json!({"crv": "P-256", "kty": "EC", "x": coordinate(1), "y": coordinate(33)})
}

/// The flattened JSON serialization (RFC 7515 §7.2.2).
fn assemble(
    header: &Value,
    payload: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, SignError>,
) -> Result<Value, SignError> {
    let protected = URL_SAFE_NO_PAD.encode(header.to_string());
    let payload = URL_SAFE_NO_PAD.encode(payload);
    let signature = sign(format!("{protected}.{payload}").as_bytes())?;
    Ok(json!({"protected": protected, "payload": payload, "signature": URL_SAFE_NO_PAD.encode(signature)}))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, UnparsedPublicKey};
    use zeroize::Zeroizing;

    use super::*;

    /// The key of RFC 7515 A.3.
    fn key() -> EcdsaKeyPair {
        let d = URL_SAFE_NO_PAD
            .decode("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI")
            .unwrap();
        let mut point = vec![4];
        point.extend(
            URL_SAFE_NO_PAD
                .decode("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU")
                .unwrap(),
        );
        point.extend(
            URL_SAFE_NO_PAD
                .decode("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")
                .unwrap(),
        );
        EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, &d, &point).unwrap()
    }

    fn part(body: &Value, name: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(body[name].as_str().unwrap()).unwrap()
    }

    #[test]
    fn an_es256_signature_verifies_and_its_header_conforms_to_rfc_8555() {
        let key = key();
        assert_eq!(jwk(&key)["x"], "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
        for (identity, member) in [
            (Identity::Kid("https://ca.example/acct/1"), "kid"),
            (Identity::Key, "jwk"),
        ] {
            let body: Value =
                serde_json::from_slice(&sign(&key, identity, "n0", "https://ca.example/x", b"").unwrap()).unwrap();
            assert_eq!(body["payload"], "");
            let header: Value = serde_json::from_slice(&part(&body, "protected")).unwrap();
            assert_eq!(
                (header["alg"].as_str(), header["nonce"].as_str()),
                (Some("ES256"), Some("n0"))
            );
            assert_eq!(header["url"], "https://ca.example/x");
            assert!(header.get(member).is_some(), "{header}");
            assert_eq!(header.as_object().unwrap().len(), 4);
            let input = format!(
                "{}.{}",
                body["protected"].as_str().unwrap(),
                body["payload"].as_str().unwrap()
            );
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref())
                .verify(input.as_bytes(), &part(&body, "signature"))
                .unwrap();
        }
    }

    #[test]
    fn hs256_matches_rfc_7515_a_1() {
        // The header of the example holds a line break, so it is compared by its encoded form.
        let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let secret = URL_SAFE_NO_PAD.decode(secret).unwrap();
        let input = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        assert_eq!(
            URL_SAFE_NO_PAD.encode(hmac::sign(&key, input.as_bytes())),
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        );
    }

    #[test]
    fn a_binding_holds_the_account_key_and_no_nonce() {
        let key = key();
        let eab = Eab {
            key_id: "kid-1".into(),
            hmac_key: Zeroizing::new(vec![9; 32]),
        };
        let body = external_account_binding(&eab, &key, "https://ca.example/new-acct").unwrap();
        let header: Value = serde_json::from_slice(&part(&body, "protected")).unwrap();
        assert_eq!(
            header,
            json!({"alg": "HS256", "kid": "kid-1", "url": "https://ca.example/new-acct"})
        );
        let payload: Value = serde_json::from_slice(&part(&body, "payload")).unwrap();
        assert_eq!(payload, jwk(&key));
        let input = format!(
            "{}.{}",
            body["protected"].as_str().unwrap(),
            body["payload"].as_str().unwrap()
        );
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &[9; 32]);
        hmac::verify(&secret, input.as_bytes(), &part(&body, "signature")).unwrap();
    }
}
