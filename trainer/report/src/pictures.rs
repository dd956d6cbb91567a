//! Images as they stand on a page: inside it, as `data:` URIs.

use arrow::array::{Array, BinaryArray, StringArray, UInt32Array};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use retort_cache::{Columns, Dataset, Result, column};
use retort_schemas::manifest::Shard;
use retort_schemas::tables::images;

use crate::text::escape;

/// Images up to this side are icons: shown larger, with their pixels.
const SMALL: u32 = 96;
/// A larger file is left out, as a page has dozens of images.
const MOST_BYTES: usize = 1 << 20;
/// Encodings that every browser shows.
const SHOWN: [&str; 5] = ["png", "jpeg", "webp", "gif", "bmp"];

/// An image as it stands on the page.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    /// The image itself, as a `data:` URI; none where there is nothing that a browser shows.
    uri: Option<String>,
    /// What stands in its place.
    instead: String,
    /// The longer side in pixels.
    side: u32,
}

impl Picture {
    fn of(format: &str, bytes: &[u8], side: u32) -> Self {
        let instead = match bytes.len() {
            0 => "no image".to_owned(),
            size if size > MOST_BYTES => format!("image of {:.1} MB left out", size as f64 / 1e6),
            _ => format!("browsers show no {format}"),
        };
        let shown = (1..=MOST_BYTES).contains(&bytes.len()) && SHOWN.contains(&format);
        let uri = shown.then(|| format!("data:image/{format};base64,{}", STANDARD.encode(bytes)));
        Self { uri, instead, side }
    }

    /// The image in its frame.
    pub(crate) fn html(&self, alt: &str) -> String {
        let class = if self.side <= SMALL { " class=\"small\"" } else { "" };
        let shown = match &self.uri {
            Some(uri) => {
                format!("<img{class} alt=\"{}\" decoding=\"async\" src=\"{}\">", escape(alt), escape(uri))
            }
            None => format!("<span class=\"soft\">{}</span>", escape(&self.instead)),
        };
        format!("<div class=\"picture\">{shown}</div>")
    }
}

/// The images of some rows of a shard's images, in the order asked for.
///
/// # Errors
/// As [`Dataset::read_rows`].
pub(crate) fn read_pictures(dataset: &Dataset, shard: &Shard, rows: &[usize]) -> Result<Vec<Picture>> {
    let wanted = [images::BYTES, images::FORMAT, images::WIDTH, images::HEIGHT];
    let batch = dataset.read_rows(shard, images::NAME, Columns::Named(&wanted), rows)?;
    let bytes: &BinaryArray = column(&batch, images::BYTES)?;
    let formats: &StringArray = column(&batch, images::FORMAT)?;
    let widths: &UInt32Array = column(&batch, images::WIDTH)?;
    let heights: &UInt32Array = column(&batch, images::HEIGHT)?;
    let picture = |at| Picture::of(formats.value(at), bytes.value(at), widths.value(at).max(heights.value(at)));
    Ok((0..bytes.len()).map(picture).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_does_not_show_is_told_in_its_place() {
        let shown = Picture::of("png", b"x", 400).html("a \"b\" <c>");
        assert_eq!(
            shown,
            "<div class=\"picture\"><img alt=\"a &quot;b&quot; &lt;c&gt;\" decoding=\"async\" \
             src=\"data:image/png;base64,eA==\"></div>"
        );
        assert!(Picture::of("png", b"x", 96).html("").contains("<img class=\"small\""));
        for (format, bytes, told) in [
            ("missing", 0, "no image"),
            ("tiff", 5, "browsers show no tiff"),
            ("jpeg", MOST_BYTES + 1, "image of 1.0 MB left out"),
        ] {
            let html = Picture::of(format, &vec![0; bytes], 1000).html("");
            assert!(html.contains(told) && !html.contains("<img"), "{html}");
        }
    }
}
