//! What the fuzz targets (`ingest/fuzz`) call: each parser from bytes alone, as if they were the content of a file.
//!
//! No part of the crate's interface.

use std::io::{Cursor, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::formats::lines::Lines;
use crate::formats::tar::Archive;
use crate::regions::fuzzing as regions;
use crate::source::{ImageBytes, Item};
use crate::{ImageOptions, Source, Vqa, WebDataset, WebDatasetFiles, images};

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

/// What comes of the bytes of a tar.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TarFound {
    /// Members before its end or its first fault.
    pub members: usize,
    /// Samples of WebDataset that have an image whose bytes are there.
    pub images: usize,
    /// Their bytes.
    pub image_bytes: u64,
    /// What WebDataset rejects, images without bytes among it.
    pub rejects: usize,
}

/// An archive, plain or packed: its members one by one, and the samples that WebDataset makes of them, with texts from
/// their metadata or from members of their own. An archive is read by offset, so that it lies in a file meanwhile.
pub fn tar(bytes: &[u8], json_texts: bool) -> Option<TarFound> {
    let mut file = NamedTempFile::new().ok()?;
    file.write_all(bytes).ok()?;
    let mut found = TarFound::default();
    let mut members = Archive::open(file.path()).ok()?.members().ok()?;
    while let Ok(Some(_)) = members.next() {
        found.members += 1;
    }
    let mut files = WebDatasetFiles::new(vec![file.path().to_str()?.to_owned()]);
    if json_texts {
        files.json_texts = vec!["caption".to_owned()];
        files.json_label = Some("label".to_owned());
    }
    let Ok(samples) = WebDataset::open(&files) else { return Some(found) };
    for item in samples.items(None).ok()?.items {
        let image = match item.ok()? {
            Item::Image(image) => match image.bytes {
                ImageBytes::Here(bytes) => Some(bytes),
                ImageBytes::Later(read) => read().ok(),
                ImageBytes::Stored(_) | ImageBytes::Lost(_) => None,
            },
            Item::Reject(_) => None,
        };
        match image {
            Some(bytes) => {
                found.images += 1;
                found.image_bytes += bytes.len() as u64;
            }
            None => found.rejects += 1,
        }
    }
    Some(found)
}
