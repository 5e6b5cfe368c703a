//! The edge's own names.

use super::name::DomainName;

/// `edge.name` and `edge.aliases`: the targets of the customers' names, themselves no customer's domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeNames {
    pub name: DomainName,
    /// Older targets that customers still point to.
    pub aliases: Vec<DomainName>,
}

impl EdgeNames {
    /// Whether a name, in lower-case ASCII, is one of them.
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|own| own.as_str() == name)
    }

    /// `edge.name` first.
    pub fn iter(&self) -> impl Iterator<Item = &DomainName> {
        std::iter::once(&self.name).chain(&self.aliases)
    }
}

/// Without aliases.
impl From<DomainName> for EdgeNames {
    fn from(name: DomainName) -> Self {
        Self {
            name,
            aliases: Vec::new(),
        }
    }
}
