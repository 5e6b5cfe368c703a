//! Reproducible random numbers. Not for secrets.

use std::time::Duration;

/// `SplitMix64`: eight bytes of state, good enough to spread renewals.
#[derive(Debug)]
pub(super) struct SeededRng(u64);

impl SeededRng {
    /// The same seed gives the same numbers.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number in `0.0..1.0`.
    pub(super) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // 53 bits, the precision of an f64.
        (z >> 11) as f64 / (1u64 << 53) as f64
    }

    /// `true` with the probability `share`.
    pub(super) fn happens(&mut self, share: f64) -> bool {
        share > 0.0 && self.unit() < share
    }

    /// The time to the next of independent events that are `mean` apart on average.
    pub(super) fn next_after(&mut self, mean: Duration) -> Duration {
        let times = -(1.0 - self.unit()).ln();
        Duration::try_from_secs_f64(mean.as_secs_f64() * times).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_reproducible_and_evenly_distributed() {
        let mut dice = SeededRng::new(7);
        let numbers: Vec<_> = (0..10_000).map(|_| dice.unit()).collect();
        let mut again = SeededRng::new(7);
        assert!(numbers.iter().all(|n| *n == again.unit() && (0.0..1.0).contains(n)));
        let mean = numbers.iter().sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        let hits = (0..10_000).filter(|_| dice.happens(0.02)).count();
        assert!((100..300).contains(&hits), "{hits}");
        let day = Duration::from_secs(86_400);
        let waits: Duration = (0..10_000).map(|_| dice.next_after(day)).sum();
        assert!((0.9..1.1).contains(&(waits / 10_000).div_duration_f64(day)));
    }
}
