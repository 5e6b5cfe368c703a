//! The command line: one file a command.

/// The environment variable that holds the admin API's bearer token.
pub const ADMIN_TOKEN_VARIABLE: &str = "LINKSEAL_ADMIN_TOKEN";
