//! The first frame of a GIF.

use ::gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};

use crate::decode::Stored;
use crate::{Decoding, Error, Format, Orientation, Result, Rgb};

/// The first frame on a canvas of its transparent colour, else of the first colour: as Pillow shows it.
pub(crate) fn decode(bytes: &[u8], decoding: &Decoding) -> Result<Stored> {
    let corrupt = |problem: String| Error::Corrupt { format: Format::Gif, problem };
    let failed = |error: DecodingError| corrupt(error.to_string());
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.set_memory_limit(MemoryLimit::Unlimited); // The canvas is checked below, before anything of its size exists.
    let mut decoder = options.read_info(bytes).map_err(failed)?;
    let (screen_width, screen_height) = (u32::from(decoder.width()), u32::from(decoder.height()));
    let frame = decoder.next_frame_info().map_err(failed)?.ok_or_else(|| corrupt("it has no frame".to_owned()))?;
    let (left, top) = (usize::from(frame.left), usize::from(frame.top));
    let (columns, rows) = (usize::from(frame.width), usize::from(frame.height));
    let ground = usize::from(frame.transparent.unwrap_or(0));
    // A frame that reaches beyond the screen makes the screen larger.
    let width = screen_width.max((left + columns) as u32);
    let height = screen_height.max((top + rows) as u32);
    decoding.limits.check(width, height, bytes.len())?;
    if width == 0 || height == 0 {
        return Err(corrupt(format!("it is {width}x{height}")));
    }

    let palette: Vec<u8> = decoder.palette().map_err(failed)?.to_vec();
    let mut indices = vec![0; columns * rows];
    let truncated = match decoder.read_into_buffer(&mut indices) {
        Ok(()) => None,
        Err(error) if decoding.keep_truncated => Some(error.to_string()),
        Err(error) => return Err(failed(error)),
    };
    let colour = |index: usize| palette.get(index * 3..index * 3 + 3).unwrap_or(&[0; 3]);
    let mut data = colour(ground).repeat(width as usize * height as usize);
    for (row, indices) in indices.chunks_exact(columns.max(1)).enumerate() {
        let at = ((top + row) * width as usize + left) * 3;
        for (pixel, index) in data[at..].chunks_exact_mut(3).zip(indices) {
            pixel.copy_from_slice(colour(usize::from(*index)));
        }
    }
    let image = Rgb { width, height, data };
    Ok(Stored::full(image, Orientation::Upright, truncated))
}
