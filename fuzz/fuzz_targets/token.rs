//! Tokens, destinations and pasted links from arbitrary bytes: nothing panics, and only minted tokens verify, in
//! exactly the spelling in which they were minted.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use linkseal_link::{Destination, LinkKey, LinkKeys, Message, Minter, Token, explain};

const TENANT: &str = "links.customer.example";
const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn key(id: u8) -> LinkKey {
    LinkKey::from_hex(id, SECRET).expect("64 digits")
}

/// Every id has a key, so that no token is refused for its id.
static KEYS: LazyLock<LinkKeys> = LazyLock::new(|| LinkKeys::new((0..=255).map(key)).expect("each id once"));

fn verifies(text: &str) -> bool {
    Token::decode(text).is_ok_and(|token| token.verify(&KEYS, [TENANT]).is_ok())
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    // The fuzzer cannot guess a 128-bit tag.
    assert!(!verifies(&text));
    assert!(!explain(&text, None, &KEYS, &[TENANT], ["other"]).valid);
    let Ok(destination) = Destination::new(&text) else { return };
    assert!(destination.location().bytes().all(|b| b.is_ascii_graphic()));

    let (first, last) = (data[0], data[data.len() - 1]);
    let message = Message {
        id: Default::default(),
        issued_at: u32::from(first),
    };
    let minted = Minter::new(&key(first), TENANT).click(&message, u16::from(last), &destination);
    assert!(verifies(&minted));
    // Replace one character: another bit, or another spelling of the same bytes.
    let at = usize::from(u16::from_be_bytes([first, last])) % minted.len();
    let mut changed = minted.into_bytes();
    for other in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=%. \n" {
        if changed[at] != *other {
            let right = std::mem::replace(&mut changed[at], *other);
            assert!(!verifies(&String::from_utf8_lossy(&changed)));
            changed[at] = right;
        }
    }
});
