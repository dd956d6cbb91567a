//! Arrays in numpy's `.npy` format, read strictly: what a header claims is checked before anything is held.
//!
//! The crates that read the format hold as much as the header claims, up to 4 GiB of header and any shape, and bring a
//! parser generator for its one line of Python. These files are what others' extractors left behind, so the header is
//! read here; the zip container around `.npz` is left to a crate.

use std::io::Read;

use half::f16;

/// Largest array: the scores of 1,601 classes for some thousand regions in double precision.
pub(crate) const MOST_ARRAY_BYTES: usize = 64 << 20;
/// Longest header: numpy itself refuses to evaluate more than 10,000 characters.
const LONGEST_HEADER_BYTES: usize = 10_000;
/// Most axes: rows and columns, after a batch axis or two.
const MOST_AXES: usize = 8;

const MAGIC: &[u8] = b"\x93NUMPY";

/// An array of numbers, little-endian, as it lay in the file.
#[derive(Debug)]
pub(crate) struct Array {
    shape: Vec<usize>,
    fortran_order: bool,
    element: Element,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Element {
    kind: Kind,
    bytes: usize,
    big_endian: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Float,
    Signed,
    Unsigned,
}

impl Array {
    /// Reads a whole array up to the end of the file; a failure says what is wrong with it.
    pub(crate) fn read(mut file: impl Read) -> Result<Self, String> {
        let mut start = [0; 8];
        file.read_exact(&mut start).map_err(cut)?;
        if !start.starts_with(MAGIC) {
            return Err(format!("it starts with {:?}, expected a numpy array", start.escape_ascii().to_string()));
        }
        let header_bytes = match start[6] {
            1 => {
                let mut length = [0; 2];
                file.read_exact(&mut length).map_err(cut)?;
                usize::from(u16::from_le_bytes(length))
            }
            2 | 3 => {
                let mut length = [0; 4];
                file.read_exact(&mut length).map_err(cut)?;
                u32::from_le_bytes(length) as usize
            }
            other => return Err(format!("it has version {other} of the numpy format, expected 1 to 3")),
        };
        if header_bytes > LONGEST_HEADER_BYTES {
            return Err(format!("its header has {header_bytes} bytes, expected {LONGEST_HEADER_BYTES} at most"));
        }
        let mut header = vec![0; header_bytes];
        file.read_exact(&mut header).map_err(cut)?;
        let (element, fortran_order, shape) = parse_header(&header)?;
        let expected = shape.iter().try_fold(element.bytes, |bytes, length| bytes.checked_mul(*length));
        let expected = expected
            .filter(|bytes| *bytes <= MOST_ARRAY_BYTES)
            .ok_or_else(|| format!("its shape is {}, more than {MOST_ARRAY_BYTES} bytes", Shape(&shape)))?;
        // The end is read, too: a member of a zip file tells only there whether its checksum is right.
        let mut bytes = Vec::new();
        let read = file.take(expected as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if read != expected {
            let found = if read > expected { "more".to_owned() } else { read.to_string() };
            return Err(format!("{found} bytes follow the header, expected {expected}: shape {}", Shape(&shape)));
        }
        if element.big_endian {
            bytes.chunks_exact_mut(element.bytes).for_each(<[u8]>::reverse);
        }
        Ok(Self { shape, fortran_order, element, bytes })
    }

    /// Lengths of the axes, without leading ones of length one: extractors leave their batch axis there.
    pub(crate) fn shape(&self) -> &[usize] {
        let mut shape = self.shape.as_slice();
        while let [1, rest @ ..] = shape
            && rest.len() >= 2
        {
            shape = rest;
        }
        shape
    }

    /// The numbers, row by row.
    pub(crate) fn floats(&self) -> Vec<f32> {
        let bytes = &self.bytes;
        let floats = match (self.element.kind, self.element.bytes) {
            (Kind::Float, 2) => convert(bytes, |b| f16::from_le_bytes(b).to_f32()),
            (Kind::Float, 4) => convert(bytes, f32::from_le_bytes),
            (Kind::Float, _) => convert(bytes, |b| f64::from_le_bytes(b) as f32),
            (Kind::Signed, 1) => convert(bytes, |b: [u8; 1]| f32::from(i8::from_le_bytes(b))),
            (Kind::Signed, 2) => convert(bytes, |b| f32::from(i16::from_le_bytes(b))),
            (Kind::Signed, 4) => convert(bytes, |b| i32::from_le_bytes(b) as f32),
            (Kind::Signed, _) => convert(bytes, |b| i64::from_le_bytes(b) as f32),
            (Kind::Unsigned, 1) => convert(bytes, |b: [u8; 1]| f32::from(u8::from_le_bytes(b))),
            (Kind::Unsigned, 2) => convert(bytes, |b| f32::from(u16::from_le_bytes(b))),
            (Kind::Unsigned, 4) => convert(bytes, |b| u32::from_le_bytes(b) as f32),
            (Kind::Unsigned, _) => convert(bytes, |b| u64::from_le_bytes(b) as f32),
        };
        match (self.fortran_order, self.shape()) {
            (true, &[rows, columns]) => transposed(&floats, columns, rows),
            _ => floats,
        }
    }
}

/// `[columns, rows]` of an array of `[rows, columns]`.
pub(crate) fn transposed(floats: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let column = |at: usize| floats.iter().skip(at).step_by(columns.max(1)).take(rows);
    (0..columns).flat_map(column).copied().collect()
}

fn convert<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (elements, _) = bytes.as_chunks::<N>();
    elements.iter().map(|element| number(*element)).collect()
}

fn cut(error: std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "it ends within its header".to_owned(),
        _ => error.to_string(),
    }
}

