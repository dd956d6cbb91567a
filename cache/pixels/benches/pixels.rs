//! Images a second: decoding, decoding and resizing, encoding, and all of it as ingest does it, at three sizes.
//!
//! The photos are made here, the same at every run: slopes, edges and grain, so that a JPEG of them has about the bytes
//! a pixel of a real one.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use retort_pixels::{Decoding, Encoding, Rgb, decode, decode_with, encode, resize, shortest_side};

/// Width and height: an image of a training set, one of a phone, one of a camera.
const SIZES: [(u32, u32); 3] = [(298, 224), (1632, 1224), (4000, 3000)];
const QUALITY: u8 = 90;

fn main() {
    divan::main();
}

/// Soft blobs and stripes with a little grain.
fn photo((width, height): (u32, u32)) -> Rgb {
    let mut grain = 0x2545_f491_u32;
    let mut data = Vec::with_capacity(width as usize * height as usize * 3);
    for y in 0..height {
        for x in 0..width {
            let (u, v) = (x as f32 * 1000.0 / width as f32, y as f32 * 1000.0 / width as f32);
            let base = 110.0 + 60.0 * (u / 90.0).sin() * (v / 70.0).cos() + 30.0 * ((u + 2.0 * v) / 23.0).sin();
            let edge = if (u / 130.0) as u32 % 2 == (v / 110.0) as u32 % 2 { 25.0 } else { 0.0 };
            for channel in 0..3 {
                grain ^= grain << 13;
                grain ^= grain >> 17;
                grain ^= grain << 5;
                let noise = (grain >> 29) as f32 - 3.5;
                data.push((base + edge * (channel as f32 - 1.0) + noise) as u8);
            }
        }
    }
    Rgb { width, height, data }
}

fn jpeg(size: (u32, u32)) -> Vec<u8> {
    encode(&photo(size), Encoding::Jpeg(QUALITY)).unwrap_or_default()
}

fn images<'a, 'b>(bencher: Bencher<'a, 'b>) -> Bencher<'a, 'b> {
    bencher.counter(ItemsCount::new(1_usize))
}

#[divan::bench(args = SIZES.map(Size), threads = [1, 2])]
fn decode_jpeg(bencher: Bencher, size: Size) {
    let bytes = jpeg(size.0);
    images(bencher).counter(BytesCount::new(size.bytes())).bench(|| decode(&bytes));
}

#[divan::bench(args = SIZES.map(Size))]
fn resize_to_224(bencher: Bencher, size: Size) {
    let image = photo(size.0);
    let (width, height) = shortest_side(image.width, image.height, 223);
    images(bencher).bench(|| resize(&image, width, height));
}

#[divan::bench(args = SIZES.map(Size))]
fn decode_png(bencher: Bencher, size: Size) {
    let bytes = encode(&photo(size.0), Encoding::Png).unwrap_or_default();
    images(bencher).bench(|| decode(&bytes));
}

#[divan::bench(args = SIZES.map(Size))]
fn decode_webp(bencher: Bencher, size: Size) {
    let bytes = encode(&photo(size.0), Encoding::Webp(QUALITY)).unwrap_or_default();
    images(bencher).bench(|| decode(&bytes));
}

#[divan::bench(args = SIZES.map(Size), threads = [1, 2])]
fn exact_to_224(bencher: Bencher, size: Size) {
    let bytes = jpeg(size.0);
    images(bencher).bench(|| smaller(&bytes, 224, false));
}

#[divan::bench(args = SIZES.map(Size), threads = [1, 2])]
fn fast_to_224(bencher: Bencher, size: Size) {
    let bytes = jpeg(size.0);
    images(bencher).bench(|| smaller(&bytes, 224, true));
}

/// As ingest with `--image-size 256 --image-format jpeg:95`.
#[divan::bench(args = SIZES.map(Size), threads = [1, 2])]
fn exact_to_256_and_jpeg(bencher: Bencher, size: Size) {
    let bytes = jpeg(size.0);
    images(bencher).bench(|| smaller(&bytes, 256, false).and_then(|image| encode(&image, Encoding::Jpeg(95))));
}

/// With `--image-mode fast`, too.
#[divan::bench(args = SIZES.map(Size), threads = [1, 2])]
fn fast_to_256_and_jpeg(bencher: Bencher, size: Size) {
    let bytes = jpeg(size.0);
    images(bencher).bench(|| smaller(&bytes, 256, true).and_then(|image| encode(&image, Encoding::Jpeg(95))));
}

#[divan::bench(args = SIZES.map(Size))]
fn encode_jpeg(bencher: Bencher, size: Size) {
    let image = photo(size.0);
    images(bencher).bench(|| encode(&image, Encoding::Jpeg(95)));
}

#[divan::bench(args = [Size(SIZES[0]), Size(SIZES[1])])]
fn encode_webp(bencher: Bencher, size: Size) {
    let image = photo(size.0);
    images(bencher).bench(|| encode(&image, Encoding::Webp(95)));
}

#[divan::bench(args = [Size(SIZES[0]), Size(SIZES[1])])]
fn encode_png(bencher: Bencher, size: Size) {
    let image = photo(size.0);
    images(bencher).bench(|| encode(&image, Encoding::Png));
}

#[divan::bench(args = SIZES.map(Size))]
fn difference_hash(bencher: Bencher, size: Size) {
    let image = photo(size.0);
    images(bencher).bench(|| retort_pixels::difference_hash(&image));
}

fn smaller(bytes: &[u8], side: u32, fast: bool) -> retort_pixels::Result<Rgb> {
    let decoded = decode_with(bytes, &Decoding { shrink_to: fast.then_some(side), ..Decoding::default() })?;
    let (width, height) = (decoded.source_width, decoded.source_height);
    let (width, height) = shortest_side(width, height, side.min(width).min(height));
    decoded.resized(width, height)
}

/// A size that prints like one.
#[derive(Clone, Copy)]
struct Size((u32, u32));

impl Size {
    fn bytes(self) -> u64 {
        u64::from(self.0.0) * u64::from(self.0.1) * 3
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.0.0, self.0.1)
    }
}
