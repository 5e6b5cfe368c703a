//! The requests of a webhook: ids, bodies and signatures (Standard Webhooks 1.0).
//!
//! Id and body are derived from the events alone, so that a retried request is identical, also after a
//! restart.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use bytes::Bytes;
use http::HeaderValue;
use linkseal_base::clock::Timestamp;
use uuid::Uuid;

use crate::event::head;
use crate::journal::lines::Lines;
use crate::settings::WebhookSecret;
use crate::sink::event_id;

/// Most bytes of events in one body, unless a single event is larger. The body stays below 1 MiB, the
/// default limit of reverse proxies.
const BYTES_MAX: usize = 768 << 10;

/// The content of one request.
pub(super) struct Message {
    pub(super) id: String,
    pub(super) body: Bytes,
    /// The boot and sequence number of its last event.
    pub(super) last: (Uuid, u64),
}

/// Splits a batch into messages of at most `most` events; deterministic, so that a retry is identical.
pub(super) fn messages(sink: &str, batch: Lines, most: usize) -> impl Iterator<Item = Message> {
    let mut rest = batch;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take(most.max(1)).take_while(|event| {
            bytes += event.json.len() + 1;
            bytes <= BYTES_MAX
        });
        let count = fits.count().max(1);
        let now;
        (now, rest) = rest.split_at(count);
        Message::new(sink, &now)
    })
}

impl Message {
    /// `None` without events.
    fn new(sink: &str, events: &Lines) -> Option<Self> {
        let (first, last) = (events.first()?, events.last()?);
        let time = head(last.json).map_or_else(|| Timestamp::default().to_string().into(), |h| h.time);
        let mut body = Vec::with_capacity(events.text(0..events.len()).len() + 128);
        body.extend_from_slice(br#"{"type":"events.batch","timestamp":""#);
        body.extend_from_slice(time.as_bytes());
        body.extend_from_slice(br#"","data":["#);
        for (i, event) in events.iter().enumerate() {
            if i > 0 {
                body.push(b',');
            }
            body.extend_from_slice(event.json);
        }
        body.extend_from_slice(b"]}");
        Some(Self {
            id: format!(
                "{sink}_{}_{}",
                event_id(events.boot(), first.seq, first.json),
                event_id(events.boot(), last.seq, last.json)
            ),
            body: body.into(),
            last: (events.boot(), last.seq),
        })
    }

    /// The headers of a request sent at `now`.
    pub(super) fn headers(&self, secrets: &[WebhookSecret], now: Timestamp) -> [(&'static str, HeaderValue); 3] {
        let time = now.as_secs().to_string();
        let signatures: Vec<_> = secrets.iter().map(|s| self.sign(s, &time)).collect();
        // Ids consist of letters, digits, `-` and `_`, the others of digits and base64.
        let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        [
            ("webhook-id", value(self.id.clone())),
            ("webhook-timestamp", value(time)),
            ("webhook-signature", value(signatures.join(" "))),
        ]
    }

    fn sign(&self, secret: &WebhookSecret, time: &str) -> String {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.bytes()));
        for part in [self.id.as_bytes(), b".", time.as_bytes(), b".", &self.body] {
            context.update(part);
        }
        format!("v1,{}", BASE64.encode(context.sign()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Record;

    fn record(seq: u64, padding: usize) -> Record {
        let json = format!(
            r#"{{"id":"{}","seq":{seq},"boot":"{}","type":"open","time":"2026-11-22T09:30:0{}Z","node":"{}"}}"#,
            Uuid::from_u128(seq.into()),
            Uuid::max(),
            seq % 10,
            "x".repeat(padding),
        );
        Record {
            boot: Uuid::max(),
            seq,
            json: json.into(),
        }
    }

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // The example of the Standard Webhooks libraries' own tests.
        let message = Message {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".into(),
            body: r#"{"test": 2432232314}"#.into(),
            last: (Uuid::nil(), 0),
        };
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let [_, time, signature] = message.headers(&[secret.clone(), secret], Timestamp::from_secs(1_614_265_330));
        assert_eq!(time.1, "1614265330");
        let one = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signature.1, format!("{one} {one}"));
    }

    #[test]
    fn batches_are_split_by_count_and_size_deterministically() {
        let small: Vec<_> = (1..=5).map(|seq| record(seq, 0)).collect();
        let split = |batch: &[Record], most| messages("s", Lines::of(batch), most).collect::<Vec<_>>();
        let parts = split(&small, 2);
        assert_eq!(parts.iter().map(|m| m.last.1).collect::<Vec<_>>(), [2, 4, 5]);
        let again = split(&small, 2);
        assert!(parts.iter().zip(&again).all(|(a, b)| a.id == b.id && a.body == b.body));
        assert_eq!(
            parts.first().unwrap().id,
            format!("s_{}_{}", Uuid::from_u128(1), Uuid::from_u128(2))
        );
        let value: serde_json::Value = serde_json::from_slice(&parts.first().unwrap().body).unwrap();
        assert_eq!(value["type"], "events.batch");
        assert_eq!(value["timestamp"], "2026-11-22T09:30:02Z");
        assert_eq!(value["data"][1]["seq"], 2);

        let large: Vec<_> = [1, BYTES_MAX - 300, BYTES_MAX + 1, 1]
            .iter()
            .zip(1..)
            .map(|(size, seq)| record(seq, *size))
            .collect();
        let ends: Vec<_> = split(&large, 500).iter().map(|m| m.last.1).collect();
        assert_eq!(ends, [1, 2, 3, 4]);
        assert!(split(&[], 5).is_empty());
    }
}
