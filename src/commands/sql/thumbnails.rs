//! Images in a terminal: by the protocols of kitty and of iTerm2, and with half blocks everywhere else.
//!
//! * kitty: <https://sw.kovidgoyal.net/kitty/graphics-protocol/>
//! * iTerm2: <https://iterm2.com/documentation-images.html>
//!
//! A half block is a cell whose upper half has one colour and whose lower half another: two pixels.

use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::Arc;

use anyhow::{Result, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use retort_pixels::{Encoding, Rgb, decode, encode, resize};
use retort_sql::Format;

use crate::cli::Thumbnails;

/// The largest that a thumbnail becomes, in cells of the terminal.
const COLUMNS: u32 = 32;
const ROWS: u32 = 8;
/// Pixels of a cell where whole images are sent.
const CELL: [u32; 2] = [10, 20];
/// Characters of a part of an image in kitty's protocol.
const PART: usize = 4096;

/// How a terminal is told of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Kitty,
    Iterm2,
    /// Half blocks in 16 million colours.
    Blocks,
    /// Half blocks in 216.
    FewColours,
}

/// What is told of the terminal by these names of the environment.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What draws thumbnails in this terminal; none if none are asked for.
///
/// # Errors
/// If stdout is no terminal, or answers are no tables.
pub(super) fn of(asked: Option<Thumbnails>, format: Format) -> Result<Option<Arc<dyn retort_sql::Thumbnails>>> {
    let Some(asked) = asked else { return Ok(None) };
    if format != Format::Table {
        bail!("--thumbnails are drawn under tables, and --format {format} gives none: leave one of both out");
    }
    if !std::io::stdout().is_terminal() {
        bail!("--thumbnails are for terminals, and stdout is none: leave it out, or see `retort report`");
    }
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    Ok(Some(Arc::new(way(asked, &environment))))
}

fn way(asked: Thumbnails, environment: Environment) -> Way {
    let is = |name: &str, values: &[&str]| environment(name).is_some_and(|found| values.contains(&found.as_str()));
    let blocks = if is("COLORTERM", &["truecolor", "24bit"]) { Way::Blocks } else { Way::FewColours };
    // A multiplexer hands neither protocol on.
    let within = environment("TMUX").is_some()
        || environment("TERM").is_some_and(|term| term.starts_with("tmux") || term.starts_with("screen"));
    match asked {
        Thumbnails::Kitty => Way::Kitty,
        Thumbnails::Iterm2 => Way::Iterm2,
        Thumbnails::Blocks => blocks,
        Thumbnails::Auto if within => blocks,
        Thumbnails::Auto if is("TERM_PROGRAM", &["iTerm.app", "WezTerm", "mintty"]) => Way::Iterm2,
        Thumbnails::Auto if is("LC_TERMINAL", &["iTerm2"]) => Way::Iterm2,
        Thumbnails::Auto if environment("KITTY_WINDOW_ID").is_some() || is("TERM_PROGRAM", &["ghostty"]) => Way::Kitty,
        Thumbnails::Auto if is("TERM", &["xterm-kitty", "xterm-ghostty"]) => Way::Kitty,
        Thumbnails::Auto => blocks,
    }
}

impl retort_sql::Thumbnails for Way {
    fn draw(&self, image: &[u8]) -> Option<String> {
        let image = decode(image).ok()?;
        match self {
            Self::Blocks => Some(half_blocks(&fitted(&image, [1, 2])?, foreground_and_background)),
            Self::FewColours => Some(half_blocks(&fitted(&image, [1, 2])?, few_colours)),
            Self::Kitty => Some(kitty(&encode(&fitted(&image, CELL)?, Encoding::Png).ok()?, is_wide(&image))),
            Self::Iterm2 => Some(iterm2(&encode(&fitted(&image, CELL)?, Encoding::Png).ok()?, is_wide(&image))),
        }
    }
}

