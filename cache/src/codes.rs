//! Vectors as integer codes with one scale a vector: `element = code * scale`.
//!
//! A cosine does not care how long a vector is, so a uniform quantiser needs one number a vector, its step, and the
//! step alone decides both the cosine and the bits that entropy coding leaves: the coarser, the fewer. `quantise`
//! takes the coarsest step it finds whose cosine keeps the bound. The scale is then not the step but what makes the
//! vector as long as it was, rounded to 11 bits, as its last bits would cost more than they tell.
//!
//! * Rows of zeros have the scale 0.
//! * A row whose greatest element dwarfs the rest needs more than a byte a code: [`encode`] then takes two bytes for
//!   the whole column. They keep every bound there can be for up to 80,000 elements.
//! * Everything is computed from one row alone, in a fixed order: the same floats give the same codes anywhere.

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use retort_schemas::{Bound, Code};

use crate::{Error, Result};

/// Sums in this many lanes, which the compiler keeps in vector registers; fixed, as it decides the last bits.
const LANES: usize = 8;
/// Ratio of one step tried to the next: 0.4 % of a step is a hundredth of a bit.
const FINER: f64 = 0.996;
/// Steps tried before the ratio grows: then the row is unlike any that the starting point was made for.
const CLOSE_TRIES: usize = 150;
/// Adding and taking away 1.5 * 2^23 rounds a small f32 to an integer, half to even, in two instructions.
const ROUNDER: f32 = 12_582_912.0;

/// A table of vectors as codes.
#[derive(Debug, Clone, PartialEq)]
pub struct Codes {
    /// Type of one code.
    pub code: Code,
    /// The codes, `[rows, width]`, little-endian.
    pub bytes: Vec<u8>,
    /// One scale a row.
    pub scales: Vec<f32>,
    /// The cosine of each row read back to the row given; NaN of a row of zeros, which has none.
    pub cosines: Vec<f64>,
}

/// One row as codes.
struct Row {
    codes: Vec<i16>,
    scale: f32,
    cosine: f64,
}

/// Encodes rows of `width` floats, laid end to end, such that each one's cosine is at least `bound`.
///
/// # Errors
/// [`Error::Inexpressible`] naming the first row that has no cosine, as an element is no finite number, or (of more than
/// 80,000 elements) whose codes do not fit two bytes.
pub fn encode(bound: Bound, width: usize, floats: &[f32]) -> Result<Codes> {
    let quantised = floats
        .par_chunks_exact(width.max(1))
        .enumerate()
        .map(|(row, floats)| quantise(floats, bound.get()).map_err(|problem| Error::Inexpressible { row, problem }));
    let rows = quantised.collect::<Vec<Result<Row>>>().into_iter().collect::<Result<Vec<Row>>>()?;
    let fits = |row: &Row| row.codes.iter().all(|code| code.abs() <= Code::I8.limit());
    let (code, bytes) = if rows.iter().all(fits) {
        (Code::I8, rows.iter().flat_map(|row| row.codes.iter().flat_map(|code| (*code as i8).to_le_bytes())).collect())
    } else {
        (Code::I16, rows.iter().flat_map(|row| row.codes.iter().flat_map(|code| code.to_le_bytes())).collect())
    };
    Ok(Codes {
        code,
        bytes,
        scales: rows.iter().map(|row| row.scale).collect(),
        cosines: rows.iter().map(|row| row.cosine).collect(),
    })
}

/// The codes of one row with the coarsest step tried that keeps the bound.
fn quantise(row: &[f32], bound: f64) -> std::result::Result<Row, String> {
    if let Some(at) = row.iter().position(|x| !x.is_finite()) {
        return Err(format!("element {at} is {}, and so there is no cosine to keep", row[at]));
    }
    let greatest = row.iter().fold(0.0_f32, |greatest, x| greatest.max(x.abs()));
    if greatest == 0.0 {
        return Ok(Row { codes: vec![0; row.len()], scale: 0.0, cosine: f64::NAN });
    }
    // As parts of the greatest element, subnormals and giants are like any other row.
    let parts: Vec<f32> = row.iter().map(|x| (f64::from(*x) / f64::from(greatest)) as f32).collect();
    let norm = products(&parts, &parts)[2].sqrt();
    let mut step = first_step(bound, norm, parts.len());
    let mut rounded = vec![0.0; parts.len()];
    let mut tries = 0;
    while 1.0 / step <= f64::from(Code::I16.limit()) {
        let [cc, cx, _] = round_and_multiply(&parts, (1.0 / step) as f32, &mut rounded);
        // What is read back is rounded to f32: checked as such where it may count.
        if cc > 0.0 && cx / (cc.sqrt() * norm) >= bound {
            let scale = scale_of(row, &rounded, cc);
            let cosine = cosine_read_back(row, &rounded, scale);
            if cosine >= bound {
                return Ok(Row { codes: rounded.iter().map(|code| *code as i16).collect(), scale, cosine });
            }
        }
        tries += 1;
        step *= if tries < CLOSE_TRIES { FINER } else { 0.9 };
    }
    Err(format!("its {} elements would need codes of more than two bytes", row.len()))
}

