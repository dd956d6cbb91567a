//! JPEG, byte for byte as libjpeg-turbo decodes it.

use std::borrow::Cow;

use libjpeg_turbo_rs::{DecodeLimits, DecodeWarning, Decoder, JpegError, PixelFormat, ScalingFactor};

use crate::decode::Stored;
use crate::{Decoding, Error, Format, Limits, Orientation, Result, Rgb, memory, rgb};

/// Scans of a progressive image; real ones have about ten. Each costs a walk over all coefficients.
const MOST_SCANS: usize = 500;

const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

pub(crate) fn decode(bytes: &[u8], decoding: &Decoding) -> Result<Stored> {
    let complete = is_complete(bytes);
    if !complete && !decoding.keep_truncated {
        return Err(Error::Truncated { problem: "the JPEG has no end marker".to_owned() });
    }
    let problem = if complete {
        match decode_whole(bytes, decoding, false) {
            Err(error @ Error::Corrupt { .. }) if decoding.keep_truncated => error.to_string(),
            other => return other,
        }
    } else {
        "the JPEG has no end marker".to_owned()
    };
    let stored = decode_what_is_there(bytes, complete, decoding)?;
    Ok(Stored { truncated: Some(problem), ..stored })
}

/// Decodes a whole file. A lenient decoder goes over damage in the scan data as libjpeg does.
fn decode_whole(bytes: &[u8], decoding: &Decoding, lenient: bool) -> Result<Stored> {
    let mut decoder = Decoder::new_with_limits(bytes, limits(&decoding.limits)).map_err(refusal)?;
    let (width, height) = (side(decoder.header().width())?, side(decoder.header().height())?);
    decoding.limits.check(width, height, bytes.len())?;
    let in_ink = decoder.header().components.len() == 4;
    decoder.set_output_format(if in_ink { PixelFormat::Cmyk } else { PixelFormat::Rgb });
    // libjpeg's default, which shows in progressive images that lack their last scans.
    decoder.set_block_smoothing(true);
    decoder.set_lenient(lenient);
    let scale = decoding.shrink_to.and_then(|side| scale(width.min(height), side));
    if let Some(scale) = scale {
        decoder.set_scale(scale);
    }
    let fraction = scale.map_or(1.0, |scale| f64::from(scale.num()) / f64::from(scale.denom()));
    let orientation = Orientation::of_metadata(decoder.exif_data(), decoder.xmp_data());
    let mut data = memory::take(decoder.output_buffer_size().map_err(refusal)?);
    let decoded = decoder.decode_image_into(&mut data).map_err(refusal)?;
    data.truncate(decoded.bytes_written);
    let nothing = |warning: &DecodeWarning| matches!(warning, DecodeWarning::TruncatedData { decoded_mcus: 0, .. });
    if lenient && !decoder.has_multiple_scans() && decoded.warnings.iter().any(nothing) {
        return Err(Error::Truncated { problem: "the JPEG ends before its first pixel".to_owned() });
    }
    let image = Rgb {
        width: side(decoded.width)?,
        height: side(decoded.height)?,
        data: if in_ink { rgb::from_cmyk(&inverted(data)) } else { data },
    };
    let visible = [f64::from(width) * fraction, f64::from(height) * fraction];
    Ok(Stored { image, width, height, visible, orientation, truncated: None })
}

fn side(pixels: usize) -> Result<u32> {
    u32::try_from(pixels).map_err(|_| Error::TooLarge { problem: format!("a side has {pixels} pixels") })
}

/// Ink is stored inverted, as Adobe does; Pillow takes that for granted.
fn inverted(mut samples: Vec<u8>) -> Vec<u8> {
    samples.iter_mut().for_each(|sample| *sample = 255 - *sample);
    samples
}

/// Decodes a file that is cut short or damaged as far as it goes. A cut within the headers of a later scan is moved in
/// front of them.
fn decode_what_is_there(bytes: &[u8], complete: bool, decoding: &Decoding) -> Result<Stored> {
    /// Segments that are given up before the file is.
    const ATTEMPTS: usize = 4;
    let mut end = bytes.len();
    let mut with_end = if complete { Cow::Borrowed(bytes) } else { Cow::Owned([bytes, &END_OF_IMAGE].concat()) };
    for _ in 0..ATTEMPTS {
        match decode_whole(&with_end, decoding, true) {
            Err(Error::Corrupt { .. }) => {}
            other => return other,
        }
        match last_segment(&bytes[..end]) {
            Some(at) => end = at,
            None => break,
        }
        with_end = Cow::Owned([&bytes[..end], &END_OF_IMAGE].concat());
    }
    decode_whole(&with_end, decoding, true)
}

/// Where the last Huffman table or scan header begins, if it is not the first scan's.
fn last_segment(bytes: &[u8]) -> Option<usize> {
    let first_scan = bytes.windows(2).position(|pair| pair == [0xff, 0xda])?;
    let at = bytes.windows(2).rposition(|pair| matches!(pair, [0xff, 0xc4 | 0xda]))?;
    (at > first_scan).then_some(at)
}

/// The smallest scale, below 1, at which the shorter side stays at least as long as wanted.
fn scale(shorter: u32, wanted: u32) -> Option<ScalingFactor> {
    let denominator = [8, 4, 2].into_iter().find(|denominator| shorter / denominator >= wanted.max(1))?;
    ScalingFactor::try_new(1, denominator).ok()
}

fn limits(limits: &Limits) -> DecodeLimits {
    let side = limits.longest_side as usize;
    DecodeLimits {
        // The size is checked with our own words; this stands behind it.
        max_width: side.max(65_500),
        max_height: side.max(65_500),
        max_scans: MOST_SCANS,
        max_memory: Some(limits.memory_bytes),
        ..DecodeLimits::default()
    }
}

