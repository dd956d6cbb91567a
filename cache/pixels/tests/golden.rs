//! Pixels against Pillow's: `tests/py/make_pixels.py` makes the images and what Pillow sees in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use retort_pixels::{Decoding, Rgb, decode, decode_with, resize};
use safetensors::SafeTensors;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn read(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What Pillow sees, by the name behind `kind/`.
fn expected(kind: &str) -> BTreeMap<String, Rgb> {
    let bytes = read("expected.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let named = tensors.iter().filter_map(|(name, tensor)| {
        let name = name.strip_prefix(kind)?.strip_prefix('/')?;
        let [height, width] = [tensor.shape()[0] as u32, tensor.shape()[1] as u32];
        Some((name.to_owned(), Rgb { width, height, data: tensor.data().to_vec() }))
    });
    let named: BTreeMap<_, _> = named.collect();
    assert!(!named.is_empty(), "no {kind}");
    named
}

/// The largest difference of a channel. Both have the same size.
fn worst(name: &str, found: &Rgb, expected: &Rgb) -> u8 {
    assert_eq!((found.width, found.height), (expected.width, expected.height), "{name}");
    assert_eq!(found.data.len(), expected.data.len(), "{name}");
    found.data.iter().zip(&expected.data).map(|(found, expected)| found.abs_diff(*expected)).max().unwrap_or(0)
}

#[test]
fn every_kind_of_file_is_decoded_to_the_pixels_of_pillow() {
    let expected = expected("decode");
    assert!(expected.len() > 70, "{}", expected.len());
    let mut wrong = Vec::new();
    for (name, expected) in &expected {
        match decode(&read(name)) {
            Ok(found) => {
                let worst = worst(name, &found, expected);
                if worst > 0 {
                    wrong.push(format!("{name}: {worst} levels"));
                }
            }
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_cut_short_is_decoded_as_far_as_pillow_does() {
    let keep = Decoding { keep_truncated: true, ..Decoding::default() };
    for (name, expected) in expected("truncated") {
        assert!(decode(&read(&name)).is_err(), "{name}");
        let found = decode_with(&read(&name), &keep).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(found.truncated.is_some(), "{name}");
        assert_eq!(worst(&name, &found.image, &expected), 0, "{name}");
    }
}

#[test]
fn a_jpeg_is_shrunk_as_by_draft() {
    for (name, expected) in expected("draft") {
        let (file, _) = name.split_once('/').unwrap();
        let shrink_to = Some(expected.width.min(expected.height) - 1);
        let found = decode_with(&read(file), &Decoding { shrink_to, ..Decoding::default() }).unwrap();
        assert_eq!(worst(&name, &found.image, &expected), 0, "{name}");
    }
}

#[test]
fn every_resized_pixel_is_within_one_level_of_pillow() {
    let originals = expected("decode");
    let (mut values, mut different) = (0, 0);
    for (name, expected) in expected("resize") {
        let (file, _) = name.split_once('/').unwrap();
        let found = resize(&originals[file], expected.width, expected.height).unwrap();
        assert!(worst(&name, &found, &expected) <= 1, "{name}");
        values += found.data.len();
        different += found.data.iter().zip(&expected.data).filter(|(found, expected)| found != expected).count();
    }
    println!("resize: {different} of {values} values are off by one level");
    assert!(different * 50 < values, "{different} of {values}");
}
