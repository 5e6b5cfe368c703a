//! Helpers for tests, here and in linkseal's other crates.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what tests use may panic")]

/// One of the many spellings of an IPv4 address that browsers accept.
pub fn spelling(bits: u32, parts: usize, radix: [u8; 4], zeros: usize, dot: bool, wide: bool) -> String {
    let octets = bits.to_be_bytes();
    let mut values: Vec<u32> = octets[..parts - 1].iter().map(|o| u32::from(*o)).collect();
    values.push(octets[parts - 1..].iter().fold(0, |all, o| all << 8 | u32::from(*o)));
    let zeros = "0".repeat(zeros);
    let written = values.iter().zip(radix).map(|(value, radix)| match radix {
        0 => value.to_string(),
        1 => format!("0{zeros}{value:o}"),
        _ => format!("0x{zeros}{value:X}"),
    });
    let mut text = written.collect::<Vec<_>>().join(".");
    if dot {
        text.push('.');
    }
    if wide {
        text = text
            .chars()
            .map(|c| {
                if c.is_ascii_digit() {
                    char::from_u32(c as u32 + 0xfee0).unwrap()
                } else {
                    c
                }
            })
            .collect();
    }
    text
}
