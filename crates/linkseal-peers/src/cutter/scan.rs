//! Finds COMMIT in what a PostgreSQL client sends (PostgreSQL 15 documentation, section 55.7, "Message
//! Formats"). Anything else than a PostgreSQL client is recognized by its first bytes and left alone.

/// The protocol versions and requests with which a client begins: 3.0, cancel, TLS, GSSAPI.
const VERSION_3: u32 = 3 << 16;
const REQUESTS: std::ops::RangeInclusive<u32> = 80_877_102..=80_877_104;
/// The longest first message that the server accepts.
const MAX_STARTUP_BYTES: usize = 10_000;

/// Follows one client's bytes.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    state: State,
    /// The begin of an incomplete message.
    pending: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// Messages without a type.
    #[default]
    Startup,
    Session,
    /// Not a PostgreSQL client.
    Other,
}

impl Scanner {
    /// Whether the last byte of a simple query with the statement COMMIT is among these.
    pub(super) fn completes_commit(&mut self, bytes: &[u8]) -> bool {
        self.pending.extend_from_slice(bytes);
        let mut found = false;
        while let Some(message) = self.next_message() {
            match self.state {
                State::Startup => {
                    let code = number(message.get(4..8));
                    self.state = match code {
                        Some(VERSION_3) => State::Session,
                        Some(code) if REQUESTS.contains(&code) => State::Startup,
                        _ => State::Other,
                    };
                }
                State::Session => found |= message.first() == Some(&b'Q') && commits(&message[5..]),
                State::Other => {}
            }
        }
        found
    }

    fn next_message(&mut self) -> Option<Vec<u8>> {
        let type_bytes = match self.state {
            State::Startup => 0,
            State::Session => 1,
            State::Other => {
                self.pending.clear();
                return None;
            }
        };
        // The length counts itself, but not the type.
        let length = usize::try_from(number(self.pending.get(type_bytes..type_bytes + 4))?).ok()?;
        let valid = 4..=if type_bytes == 0 { MAX_STARTUP_BYTES } else { usize::MAX };
        if !valid.contains(&length) {
            self.state = State::Other;
            return None;
        }
        let end = type_bytes + length;
        (self.pending.len() >= end).then(|| self.pending.drain(..end).collect())
    }
}

fn number(bytes: Option<&[u8]>) -> Option<u32> {
    Some(u32::from_be_bytes(bytes?.try_into().ok()?))
}

/// Whether one of the statements of a query, which a zero byte ends, is COMMIT.
fn commits(query: &[u8]) -> bool {
    let query = String::from_utf8_lossy(query.strip_suffix(&[0]).unwrap_or(query));
    query
        .split(';')
        .any(|statement| statement.trim().eq_ignore_ascii_case("commit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startup(code: u32) -> Vec<u8> {
        [8_u32.to_be_bytes(), code.to_be_bytes()].concat()
    }

    fn query(kind: u8, text: &str) -> Vec<u8> {
        let length = u32::try_from(text.len() + 5).expect("short").to_be_bytes();
        [&[kind], &length[..], text.as_bytes(), &[0]].concat()
    }

    #[test]
    fn a_commit_is_found_at_its_last_byte_however_it_is_cut() {
        let mut stream = [startup(80_877_103), startup(VERSION_3), query(b'Q', "select 'commit'")].concat();
        stream.extend(query(b'P', "commit"));
        assert!(!Scanner::default().completes_commit(&stream));
        stream.extend(query(b'Q', "insert into t values (1); Commit ;"));
        assert!(Scanner::default().completes_commit(&stream));
        let mut scanner = Scanner::default();
        let found = stream.iter().position(|byte| scanner.completes_commit(&[*byte]));
        assert_eq!(found, Some(stream.len() - 1));
    }

    #[test]
    fn other_protocols_are_left_alone() {
        for start in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01", &[0; 64]] {
            let mut scanner = Scanner::default();
            assert!(!scanner.completes_commit(start));
            assert!(!scanner.completes_commit(&[startup(VERSION_3), query(b'Q', "commit")].concat()));
            assert!(scanner.pending.is_empty());
        }
    }
}
