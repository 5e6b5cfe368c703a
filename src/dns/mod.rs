//! What a name's DNS says, and what its owner has to change.

mod authority;
pub mod lookup;
mod message;
pub mod resolver;
