//! Readable colours: contrast by WCAG 2.2 §1.4.3.

/// Red, green and blue.
type Rgb = [u8; 3];

/// The least contrast of text with its background (level AA).
const READABLE: f64 = 4.5;
/// `--sunken` of the style sheet: the darkest background of text in the light scheme, and the lightest
/// in the dark scheme. Text that is readable on it is readable on all of them.
pub(super) const LIGHT_GROUND: Rgb = [0xee, 0xf1, 0xf4];
pub(super) const DARK_GROUND: Rgb = [0x1f, 0x25, 0x2d];

const WHITE: Rgb = [0xff; 3];
const BLACK: Rgb = [0; 3];
/// The number of shades tried between the colour and black or white.
const SHADES: u16 = 32;

/// White if it is readable on a colour, else black; one of them always is.
pub(super) fn on(colour: Rgb) -> Rgb {
    if contrast(colour, WHITE) >= READABLE {
        WHITE
    } else {
        BLACK
    }
}

/// The colour if it is readable on a background, else the nearest shade of it that is.
pub(super) fn readable(colour: Rgb, ground: Rgb) -> Rgb {
    let end = if contrast(ground, WHITE) > contrast(ground, BLACK) {
        WHITE
    } else {
        BLACK
    };
    let mut shades = (0..=SHADES).map(|i| mix(colour, end, i));
    shades.find(|shade| contrast(*shade, ground) >= READABLE).unwrap_or(end)
}

/// `part` of [`SHADES`] of the way from one to another.
fn mix(from: Rgb, to: Rgb, part: u16) -> Rgb {
    let mut mixed = from;
    for (mixed, to) in mixed.iter_mut().zip(to) {
        let sum = u16::from(*mixed) * (SHADES - part) + u16::from(to) * part;
        *mixed = u8::try_from(sum / SHADES).unwrap_or(u8::MAX);
    }
    mixed
}

fn contrast(a: Rgb, b: Rgb) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

fn luminance([r, g, b]: Rgb) -> f64 {
    let linear = |part: u8| {
        let part = f64::from(part) / 255.0;
        if part <= 0.04045 {
            part / 12.92
        } else {
            ((part + 0.055) / 1.055).powf(2.4)
        }
    };
    0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrast_follows_wcag() {
        assert!((contrast(BLACK, WHITE) - 21.0).abs() < 1e-9);
        assert!((contrast([0x76; 3], WHITE) - 4.54).abs() < 0.01);
        assert!((contrast([0x77; 3], WHITE) - 4.48).abs() < 0.01);
    }

    #[test]
    fn every_colour_gets_a_readable_shade() {
        for r in (0..=255).step_by(15) {
            for g in (0..=255).step_by(15) {
                for b in (0..=255).step_by(15) {
                    let colour = [r, g, b].map(|c: u16| c as u8);
                    assert!(contrast(on(colour), colour) >= READABLE, "{colour:?}");
                    for ground in [LIGHT_GROUND, DARK_GROUND] {
                        assert!(contrast(readable(colour, ground), ground) >= READABLE, "{colour:?}");
                    }
                }
            }
        }
        // A readable colour is kept.
        assert_eq!(readable([0x1d, 0x4e, 0xd8], LIGHT_GROUND), [0x1d, 0x4e, 0xd8]);
    }

    #[test]
    fn the_backgrounds_match_the_style_sheet() {
        let sheet = include_str!("pages.css");
        for ground in [LIGHT_GROUND, DARK_GROUND] {
            assert!(
                sheet.contains(&format!("--sunken: #{}", hex::encode(ground))),
                "{ground:?}"
            );
        }
    }
}