/// Whether an image is wider than the room for it, whose cells are twice as high as wide.
fn is_wide(image: &Rgb) -> bool {
    u64::from(image.width) * u64::from(ROWS) * 2 > u64::from(image.height) * u64::from(COLUMNS)
}

/// An image in the room for it, where a cell has so many pixels; small ones keep their size.
fn fitted(image: &Rgb, cell: [u32; 2]) -> Option<Rgb> {
    let (most_width, most_height) = (f64::from(COLUMNS * cell[0]), f64::from(ROWS * cell[1]));
    let (width, height) = (f64::from(image.width), f64::from(image.height));
    let scale = (most_width / width).min(most_height / height).min(1.0);
    let side = |length: f64| (length * scale).round().max(1.0) as u32;
    resize(image, side(width), side(height)).ok()
}

/// Lines of upper half blocks; `colour` gives the escape sequence of the upper or lower pixel of a cell.
fn half_blocks(image: &Rgb, colour: fn([u8; 3], bool) -> String) -> String {
    let width = image.width as usize;
    let rows: Vec<&[[u8; 3]]> = image.data.as_chunks().0.chunks(width.max(1)).collect();
    let mut text = String::new();
    for pair in rows.chunks(2) {
        for column in 0..width {
            text.push_str(&colour(pair[0][column], true));
            // Below an odd last row is the terminal's own background.
            if let Some(below) = pair.get(1) {
                text.push_str(&colour(below[column], false));
            }
            text.push('▀');
        }
        text.push_str("\x1b[0m\n");
    }
    text
}

fn foreground_and_background([red, green, blue]: [u8; 3], upper: bool) -> String {
    format!("\x1b[{};2;{red};{green};{blue}m", if upper { 38 } else { 48 })
}

/// Of the 256 colours that older terminals have, those of the cube of 6 x 6 x 6.
fn few_colours(rgb: [u8; 3], upper: bool) -> String {
    // The steps of the cube are 0, 95, 135, 175, 215 and 255: the nearest.
    let step = |level: u8| match level {
        0..48 => 0,
        48..115 => 1,
        _ => (u16::from(level) - 35) / 40,
    };
    let [red, green, blue] = rgb.map(step);
    format!("\x1b[{};5;{}m", if upper { 38 } else { 48 }, 16 + 36 * red + 6 * green + blue)
}

/// A PNG in parts, as kitty takes it; it answers nothing.
fn kitty(png: &[u8], wide: bool) -> String {
    let size = if wide { format!("c={COLUMNS}") } else { format!("r={ROWS}") };
    let encoded = BASE64_STANDARD.encode(png);
    let mut text = String::new();
    let mut rest = encoded.as_str();
    while text.is_empty() || !rest.is_empty() {
        let (part, behind) = rest.split_at(rest.len().min(PART));
        let first = if text.is_empty() { format!("a=T,f=100,q=2,{size},") } else { String::new() };
        // Writing to a string does not fail.
        let _ = write!(text, "\x1b_G{first}m={};{part}\x1b\\", u8::from(!behind.is_empty()));
        rest = behind;
    }
    text.push('\n');
    text
}

fn iterm2(png: &[u8], wide: bool) -> String {
    let size = if wide { format!("width={COLUMNS}") } else { format!("height={ROWS}") };
    let encoded = BASE64_STANDARD.encode(png);
    format!("\x1b]1337;File=inline=1;size={};{size};preserveAspectRatio=1:{encoded}\x07\n", png.len())
}

#[cfg(test)]
mod tests {
    use retort_sql::Thumbnails as _;

    use super::*;