fn refusal(error: JpegError) -> Error {
    match error {
        JpegError::LimitExceeded { .. } | JpegError::AllocationFailed { .. } => {
            Error::TooLarge { problem: error.to_string() }
        }
        JpegError::UnexpectedEof => {
            Error::Corrupt { format: Format::Jpeg, problem: "its data end before its last pixel".to_owned() }
        }
        error => Error::Corrupt { format: Format::Jpeg, problem: error.to_string() },
    }
}

/// Whether the end marker follows the first scan. Before the scan it may belong to a thumbnail; inside scan data
/// the encoder never lets these two bytes follow each other.
fn is_complete(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    let mut at = 2;
    while let Some(&[first, marker]) = bytes.get(at..at + 2) {
        match (first, marker) {
            (0xff, START_OF_SCAN) => return bytes[at..].windows(2).rev().any(|pair| *pair == END_OF_IMAGE),
            // Fill bytes, stray bytes that decoders skip, and markers that stand alone.
            (..0xff, _) | (0xff, 0xff) => at += 1,
            (0xff, 0x01 | 0xd0..=0xd8) => at += 2,
            (0xff, _) => match bytes.get(at + 2..at + 4) {
                Some(&[high, low]) => at += 2 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use libjpeg_turbo_rs::{Encoder, Subsampling};

    use super::*;
    use crate::{Encoding, decode, decode_with, encode};

    fn noise(width: u32, height: u32) -> Rgb {
        let hash = |i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8;
        Rgb { width, height, data: (0..width * height * 3).map(hash).collect() }
    }

    fn jpeg(width: u32, height: u32) -> Vec<u8> {
        encode(&noise(width, height), Encoding::Jpeg(90)).unwrap()
    }

    const KEEP: Decoding = Decoding { limits: Limits::DEFAULT, keep_truncated: true, shrink_to: None };

    #[test]
    fn a_missing_end_is_refused_and_what_follows_the_end_ignored() {
        let whole = jpeg(64, 64);
        let error = decode(&whole[..whole.len() - 2]).unwrap_err();
        assert!(matches!(error, Error::Truncated { .. }), "{error}");
        assert!(decode(&[whole, b"a camera's appendix".to_vec()].concat()).is_ok());
    }

    #[test]
    fn the_end_of_a_thumbnail_is_not_the_end_of_the_image() {
        let whole = jpeg(16, 16);
        // An APP1 segment whose payload is a thumbnail's scan and end.
        let thumbnail = [0xff, 0xe1, 0x00, 0x08, 0xff, 0xda, 0x00, 0x00, 0xff, 0xd9];
        let with_thumbnail = [&whole[..2], &thumbnail[..], &whole[2..]].concat();
        assert!(decode(&with_thumbnail).is_ok());
        assert!(!is_complete(&with_thumbnail[..with_thumbnail.len() - 2]));
    }

    #[test]
    fn what_is_there_is_kept_and_the_rest_is_grey() -> Result<()> {
        let whole = jpeg(64, 64);
        let pixels = decode(&whole)?;
        let found = decode_with(&whole[..whole.len() / 2], &KEEP)?;
        assert!(found.truncated.is_some());
        assert_eq!(found.image.data[..64 * 8 * 3], pixels.data[..64 * 8 * 3]);
        assert_eq!(found.image.data[64 * 63 * 3..], [128; 64 * 3]);
        assert_eq!(decode_with(&whole, &KEEP)?.truncated, None);
        Ok(())
    }

    #[test]
    fn a_cut_anywhere_in_a_progressive_image_keeps_something_of_it() -> Result<()> {
        let image = noise(40, 24);
        let whole = Encoder::new(&image.data, 40, 24, PixelFormat::Rgb)
            .subsampling(Subsampling::S420)
            .progressive(true)
            .encode()
            .unwrap();
        let first_scan = whole.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
        for end in first_scan + 40..whole.len() - 2 {
            assert!(decode(&whole[..end]).is_err());
            let found = decode_with(&whole[..end], &KEEP);
            assert!(found.is_ok(), "cut to {end} of {}: {found:?}", whole.len());
        }
        Ok(())
    }

    #[test]
    fn damage_is_refused_unless_it_is_asked_for() {
        let mut bytes = jpeg(64, 64);
        let at = bytes.len() / 2;
        // An end marker in the middle of the scan.
        bytes[at..at + 2].copy_from_slice(&END_OF_IMAGE);
        assert!(matches!(decode(&bytes), Err(Error::Corrupt { .. })));
        assert!(decode_with(&bytes, &KEEP).unwrap().truncated.is_some());
        // Nothing at all of the image.
        let headers = jpeg(64, 64);
        let scan = headers.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
        assert!(decode_with(&headers[..scan], &KEEP).is_err());
        assert!(decode_with(&headers[..scan + 14], &KEEP).is_err());
    }

    #[test]
    fn an_image_is_shrunk_to_no_less_than_what_is_wanted() -> Result<()> {
        let bytes = jpeg(260, 130);
        let shrunk = |side| decode_with(&bytes, &Decoding { shrink_to: Some(side), ..Decoding::default() });
        for (side, width, height) in
            [(130, 260, 130), (66, 260, 130), (65, 130, 65), (32, 65, 33), (16, 33, 17), (1, 33, 17), (0, 33, 17)]
        {
            let found = shrunk(side)?;
            assert_eq!((found.image.width, found.image.height), (width, height), "{side}");
            assert_eq!((found.source_width, found.source_height), (260, 130));
        }
        Ok(())
    }
}