/// A shape as numpy writes it.
pub(crate) struct Shape<'a>(pub &'a [usize]);

impl std::fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lengths: Vec<String> = self.0.iter().map(usize::to_string).collect();
        write!(f, "({})", lengths.join(", "))
    }
}

/// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (36, 2048), }`.
fn parse_header(header: &[u8]) -> Result<(Element, bool, Vec<usize>), String> {
    let text = String::from_utf8_lossy(header);
    let mut words = Words { rest: &text };
    let unreadable = || format!("its header is {:?}, expected descr, fortran_order and shape", text.trim_end());
    let (mut element, mut fortran_order, mut shape) = (None, None, None);
    if !words.take('{') {
        return Err(unreadable());
    }
    while !words.take('}') {
        let key = words.quoted().filter(|_| words.take(':')).ok_or_else(unreadable)?;
        match key {
            "descr" => element = Some(parse_element(words.quoted().ok_or("it holds records, expected numbers")?)?),
            "fortran_order" => fortran_order = Some(words.truth().ok_or_else(unreadable)?),
            "shape" => shape = Some(words.lengths().ok_or_else(unreadable)?),
            _ => return Err(unreadable()),
        }
        if !words.take(',') && !words.rest.trim_start().starts_with('}') {
            return Err(unreadable());
        }
    }
    match (element, fortran_order, shape) {
        (Some(element), Some(order), Some(shape)) if words.rest.trim().is_empty() => Ok((element, order, shape)),
        _ => Err(unreadable()),
    }
}

fn parse_element(descr: &str) -> Result<Element, String> {
    let (big_endian, kind_and_bytes) = match descr.split_at_checked(1) {
        Some(("<" | "|" | "=", rest)) => (false, rest),
        Some((">", rest)) => (true, rest),
        _ => (false, descr),
    };
    let element = |kind, bytes| Ok(Element { kind, bytes, big_endian });
    match kind_and_bytes {
        "f2" => element(Kind::Float, 2),
        "f4" => element(Kind::Float, 4),
        "f8" => element(Kind::Float, 8),
        "i1" => element(Kind::Signed, 1),
        "i2" => element(Kind::Signed, 2),
        "i4" => element(Kind::Signed, 4),
        "i8" => element(Kind::Signed, 8),
        "u1" => element(Kind::Unsigned, 1),
        "u2" => element(Kind::Unsigned, 2),
        "u4" => element(Kind::Unsigned, 4),
        "u8" => element(Kind::Unsigned, 8),
        "O" => Err("it holds pickled Python objects, which are never loaded, expected numbers".to_owned()),
        _ => Err(format!("its elements are {descr:?}, expected floats or whole numbers")),
    }
}

