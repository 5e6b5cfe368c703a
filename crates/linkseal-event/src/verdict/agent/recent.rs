//! What the User-Agents that a thread saw last say, so that the same agent is searched once.

use std::cell::RefCell;

use super::Found;

/// Agents that a thread remembers: about 64 KiB, and 160 KiB at most.
const AGENTS: usize = 256;
/// Longest agent that is remembered, in bytes: real ones are shorter, and a client must not be able to
/// fill the memory.
const LONGEST: usize = 512;

/// An agent and what it says. The rules are the same for the life of the process.
struct Known {
    agent: Vec<u8>,
    found: Found,
}

thread_local! {
    static KNOWN: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
}

/// What an agent says, from the memory or by `search`. Of two agents that share a place the last is
/// remembered.
pub(super) fn found(agent: &[u8], search: impl FnOnce() -> Found) -> Found {
    if agent.len() > LONGEST {
        return search();
    }
    KNOWN.with_borrow_mut(|known| {
        if known.is_empty() {
            known.resize_with(AGENTS, || Known {
                agent: Vec::new(),
                found: Found::default(),
            });
        }
        let place = crc32c::crc32c(agent) as usize % AGENTS;
        let Some(known) = known.get_mut(place) else {
            return search();
        };
        if known.agent != agent {
            known.found = search();
            known.agent.clear();
            known.agent.extend_from_slice(agent);
        }
        known.found
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn an_agent_is_searched_once_until_another_takes_its_place() {
        let place = |agent: &str| crc32c::crc32c(agent.as_bytes()) as usize % AGENTS;
        let other = (0..)
            .map(|n| format!("agent/{n}"))
            .find(|other| place(other) == place("one"))
            .unwrap();
        let searches = Cell::new(0);
        let is_browser = |agent: &str| {
            let search = || {
                searches.set(searches.get() + 1);
                Found {
                    is_browser: agent == "one",
                    ..Found::default()
                }
            };
            found(agent.as_bytes(), search).is_browser
        };
        assert!(is_browser("one") && is_browser("one"));
        assert_eq!(searches.get(), 1);
        assert!(!is_browser(&other) && !is_browser(&other));
        assert!(is_browser("one"));
        assert_eq!(searches.get(), 3);
        let long = "x".repeat(LONGEST + 1);
        assert!(!is_browser(&long) && !is_browser(&long));
        assert_eq!(searches.get(), 5);
    }
}
