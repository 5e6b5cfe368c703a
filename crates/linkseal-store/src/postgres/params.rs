//! Parameters with their types: a statement is never prepared, so each of its parameters says what it is.

use std::borrow::Cow;

use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::call::Param;

/// A function for each SQL type, and a trait that says which of Rust's types it takes.
macro_rules! params {
    ($($name:ident: $takes:ident($($rust:ty),+) => $type:ident;)*) => {
        $(
            pub(super) trait $takes: ToSql + Sync {}
            $(impl $takes for $rust {})+
            pub(super) fn $name(value: &impl $takes) -> Param<'_> {
                (value, Type::$type)
            }
        )*
    };
}

params! {
    int: Int(i64, Option<i64>) => INT8;
    ints: Ints(Vec<i64>) => INT8_ARRAY;
    floats: Floats(Vec<f64>) => FLOAT8_ARRAY;
    text: Text(&str, String, Option<&str>, Option<String>) => TEXT;
    texts: Texts(Vec<&str>, Vec<String>, Vec<Option<&str>>) => TEXT_ARRAY;
    bytes: Bytes(&[u8]) => BYTEA;
    uuid: OneUuid(Uuid) => UUID;
    uuids: Uuids(Vec<Uuid>) => UUID_ARRAY;
    shard: Shard(i16) => INT2;
    flag: Flag(bool) => BOOL;
}

/// A text that people or other programs wrote, without the NUL that PostgreSQL's text cannot hold.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}
