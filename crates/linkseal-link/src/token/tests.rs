use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::destination::DestinationError;
use crate::key::LinkKey;
use crate::mint::{Message, Minter};

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    kind: String,
    tenant: String,
    key_id: u8,
    secret_hex: String,
    issued_at: u32,
    message_id_hex: String,
    link: Option<u16>,
    destination: Option<String>,
    token: String,
}

fn vectors() -> Vec<Vector> {
    let all: Vectors = serde_json::from_str(include_str!("../../tests/link_vectors.json")).unwrap();
    assert!(!all.vectors.is_empty());
    all.vectors
}

#[test]
fn every_vector_verifies_and_is_minted_alike() {
    for v in vectors() {
        let key = LinkKey::from_hex(v.key_id, &v.secret_hex).unwrap();
        let minter = Minter::new(&key, &v.tenant);
        let message = Message {
            id: v.message_id_hex.parse().unwrap(),
            issued_at: v.issued_at,
        };
        let keys = LinkKeys::new([key]).unwrap();
        let token = Token::decode(&v.token).unwrap();
        let verified = token.verify(&keys, ["somebody-else", v.tenant.as_str()]).unwrap();
        assert_eq!(verified.issued_at, v.issued_at);
        assert_eq!(
            (verified.key_id, verified.message_id, verified.tenant),
            (v.key_id, message.id, v.tenant.as_str())
        );
        let minted = match verified.body {
            TokenBody::Open => {
                assert_eq!(v.kind, "open");
                minter.open(&message)
            }
            TokenBody::Click { link, destination } => {
                assert_eq!((v.kind.as_str(), Some(link)), ("click", v.link));
                assert_eq!(Some(destination.as_str()), v.destination.as_deref());
                minter.click(&message, link, &destination)
            }
            TokenBody::Unsubscribe { list } => {
                assert_eq!((v.kind.as_str(), Some(list)), ("unsubscribe", v.link));
                minter.unsubscribe(&message, list)
            }
        };
        assert_eq!(minted, v.token);
        assert_eq!(token.verify(&keys, ["other"]), Err(TokenError::Forged));
    }
}

#[test]
fn no_vector_verifies_with_one_bit_changed() {
    for v in vectors() {
        let keys = LinkKeys::new([LinkKey::from_hex(v.key_id, &v.secret_hex).unwrap()]).unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(&v.token).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let verified =
                Token::decode(&URL_SAFE_NO_PAD.encode(bad)).map(|t| t.verify(&keys, [v.tenant.as_str()]).is_ok());
            assert!(!verified.unwrap_or(false), "bit {bit} of {}", v.token);
        }
    }
}

#[test]
fn the_same_bytes_have_one_spelling() {
    for v in vectors() {
        let mut respelled = vec![
            format!("{}=", v.token),
            format!("{}==", v.token),
            format!(" {}", v.token),
            format!("{}\n", v.token),
        ];
        respelled.push(v.token.replace('-', "+"));
        respelled.push(v.token.replace('_', "/"));
        respelled.push(format!("{}%3D", v.token));
        // The last character's unused low bits.
        if !v.token.len().is_multiple_of(4) {
            let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let (rest, last) = v.token.split_at(v.token.len() - 1);
            respelled.extend(
                alphabet
                    .chars()
                    .filter(|c| !last.contains(*c))
                    .map(|c| format!("{rest}{c}")),
            );
        }
        let keys = LinkKeys::new([LinkKey::from_hex(v.key_id, &v.secret_hex).unwrap()]).unwrap();
        for text in respelled.iter().filter(|t| **t != v.token) {
            let verified = Token::decode(text).map(|t| t.verify(&keys, [v.tenant.as_str()]).is_ok());
            assert!(!verified.unwrap_or(false), "{text}");
        }
    }
}

#[test]
fn a_signed_bad_destination_is_refused() {
    let key = LinkKey::from_hex(1, &"07".repeat(32)).unwrap();
    let minter = Minter::new(&key, "t");
    let mut signed = vec![Kind::Click.byte(), 1];
    signed.extend_from_slice(&[0; 20]);
    signed.extend_from_slice(&[0, 0]);
    signed.extend_from_slice(b"javascript:alert(1)");
    let token = Token::decode(&minter.seal(signed)).unwrap();
    let keys = LinkKeys::new([key]).unwrap();
    assert_eq!(
        token.verify(&keys, ["t"]),
        Err(TokenError::Destination(DestinationError::Scheme))
    );
}

proptest! {
    #[test]
    fn no_other_character_in_any_place_verifies(path in "[a-z/]{0,40}", place: prop::sample::Index, other in "[A-Za-z0-9_+/=%. \\-]") {
        let key = LinkKey::from_hex(9, &"cd".repeat(32)).unwrap();
        let url = format!("https://example.com/{path}");
        let message = Message { id: Uuid::from_u128(7), issued_at: 7 };
        let text = Minter::new(&key, "t").click(&message, 1, &Destination::new(&url).unwrap());
        let keys = LinkKeys::new([key]).unwrap();
        let mut changed = text.clone();
        let at = place.index(text.len());
        changed.replace_range(at..=at, &other);
        let verified = Token::decode(&changed).map(|t| t.verify(&keys, ["t"]).is_ok()).unwrap_or(false);
        prop_assert_eq!(verified, changed == text);
    }

    #[test]
    fn any_text_is_refused_without_a_panic(text in "\\PC{0,120}") {
        let keys = LinkKeys::new([LinkKey::from_hex(0x41, &"07".repeat(32)).unwrap()]).unwrap();
        let verified = Token::decode(&text).map(|t| t.verify(&keys, ["t"]).is_ok());
        prop_assert!(!verified.unwrap_or(false));
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(kind in 0x10u8..0x15, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let keys = LinkKeys::new((0..=255).map(|id| LinkKey::from_hex(id, &"07".repeat(32)).unwrap())).unwrap();
        let mut all = vec![kind];
        all.extend(bytes);
        let verified = Token::decode(&URL_SAFE_NO_PAD.encode(all)).map(|t| t.verify(&keys, ["t"]).is_ok());
        prop_assert!(!verified.unwrap_or(false));
    }

    #[test]
    fn what_is_minted_verifies_and_no_changed_bit_does(link: u16, path in "[a-zA-Z0-9/?&=%#äß日]{0,300}", issued_at: u32, id: u128, bit: prop::sample::Index) {
        let key = LinkKey::from_hex(200, &"ab".repeat(32)).unwrap();
        let url = format!("https://example.com/{path}");
        let message = Message { id: Uuid::from_u128(id), issued_at };
        let destination = Destination::new(&url).unwrap();
        let text = Minter::new(&key, "tenant").click(&message, link, &destination);
        prop_assert!(text.len() <= MAX_TOKEN_TEXT);
        let keys = LinkKeys::new([key]).unwrap();
        let token = Token::decode(&text).unwrap();
        let verified = token.verify(&keys, ["tenant"]).unwrap();
        prop_assert_eq!(verified.body, TokenBody::Click { link, destination });
        prop_assert_eq!((verified.message_id, verified.issued_at), (message.id, issued_at));
        let mut bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let verified = Token::decode(&URL_SAFE_NO_PAD.encode(bytes)).map(|t| t.verify(&keys, ["tenant"]).is_ok());
        prop_assert!(!verified.unwrap_or(false));
    }
}
