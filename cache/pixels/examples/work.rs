//! The work that making images smaller costs by itself, on all cores: decode, resize, encode, nothing read or written.
//!
//! `work FOLDER EDGE QUALITY exact|fast` prints the seconds that all JPEG files of a folder take.

#![allow(clippy::print_stdout, reason = "it is what a benchmark does")]

use std::error::Error;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use retort_pixels::{Decoding, Encoding, decode_with, encode, shortest_side};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, edge, quality, mode] = arguments.as_slice() else {
        return Err("usage: work FOLDER EDGE QUALITY exact|fast".into());
    };
    let (edge, quality): (u32, u8) = (edge.parse()?, quality.parse()?);
    let decoding = Decoding { shrink_to: (mode == "fast").then_some(edge), ..Decoding::default() };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "jpg") {
            files.push(fs::read(path)?);
        }
    }
    let next = AtomicUsize::new(0);
    let work = || -> Result<(), retort_pixels::Error> {
        while let Some(bytes) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = decode_with(bytes, &decoding)?;
            let (width, height) = shortest_side(found.source_width, found.source_height, edge);
            encode(&found.resized(width, height)?, Encoding::Jpeg(quality))?;
            found.reuse();
        }
        Ok(())
    };
    let began = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..std::thread::available_parallelism()?.get()).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            thread.join().map_err(|_| "a thread died")??;
        }
        Ok::<(), Box<dyn Error>>(())
    })?;
    println!("{}", began.elapsed().as_secs_f64());
    Ok(())
}
