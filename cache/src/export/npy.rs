//! NumPy's `.npy`, version 1.0: a header of text, then the array in C order.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use crate::files::NewFile;
use crate::floats::Element;
use crate::{Error, Result};

/// Room for the header of any two sizes; a multiple of 64, as NumPy aligns the data.
const HEADER: usize = 128;

/// Element type of an `.npy`: NumPy has no bf16, which f32 holds without loss.
pub(super) fn element(stored: Element) -> Element {
    if stored == Element::F16 { Element::F16 } else { Element::F32 }
}

const fn descr(element: Element) -> &'static str {
    if matches!(element, Element::F16) { "<f2" } else { "<f4" }
}

/// The header of an array of this element and shape, [`HEADER`] bytes.
fn header(descr: &str, shape: &[u64]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|size| format!("{size},")).collect();
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(((HEADER - 10) as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.resize(HEADER - 1, b' ');
    bytes.push(b'\n');
    bytes
}

/// One vector `[width]` as a whole file.
pub(super) fn vector(stored: Element, values: &[f32]) -> Vec<u8> {
    array(stored, &[values.len() as u64], values)
}

/// A list of vectors `[vectors, width]` as a whole file.
pub(super) fn vectors(stored: Element, width: usize, values: &[f32]) -> Vec<u8> {
    array(stored, &[(values.len() / width.max(1)) as u64, width as u64], values)
}

fn array(stored: Element, shape: &[u64], values: &[f32]) -> Vec<u8> {
    let element = element(stored);
    let mut bytes = header(descr(element), shape);
    element.put(values, &mut bytes);
    bytes
}

/// Pairs of numbers `[pairs, 2]` as a whole file.
pub(super) fn pairs(numbers: &[u32]) -> Vec<u8> {
    let mut bytes = header("<u4", &[numbers.len() as u64 / 2, 2]);
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    bytes
}

/// An `.npy` that grows row by row; it appears when finished.
pub(super) struct NpyFile<'a> {
    path: &'a Path,
    new: NewFile,
    file: BufWriter<File>,
    /// Element and width, once the first row is there.
    shape: Option<(Element, usize)>,
    rows: u64,
}

impl<'a> NpyFile<'a> {
    pub(super) fn create(path: &'a Path) -> Result<Self> {
        let (new, file) = NewFile::create(path)?;
        let mut file = BufWriter::new(file);
        // The number of rows is known at the end.
        file.write_all(&[0; HEADER]).map_err(Error::io("write", path))?;
        Ok(Self { path, new, file, shape: None, rows: 0 })
    }

    /// Adds a row.
    pub(super) fn push(&mut self, stored: Element, row: &[f32]) -> Result<()> {
        let element = element(stored);
        if *self.shape.get_or_insert((element, row.len())) != (element, row.len()) {
            let problem = format!("row {} has {} elements of {element:?}, those before others", self.rows, row.len());
            return Err(Error::Column { column: "embedding".to_owned(), problem });
        }
        let mut bytes = Vec::with_capacity(row.len() * element.bytes());
        element.put(row, &mut bytes);
        self.rows += 1;
        self.file.write_all(&bytes).map_err(Error::io("write", self.path))
    }

    /// Writes the header, and puts the file in place.
    pub(super) fn finish(self) -> Result<()> {
        let (element, width) = self.shape.unwrap_or((Element::F32, 0));
        let failed = Error::io("write", self.path);
        let mut file = match self.file.into_inner() {
            Ok(file) => file,
            Err(error) => return Err(failed(error.into_error())),
        };
        let header = header(descr(element), &[self.rows, width as u64]);
        file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&header)).map_err(failed)?;
        self.new.commit(&file)
    }
}
