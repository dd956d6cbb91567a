//! Real photos against Pillow: the checksums of their pixels, which `tests/py/make_pixels.py --photos` wrote down.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use retort_pixels::{Decoding, decode, decode_with, resize, shortest_side};

/// The folder of real data beside the checkout, if there is one.
fn data() -> Option<PathBuf> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let data = checkout.parent()?.join("shared/data");
    data.join("tiny_coco").is_dir().then_some(data)
}

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

struct Photo {
    name: String,
    bytes: Vec<u8>,
    /// As Pillow sees it.
    size: [u32; 2],
    /// Of its pixels.
    crc: u32,
}

/// Each photo that is there.
fn photos() -> Result<Vec<Photo>> {
    let Some(data) = data() else {
        return Ok(Vec::new());
    };
    let list = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/photos.json"))?;
    let list: BTreeMap<String, [u32; 3]> = serde_json::from_str(&list)?;
    assert_eq!(list.len(), 300);
    let read = |(name, [width, height, crc]): (String, [u32; 3])| {
        Some(Photo { bytes: fs::read(data.join(&name)).ok()?, name, size: [width, height], crc })
    };
    Ok(list.into_iter().filter_map(read).collect())
}

#[test]
fn every_photo_has_the_pixels_that_pillow_sees() -> Result {
    let photos = photos()?;
    if photos.is_empty() {
        println!("skipped: there is no ../shared/data");
    }
    for Photo { name, bytes, size, crc } in photos {
        let found = decode(&bytes).map_err(|error| format!("{name}: {error}"))?;
        assert_eq!([found.width, found.height], size, "{name}");
        assert_eq!(crc32fast::hash(&found.data), crc, "{name}");
    }
    Ok(())
}

#[test]
fn fast_photos_are_near_the_exact_ones() -> Result {
    const SIDE: u32 = 64;
    let (mut total, mut values) = (0_u64, 0_u64);
    let photos = photos()?;
    if photos.is_empty() {
        println!("skipped: there is no ../shared/data");
        return Ok(());
    }
    for Photo { name, bytes, size: [width, height], .. } in photos {
        let (to_width, to_height) = shortest_side(width, height, SIDE);
        let exact = resize(&decode(&bytes)?, to_width, to_height)?;
        let shrunk = decode_with(&bytes, &Decoding { shrink_to: Some(SIDE), ..Decoding::default() })?;
        assert!(shrunk.image.width.min(shrunk.image.height) >= SIDE, "{name}");
        let fast = shrunk.resized(to_width, to_height)?;
        let worst = exact.data.iter().zip(&fast.data).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(40), "{name}: {worst:?} levels");
        total += exact.data.iter().zip(&fast.data).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>();
        values += exact.data.len() as u64;
    }
    assert!(total <= values * 3 / 2, "{total} levels over {values} values");
    Ok(())
}
