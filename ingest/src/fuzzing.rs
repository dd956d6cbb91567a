//! What the fuzz targets (`ingest/fuzz`) call: each parser from bytes alone, as if they were the content of a file.
//!
//! No part of the crate's interface.

use std::io::Cursor;
use std::path::Path;

use crate::lines::Lines;
use crate::regions::fuzzing as regions;
use crate::source::{ImageBytes, Item};
use crate::{ImageOptions, Source, Vqa, images};

/// VQA's files: how many images and rejects come of them, unless they are refused.
pub fn vqa(questions: &[u8], annotations: Option<&[u8]>) -> Option<(usize, usize)> {
    let vqa = Vqa::from_bytes(questions, annotations).ok()?;
    let vocabulary = vqa.vocabulary("train", None).ok()?;
    let (mut found, mut rejects) = (0, 0);
    for item in vqa.items(vocabulary.as_ref()).ok()?.items {
        match item.ok()? {
            Item::Image(_) => found += 1,
            Item::Reject(_) => rejects += 1,
        }
    }
    Some((found, rejects))
}

/// The lines of a file with their numbers.
pub fn lines(bytes: &[u8]) -> Option<Vec<(u32, Vec<u8>)>> {
    let lines = Lines::from_bytes(Path::new("lines"), bytes, |_| {}).ok()?;
    (0..lines.len()).map(|line| Some((lines.number(line), lines.read(line).ok()?))).collect()
}

/// The regions of an `.npz` file, for an image of 40 x 20 pixels: boxes and elements of features, where they can be
/// used.
pub fn npz(bytes: &[u8]) -> Option<(usize, usize)> {
    regions::npz(Cursor::new(bytes))
}

/// The numbers of an `.npy` file, and the product of its shape.
pub fn npy(bytes: &[u8]) -> Option<(usize, usize)> {
    regions::npy(bytes)
}

/// The same as [`npz`] for every line of a tab-separated file.
pub fn table(bytes: &[u8]) -> Option<Vec<Option<(usize, usize)>>> {
    regions::table(bytes)
}

/// Width and height of an image, if it is one.
pub fn image(bytes: &[u8]) -> Option<(u32, u32)> {
    let image = images::load("image".to_owned(), ImageBytes::Here(bytes.to_vec()), &ImageOptions::default()).ok()?;
    Some((image.width, image.height))
}
