//! Whether a person or a machine made a request: a class, the reasons, and the version of the rules.
//!
//! The data plane serves every request the same; verdicts only annotate events. [`Classifier`] judges
//! one request by its method and headers (`agent` looks at the User-Agent) and finds its network in
//! the operator's list (`networks`); `burst` compares it with other requests of the last seconds.
//! Each finding is a `signal` with a class and a weight; `rules` is the data that finds them.
//! [`crate::EventRecorder`] puts all of it together.

mod agent;
pub(crate) mod burst;
mod class;
mod classifier;
pub(crate) mod networks;
mod rules;
pub(crate) mod signal;
#[cfg(test)]
mod tests;

pub use self::class::Class;
pub use self::classifier::{Classifier, Judged};

pub(crate) use self::burst::network;
use self::signal::{Signal, Signals};

/// The version of the built-in rules.
pub const RULES: &str = rules::VERSION;

/// The class of a request, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub class: Class,
    signals: Signals,
    /// The version of the rules.
    pub rules: &'static str,
}

impl Verdict {
    /// The verdict of a request without any signal: a person.
    pub fn unremarkable() -> Self {
        Self::from_signals(Signals::default())
    }

    /// Takes the class furthest from a person that one of the signals stands for, and `scanner` when
    /// their weights add up to certainty. A deliberate act of a person outweighs them all.
    pub(crate) fn from_signals(signals: Signals) -> Self {
        let class = signals.iter().map(Signal::class).max().unwrap_or(Class::Human);
        let weight: u32 = signals.iter().map(Signal::weight).sum();
        Self {
            class: if signals.has(Signal::OneClick) {
                Class::Human
            } else if weight >= rules::CERTAIN {
                Class::Scanner
            } else {
                class
            },
            signals,
            rules: RULES,
        }
    }

    /// The reasons, in the order of the rules.
    pub fn reasons(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.signals.iter().map(Signal::reason)
    }

    pub(crate) fn signals(&self) -> Signals {
        self.signals
    }
}