    /// Red and green above blue and white.
    fn four_pixels() -> Vec<u8> {
        let data = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]].concat();
        encode(&Rgb { width: 2, height: 2, data }, Encoding::Png).unwrap_or_default()
    }

    #[test]
    fn half_blocks_have_a_colour_above_and_one_below() {
        let drawn = Way::Blocks.draw(&four_pixels()).unwrap_or_default();
        let expected = "\x1b[38;2;255;0;0m\x1b[48;2;0;0;255m▀\x1b[38;2;0;255;0m\x1b[48;2;255;255;255m▀\x1b[0m\n";
        assert_eq!(drawn, expected);
        let few = Way::FewColours.draw(&four_pixels()).unwrap_or_default();
        assert_eq!(few, "\x1b[38;5;196m\x1b[48;5;21m▀\x1b[38;5;46m\x1b[48;5;231m▀\x1b[0m\n");
        let odd = Rgb { width: 1, height: 3, data: vec![100, 150, 47, 0, 0, 0, 48, 114, 115] };
        let drawn = half_blocks(&odd, few_colours);
        assert_eq!(drawn, "\x1b[38;5;64m\x1b[48;5;16m▀\x1b[0m\n\x1b[38;5;60m▀\x1b[0m\n");
        assert_eq!(Way::Blocks.draw(b"no image"), None);
    }

    #[test]
    fn large_images_fit_into_their_cells() {
        for (width, height, expected) in
            [(640, 480, (21, 16)), (480, 640, (12, 16)), (3000, 20, (32, 1)), (5, 7, (5, 7))]
        {
            let data = vec![0; (width * height * 3) as usize];
            let image = Rgb { width, height, data };
            assert_eq!(fitted(&image, [1, 2]).map(|image| (image.width, image.height)), Some(expected));
            assert_eq!(is_wide(&image), width == 3000);
        }
    }

    #[test]
    fn protocols_carry_the_image_whole() {
        let png = four_pixels();
        let drawn = Way::Iterm2.draw(&png).unwrap_or_default();
        let body = drawn.strip_prefix("\x1b]1337;File=inline=1;size=").and_then(|rest| rest.split_once(':'));
        let (head, encoded) = body.unwrap_or_default();
        assert!(head.ends_with(";height=8;preserveAspectRatio=1"), "{head}");
        let sent = BASE64_STANDARD.decode(encoded.trim_end_matches("\x07\n")).unwrap_or_default();
        assert_eq!(decode(&sent).map(|image| image.data).ok(), decode(&png).map(|image| image.data).ok());

        let long: Vec<u8> = (0..7000_u32).map(|byte| byte as u8).collect();
        let drawn = kitty(&long, true);
        let parts: Vec<&str> = drawn.trim_end().split_terminator("\x1b\\").collect();
        let heads: Vec<&str> = parts.iter().filter_map(|part| part.split(';').next()).collect();
        assert_eq!(heads, ["\x1b_Ga=T,f=100,q=2,c=32,m=1", "\x1b_Gm=1", "\x1b_Gm=0"]);
        let sent: String = parts.iter().filter_map(|part| part.split(';').nth(1)).collect();
        assert_eq!(BASE64_STANDARD.decode(sent).ok(), Some(long));
    }

    #[test]
    fn the_terminal_says_how_it_shows_images() {
        for (set, expected) in [
            (&[("TERM", "xterm-kitty")][..], Way::Kitty),
            (&[("KITTY_WINDOW_ID", "1"), ("TERM", "xterm-256color")], Way::Kitty),
            (&[("TERM_PROGRAM", "WezTerm")], Way::Iterm2),
            (&[("LC_TERMINAL", "iTerm2"), ("TERM", "screen-256color"), ("COLORTERM", "truecolor")], Way::Blocks),
            (&[("TERM", "xterm-kitty"), ("TMUX", "/tmp/x")], Way::FewColours),
            (&[("COLORTERM", "24bit")], Way::Blocks),
            (&[], Way::FewColours),
        ] {
            let found = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(way(Thumbnails::Auto, &found), expected, "{set:?}");
            assert_eq!(way(Thumbnails::Kitty, &found), Way::Kitty);
        }
    }
}
