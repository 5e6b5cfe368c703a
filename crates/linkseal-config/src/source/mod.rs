//! From text to types: the file and the environment as a tree whose nodes know their origin, and a serde
//! deserializer over it whose errors name the key and what is allowed.

mod env;
mod problem;
mod read;
mod shown;
mod tree;

pub use self::env::{ADMIN_TOKEN_VARIABLE, admin_token};
pub use self::problem::{ConfigError, Place, Problem};

pub(crate) use self::env::{Variable, lay_over, of_process};
pub(crate) use self::problem::{KeyPath, Segment};
pub(crate) use self::read::What;
pub(crate) use self::tree::{Node, Source, Value};
