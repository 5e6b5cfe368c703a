//! Paths of requests as log lines show them.

/// Characters of a path segment that are logged: enough of a token to find it by, too few to use it.
const SEGMENT: usize = 8;

/// A path with each long segment cut: no log line holds a whole token.
pub fn with_cut_segments(path: &str) -> String {
    let mut out = String::new();
    for (i, part) in path.split('/').enumerate() {
        if i > 0 {
            out.push('/');
        }
        out.extend(part.chars().take(SEGMENT));
        if part.chars().nth(SEGMENT).is_some() {
            out.push('…');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_never_holds_a_whole_token() {
        for (path, logged) in [
            ("/c/EgFrAjCAAZLzpLXGfY6foLHC0-T1", "/c/EgFrAjCA…"),
            ("/share/AbZkp7Fz-_üÄpLXGfY6fo/history/", "/share/AbZkp7Fz…/history/"),
            ("/healthz", "/healthz"),
            ("/päthüöäß/x", "/päthüöäß/x"),
        ] {
            assert_eq!(with_cut_segments(path), logged);
        }
    }
}
