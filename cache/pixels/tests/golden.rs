//! Pixels against Pillow's: `tests/py/make_pixels.py` makes the images and what Pillow sees in them.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use retort_pixels::{Decoding, Rgb, decode, decode_with, resize};
use safetensors::SafeTensors;

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

fn read(name: &str) -> Result<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    fs::read(&path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// What Pillow sees, by the name behind `kind/`.
fn expected(kind: &str) -> Result<BTreeMap<String, Rgb>> {
    let bytes = read("expected.safetensors")?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let named = tensors.iter().filter_map(|(name, tensor)| {
        let name = name.strip_prefix(kind)?.strip_prefix('/')?;
        let [height, width] = [tensor.shape()[0] as u32, tensor.shape()[1] as u32];
        Some((name.to_owned(), Rgb { width, height, data: tensor.data().to_vec() }))
    });
    let named: BTreeMap<_, _> = named.collect();
    if named.is_empty() { Err(format!("no {kind}").into()) } else { Ok(named) }
}

/// The file of `FILE/WxH`.
fn file(name: &str) -> &str {
    name.split_once('/').map_or(name, |(file, _)| file)
}

/// The largest difference of a channel. Both have the same size.
fn worst(name: &str, found: &Rgb, expected: &Rgb) -> u8 {
    assert_eq!((found.width, found.height), (expected.width, expected.height), "{name}");
    assert_eq!(found.data.len(), expected.data.len(), "{name}");
    found.data.iter().zip(&expected.data).map(|(found, expected)| found.abs_diff(*expected)).max().unwrap_or(0)
}

#[test]
fn every_kind_of_file_is_decoded_to_the_pixels_of_pillow() -> Result {
    let expected = expected("decode")?;
    assert!(expected.len() > 70, "{}", expected.len());
    let mut wrong = Vec::new();
    for (name, expected) in &expected {
        match decode(&read(name)?).map(|found| worst(name, &found, expected)) {
            Ok(0) => {}
            Ok(levels) => wrong.push(format!("{name}: {levels} levels")),
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
fn what_is_cut_short_is_decoded_as_far_as_pillow_does() -> Result {
    let keep = Decoding { keep_truncated: true, ..Decoding::default() };
    for (name, expected) in expected("truncated")? {
        assert!(decode(&read(&name)?).is_err(), "{name}");
        let found = decode_with(&read(&name)?, &keep)?;
        assert!(found.truncated.is_some(), "{name}");
        assert_eq!(worst(&name, &found.image, &expected), 0, "{name}");
    }
    Ok(())
}

#[test]
fn a_jpeg_is_shrunk_as_by_draft() -> Result {
    for (name, expected) in expected("draft")? {
        // Sides are rounded up.
        let shrink_to = Some(expected.width.min(expected.height) - 1);
        let found = decode_with(&read(file(&name))?, &Decoding { shrink_to, ..Decoding::default() })?;
        assert_eq!(worst(&name, &found.image, &expected), 0, "{name}");
    }
    Ok(())
}

#[test]
fn every_resized_pixel_is_that_of_pillow() -> Result {
    let originals = expected("decode")?;
    for (name, expected) in expected("resize")? {
        let found = resize(&originals[file(&name)], expected.width, expected.height)?;
        assert_eq!(worst(&name, &found, &expected), 0, "{name}");
    }
    Ok(())
}

#[test]
fn a_shrunk_jpeg_is_resized_as_the_part_that_it_shows() -> Result {
    for (name, expected) in expected("reduced")? {
        // Pillow leaves twice as much for its resizing.
        let shrink_to = Some(expected.width.min(expected.height) * 2);
        let found = decode_with(&read(file(&name))?, &Decoding { shrink_to, ..Decoding::default() })?;
        assert!(found.image.width < found.source_width, "{name}");
        let found = found.resized(expected.width, expected.height)?;
        assert_eq!(worst(&name, &found, &expected), 0, "{name}");
    }
    Ok(())
}
