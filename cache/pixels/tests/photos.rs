//! Real photos against Pillow: the checksums of their pixels, which `tests/py/make_pixels.py --photos` wrote down.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use retort_pixels::{Decoding, decode, decode_with, resize, shortest_side};

/// The folder of real data beside the checkout, if there is one.
fn data() -> Option<PathBuf> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let data = checkout.parent()?.join("shared/data");
    data.join("tiny_coco").is_dir().then_some(data)
}

/// Name, width, height and CRC-32 of each photo that is there.
fn photos() -> Vec<(String, Vec<u8>, [u32; 3])> {
    let Some(data) = data() else {
        println!("skipped: there is no ../shared/data");
        return Vec::new();
    };
    let list = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/photos.json")).unwrap();
    let list: BTreeMap<String, [u32; 3]> = serde_json::from_str(&list).unwrap();
    assert_eq!(list.len(), 300);
    let read = |(name, numbers): (String, [u32; 3])| Some((name.clone(), fs::read(data.join(name)).ok()?, numbers));
    list.into_iter().filter_map(read).collect()
}

#[test]
fn every_photo_has_the_pixels_that_pillow_sees() {
    for (name, bytes, expected) in photos() {
        let found = decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!([found.width, found.height, crc32fast::hash(&found.data)], expected, "{name}");
    }
}

#[test]
fn fast_photos_are_near_the_exact_ones() {
    const SIDE: u32 = 64;
    let (mut total, mut values) = (0_u64, 0_u64);
    for (name, bytes, [width, height, _]) in photos() {
        let (to_width, to_height) = shortest_side(width, height, SIDE);
        let exact = resize(&decode(&bytes).unwrap(), to_width, to_height).unwrap();
        let shrunk = decode_with(&bytes, &Decoding { shrink_to: Some(SIDE), ..Decoding::default() }).unwrap();
        assert!(shrunk.image.width.min(shrunk.image.height) >= SIDE, "{name}");
        let fast = resize(&shrunk.image, to_width, to_height).unwrap();
        total += exact.data.iter().zip(&fast.data).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>();
        values += exact.data.len() as u64;
    }
    assert!(total <= values * 3, "{total} levels over {values} values");
}
