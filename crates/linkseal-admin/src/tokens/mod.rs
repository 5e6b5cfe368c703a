//! What the admin port signs: the key and its derived signers ([`signing`]), and share links
//! ([`share`]). The pages sign their sessions and forms with the same key.

pub(crate) mod share;
pub(crate) mod signing;
