//! The records of one kind among a name's TXT records.

use crate::lookup::{Kind, LookupError};
use crate::near_miss::{self, Family, NearMiss};
use crate::query::Queries;

#[derive(Default)]
pub(crate) struct Published {
    /// The valid records.
    pub(crate) texts: Vec<String>,
    /// A text that is meant as one, if there is no valid record.
    pub(crate) near: Option<NearMiss>,
    /// TTL of the TXT records, in seconds.
    pub(crate) ttl: Option<u32>,
}

/// Looks up the texts at `name` for which `is_record` holds.
pub(crate) async fn published(
    queries: &Queries<'_>,
    name: &str,
    family: Family,
    is_record: fn(&str) -> bool,
) -> Result<Published, LookupError> {
    let answer = queries.get(name, Kind::Txt).await?;
    let texts: Vec<String> = answer.texts().filter(|t| is_record(t)).map(str::to_owned).collect();
    let near = texts.is_empty().then(|| near_miss::among(answer.texts(), family));
    Ok(Published {
        texts,
        near: near.flatten(),
        ttl: answer.ttl(),
    })
}