/// The few words of Python that a header has.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn take(&mut self, token: char) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn quoted(&mut self) -> Option<&'a str> {
        let text = self.rest.trim_start();
        let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (word, rest) = text[1..].split_once(quote)?;
        self.rest = rest;
        Some(word)
    }

    fn truth(&mut self) -> Option<bool> {
        for (word, truth) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.trim_start().strip_prefix(word) {
                self.rest = rest;
                return Some(truth);
            }
        }
        None
    }

    /// A tuple of numbers; Python 2 wrote an L behind some.
    fn lengths(&mut self) -> Option<Vec<usize>> {
        let mut lengths = Vec::new();
        let (tuple, rest) = self.rest.trim_start().strip_prefix('(')?.split_once(')')?;
        self.rest = rest;
        let mut numbers = tuple.split(',').map(str::trim).peekable();
        while let Some(number) = numbers.next() {
            // Behind the last comma, or of an array without axes.
            if number.is_empty() && numbers.peek().is_none() {
                break;
            }
            lengths.push(number.strip_suffix('L').unwrap_or(number).parse().ok()?);
        }
        (lengths.len() <= MOST_AXES).then_some(lengths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let length = (header.len() as u16).to_le_bytes();
        [MAGIC, &[1, 0], &length, header.as_bytes(), data].concat()
    }

    fn read(header: &str, data: &[u8]) -> Result<Array, String> {
        Array::read(file(header, data).as_slice())
    }

    fn of(descr: &str, data: &[u8]) -> Vec<f32> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (2,), }}   \n");
        read(&header, data).unwrap().floats()
    }

    #[test]
    fn numbers_of_every_type_and_byte_order() {
        let bytes = |pairs: [&[u8]; 2]| pairs.concat();
        let halves = [1.5_f32, -2.0].map(f16::from_f32);
        assert_eq!(of("<f2", &bytes([&halves[0].to_le_bytes(), &halves[1].to_le_bytes()])), [1.5, -2.0]);
        assert_eq!(of(">f2", &bytes([&halves[0].to_be_bytes(), &halves[1].to_be_bytes()])), [1.5, -2.0]);
        assert_eq!(of("<f4", &bytes([&1.5_f32.to_le_bytes(), &(-2_f32).to_le_bytes()])), [1.5, -2.0]);
        assert_eq!(of(">f4", &bytes([&1.5_f32.to_be_bytes(), &(-2_f32).to_be_bytes()])), [1.5, -2.0]);
        assert_eq!(of("<f8", &bytes([&1.5_f64.to_le_bytes(), &(-2_f64).to_le_bytes()])), [1.5, -2.0]);
        assert_eq!(of(">f8", &bytes([&1.5_f64.to_be_bytes(), &(-2_f64).to_be_bytes()])), [1.5, -2.0]);
        assert_eq!(of("|i1", &[3, 0xff]), [3.0, -1.0]);
        assert_eq!(of("|u1", &[3, 0xff]), [3.0, 255.0]);
        assert_eq!(of(">i2", &[0, 3, 0xff, 0xff]), [3.0, -1.0]);
        assert_eq!(of("<u2", &[3, 0, 0xff, 0xff]), [3.0, 65535.0]);
        assert_eq!(of("<i4", &bytes([&7_i32.to_le_bytes(), &(-7_i32).to_le_bytes()])), [7.0, -7.0]);
        assert_eq!(of("<u4", &bytes([&7_u32.to_le_bytes(), &9_u32.to_le_bytes()])), [7.0, 9.0]);
        assert_eq!(of(">i8", &bytes([&7_i64.to_be_bytes(), &(-7_i64).to_be_bytes()])), [7.0, -7.0]);
        assert_eq!(of("<u8", &bytes([&7_u64.to_le_bytes(), &9_u64.to_le_bytes()])), [7.0, 9.0]);
    }

    #[test]
    fn rows_come_out_in_order_whichever_order_they_lie_in() -> Result<(), String> {
        let array = |order, shape, data: &[u8]| {
            read(&format!("{{'descr': '|u1', 'fortran_order': {order}, 'shape': {shape}}}"), data)
        };
        let by_row = array("False", "(2, 3)", &[1, 2, 3, 4, 5, 6])?;
        let by_column = array("True", "(2L, 3L)", &[1, 4, 2, 5, 3, 6])?;
        assert_eq!(by_row.floats(), by_column.floats());
        assert_eq!(by_column.floats(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let batch = array("True", "(1, 2, 3)", &[1, 4, 2, 5, 3, 6])?;
        assert_eq!((batch.shape(), batch.floats()), ([2, 3].as_slice(), by_row.floats()));
        assert_eq!(array("False", "()", &[7])?.floats(), [7.0]);
        assert_eq!(array("False", "(0, 3)", &[])?.shape(), [0, 3]);
        Ok(())
    }

    #[test]
    fn every_version_of_the_header() -> Result<(), String> {
        let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }\n";
        for version in [2, 3] {
            let length = (header.len() as u32).to_le_bytes();
            let bytes = [MAGIC, &[version, 0], &length, header.as_bytes(), &[9]].concat();
            assert_eq!(Array::read(bytes.as_slice())?.floats(), [9.0]);
        }
        Ok(())
    }

    #[test]
    fn a_header_that_is_none_and_data_that_does_not_fit_it() {
        let whole = file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", &[0; 8]);
        for end in 0..whole.len() {
            assert!(Array::read(&whole[..end]).is_err(), "{end}");
        }
        let with =
            |descr: &str, shape: &str| format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}");
        for (bytes, found) in [
            (b"PK\x03\x04........".to_vec(), "expected a numpy array"),
            ([MAGIC, &[4, 0, 0, 0]].concat(), "version 4"),
            ([MAGIC, &[2, 0, 0xff, 0xff, 0xff, 0xff]].concat(), "header has 4294967295 bytes"),
            (file("{}", &[]), "expected descr"),
            (file("descr", &[]), "expected descr"),
            (file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} 1", &[0; 8]), "expected descr"),
            (file("{'descr': '<f4' 'fortran_order': False, 'shape': (2,)}", &[0; 8]), "expected descr"),
            (file(&with("'<f4'", "(-1,)"), &[]), "expected descr"),
            (file(&with("'<f4'", "(1,,2)"), &[]), "expected descr"),
            (file(&with("'<f4'", "(1,1,1,1,1,1,1,1,1)"), &[0; 4]), "expected descr"),
            (file(&with("'|O'", "(1,)"), b"\x80\x03."), "pickled Python objects"),
            (file(&with("[('a', '<f4')]", "(1,)"), &[]), "records"),
            (file(&with("'<U5'", "(1,)"), &[]), "\"<U5\""),
            (file(&with("'<c8'", "(1,)"), &[]), "\"<c8\""),
            (file(&with("'é'", "(1,)"), &[]), "\"é\""),
            (file(&with("'<f4'", "(4294967296, 4294967296, 4294967296)"), &[]), "more than 67108864 bytes"),
            (file(&with("'<f4'", "(100000, 2048)"), &[]), "more than 67108864 bytes"),
            (file(&with("'<f4'", "(2,)"), &[0; 7]), "7 bytes follow the header, expected 8: shape (2)"),
            (file(&with("'<f4'", "(2,)"), &[0; 9]), "more bytes follow"),
        ] {
            let message = Array::read(bytes.as_slice()).unwrap_err();
            assert!(message.contains(found), "{found}: {message}");
        }
    }
}
