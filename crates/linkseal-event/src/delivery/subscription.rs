//! Which events a sink subscribes to.

use std::sync::Arc;

use crate::event::head;
use crate::event_type::EventType;

/// The event types of a sink. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    /// `None` for all.
    types: Option<Arc<[EventType]>>,
}

impl Subscription {
    /// `None` for all types.
    pub(super) fn new(types: Option<&[EventType]>) -> Self {
        Self {
            types: types.map(Arc::from),
        }
    }

    /// Whether the sink gets an event. The type is read from its fixed place in what this version
    /// writes; the rest is not parsed.
    pub(super) fn takes(&self, json: &[u8]) -> bool {
        let Some(types) = &self.types else { return true };
        head(json).is_some_and(|head| types.iter().any(|t| t.as_str() == head.kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_read_from_its_place_without_parsing_the_rest() {
        let clicks = Subscription::new(Some(&[EventType::Click, EventType::Redirect]));
        let of_type = |kind: &str| {
            let id = uuid::Uuid::nil();
            // No JSON behind the head: a parser would refuse it.
            format!(
                r#"{{"id":"{id}","seq":17,"boot":"{id}","type":"{kind}","time":"2026-11-22T09:30:00Z","type":"open",\"#
            )
        };
        assert!(serde_json::from_str::<serde_json::Value>(&of_type("click")).is_err());
        for (kind, takes) in [
            ("click", true),
            ("redirect", true),
            ("open", false),
            ("clicks", false),
            ("of.a.later.version", false),
        ] {
            assert_eq!(clicks.takes(of_type(kind).as_bytes()), takes, "{kind}");
            assert!(Subscription::new(None).takes(of_type(kind).as_bytes()));
        }
        // Not as this version writes it.
        assert!(clicks.takes(br#"{"time":"2026-11-22T09:30:00Z","type":"click"}"#));
        assert!(!clicks.takes(b"{}"));
    }
}