/// Where the search starts: above the step that keeps the bound on average, where rounding errors are uniform, by as
/// much as luck can give with so many elements.
fn first_step(bound: f64, norm: f64, width: usize) -> f64 {
    let width = width as f64;
    (24.0 * (1.0 - bound) / width).sqrt() * norm * (1.0 + 2.5 / width.sqrt())
}

/// Rounds each part over the step, and gives the sums of code², code * part and part².
fn round_and_multiply(parts: &[f32], per_step: f32, rounded: &mut [f32]) -> [f64; 3] {
    for (code, x) in rounded.iter_mut().zip(parts) {
        *code = (*x * per_step + ROUNDER) - ROUNDER;
    }
    products(rounded, parts)
}

/// The sums of a², a * b and b².
fn products(a: &[f32], b: &[f32]) -> [f64; 3] {
    let mut lanes = [[0.0_f64; LANES]; 3];
    let add = |lanes: &mut [[f64; LANES]; 3], a: &[f32], b: &[f32]| {
        for (lane, (a, b)) in a.iter().zip(b).enumerate() {
            let (a, b) = (f64::from(*a), f64::from(*b));
            lanes[0][lane] += a * a;
            lanes[1][lane] += a * b;
            lanes[2][lane] += b * b;
        }
    };
    let (many_a, many_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (rest_a, rest_b) = (many_a.remainder(), many_b.remainder());
    many_a.zip(many_b).for_each(|(a, b)| add(&mut lanes, a, b));
    add(&mut lanes, rest_a, rest_b);
    lanes.map(|lanes| lanes.iter().sum())
}

/// The scale that keeps the row's length; where an element would then be beyond f32, a shorter one.
fn scale_of(row: &[f32], codes: &[f32], cc: f64) -> f32 {
    let norm = products(row, row)[2].sqrt();
    let scale = round_scale((norm / cc.sqrt()) as f32);
    let greatest_code = codes.iter().fold(0.0_f32, |greatest, code| greatest.max(code.abs()));
    if (scale * greatest_code).is_finite() {
        return scale;
    }
    let cut = f32::MAX / greatest_code;
    f32::from_bits(cut.to_bits() & !LOW_BITS)
}

/// The bits of a scale that are not kept: 10 of the 23 after the point remain, and with them its length to 0.05 %.
const LOW_BITS: u32 = (1 << 13) - 1;

/// Rounds a scale to 11 bits; a subnormal one has few as it is, and is never 0.
fn round_scale(scale: f32) -> f32 {
    if !scale.is_normal() {
        return scale.max(f32::from_bits(1));
    }
    f32::from_bits((scale.to_bits() + LOW_BITS / 2 + 1) & !LOW_BITS)
}

/// The cosine of a row to what a reader makes of its codes, in double precision.
fn cosine_read_back(row: &[f32], codes: &[f32], scale: f32) -> f64 {
    let read: Vec<f32> = codes.iter().map(|code| code * scale).collect();
    let [aa, ab, bb] = products(&read, row);
    ab / (aa.sqrt() * bb.sqrt())
}

/// Decodes rows of `width` codes into `out`, `[rows, width]`; rows without a scale, and what `out` has no room for, are
/// left out.
pub fn decode_into(code: Code, bytes: &[u8], scales: &[f32], width: usize, out: &mut [f32]) {
    let width = width.max(1);
    let rows = bytes.chunks_exact(width * code.bytes()).zip(scales).zip(out.chunks_exact_mut(width));
    rows.for_each(|((bytes, scale), out)| decode_row(code, bytes, *scale, out));
}

/// As [`decode_into`], to half precision; an element beyond 65504 becomes infinite.
pub fn decode_into_f16(code: Code, bytes: &[u8], scales: &[f32], width: usize, out: &mut [f16]) {
    let width = width.max(1);
    let mut floats = vec![0.0; width];
    for ((bytes, scale), out) in bytes.chunks_exact(width * code.bytes()).zip(scales).zip(out.chunks_exact_mut(width)) {
        decode_row(code, bytes, *scale, &mut floats);
        out.convert_from_f32_slice(&floats);
    }
}

fn decode_row(code: Code, bytes: &[u8], scale: f32, out: &mut [f32]) {
    match code {
        Code::I8 => {
            for (x, byte) in out.iter_mut().zip(bytes) {
                *x = f32::from(byte.cast_signed()) * scale;
            }
        }
        Code::I16 => {
            for (x, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *x = f32::from(i16::from_le_bytes([pair[0], pair[1]])) * scale;
            }
        }
    }
}

#[cfg(test)]
#[path = "codes/tests.rs"]
mod tests;
