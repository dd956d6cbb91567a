//! Images of an answer, drawn under its table.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;

/// Rows whose images are drawn: more than that is a page, for which there is `retort report`.
const MOST_ROWS: usize = 20;

/// Draws the bytes of an encoded image as text that a terminal shows as an image.
///
/// This crate has none, as it decodes no images; [`crate::Options::thumbnails`] takes one.
pub trait Thumbnails: Debug + Send + Sync {
    /// The image, with its line breaks; none if the bytes are no image.
    fn draw(&self, image: &[u8]) -> Option<String>;
}

/// The drawings of an answer so far.
#[derive(Debug)]
pub(crate) struct Drawings {
    draws: Arc<dyn Thumbnails>,
    rows: usize,
    text: String,
    left_out: usize,
}

impl Drawings {
    pub(crate) fn new(draws: Arc<dyn Thumbnails>) -> Self {
        Self { draws, rows: 0, text: String::new(), left_out: 0 }
    }

    /// Draws the images of the next rows: what is in columns of bytes and is an image.
    pub(crate) fn add(&mut self, batch: &RecordBatch) {
        let images = batch.columns().iter().filter_map(|column| column.as_binary_opt::<i32>());
        let images: Vec<_> = images.collect();
        if images.is_empty() {
            return;
        }
        for row in 0..batch.num_rows() {
            self.rows += 1;
            for image in images.iter().filter(|image| image.is_valid(row)) {
                if self.rows > MOST_ROWS {
                    self.left_out += 1;
                } else if let Some(drawn) = self.draws.draw(image.value(row)) {
                    self.text.push_str(&format!("{}\n{drawn}\n", label(batch, row, self.rows)));
                }
            }
        }
    }

    /// All of them.
    pub(crate) fn finish(mut self) -> String {
        if self.left_out > 0 {
            self.text.push_str(&format!("thumbnails of the first {MOST_ROWS} rows; {} more images\n", self.left_out));
        }
        self.text
    }
}

/// The number of a row, from 1, and its first word.
fn label(batch: &RecordBatch, row: usize, number: usize) -> String {
    let words = batch.columns().iter().filter(|column| *column.data_type() == DataType::Utf8);
    let first = words.filter_map(|column| column.as_string_opt::<i32>()).find(|words| words.is_valid(row));
    first.map_or_else(|| format!("row {number}"), |words| format!("row {number}: {}", words.value(row)))
}
