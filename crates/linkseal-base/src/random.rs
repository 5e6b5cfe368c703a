//! The one source of randomness: the operating system's, through aws-lc.

use std::time::Duration;

use aws_lc_rs::rand;

/// Fills a buffer with random bytes.
///
/// # Panics
/// If the operating system provides no randomness: no key, ticket or id would be safe.
pub fn fill(buffer: &mut [u8]) {
    #[allow(
        clippy::expect_used,
        reason = "without randomness no key, ticket or id is safe: stopping is right"
    )]
    rand::fill(buffer).expect("the operating system provides randomness");
}

/// Random bytes of a fixed length.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    fill(&mut out);
    out
}

/// A number in `0.0..1.0`.
pub fn unit() -> f64 {
    // 53 bits, the precision of an f64.
    (u64::from_be_bytes(bytes()) >> 11) as f64 / (1u64 << 53) as f64
}

/// `span`, made longer or shorter at random by up to `share` of it (0.1 is a tenth), so that waits that
/// began together do not end together.
pub fn jitter(span: Duration, share: f64) -> Duration {
    jittered(span, share, unit())
}

/// [`jitter`] with a number in `0.0..1.0` that the caller drew.
pub fn jittered(span: Duration, share: f64, unit: f64) -> Duration {
    span.mul_f64((1.0 + share * (2.0 * unit - 1.0)).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_share() {
        let base = Duration::from_secs(100);
        for _ in 0..1000 {
            let j = jitter(base, 0.1);
            assert!((90.0..=110.0).contains(&j.as_secs_f64()), "{j:?}");
        }
    }
}
