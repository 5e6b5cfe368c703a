//! Questions and requests that the API and the pages have in common; each face renders the answers
//! in its own way.

pub(crate) mod dns;
pub(crate) mod domains;
pub(crate) mod import;
pub(crate) mod issuer;
pub(crate) mod share;
pub(crate) mod timeline;
