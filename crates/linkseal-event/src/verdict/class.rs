//! The classes of requests.

/// Who made a request, in order of distance from a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Nothing speaks against a person.
    Human,
    /// A mail provider's proxy, on behalf of a person who opened the message.
    Proxy,
    /// The signals contradict each other, or are too weak.
    Unknown,
    /// Fetched in advance, whether or not a person will look at it.
    Prefetch,
    /// A security gateway, a crawler or another program.
    Scanner,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 5] = [Self::Human, Self::Proxy, Self::Unknown, Self::Prefetch, Self::Scanner];

    /// The name in events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Proxy => "proxy",
            Self::Unknown => "unknown",
            Self::Prefetch => "prefetch",
            Self::Scanner => "scanner",
        }
    }

    /// Parses the name in events and metrics.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }
}
