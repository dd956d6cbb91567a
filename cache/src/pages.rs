//! Pages of plain columns, decompressed to where they are used: no values are built one by one.
//!
//! ```text
//! page = header | zstd( levels | values )           one page, checked already
//!                    |        |
//!                    |        +--> bytes of ColumnRows, behind those of the page before
//!                    +--> rows of ColumnRows: where the bytes of each row begin and end
//! ```
//!
//! What [`crate::write_table`] stores plain can be read so: vectors, ids and numbers without a dictionary, lists of
//! them, and binary values; none of them null.

use std::ops::Range;

use parquet::basic::{Compression, Type};
use parquet::file::metadata::ColumnChunkMetaData;
use zstd::bulk::Decompressor;

use crate::checksums::{Leaf, Page};
use crate::table::Table;
use crate::{Error, Result};

/// How the values of a leaf lie in a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Values of so many bytes, one a row.
    Fixed(usize),
    /// Values of so many bytes, a list of them a row.
    Lists(usize),
    /// A length of four bytes, then the value, one a row.
    Binary,
}

/// A column that can be read without the decoder of Parquet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plain {
    /// Index of the leaf.
    pub(crate) leaf: usize,
    kind: Kind,
    compressed: bool,
}

impl Plain {
    /// Finds a column in a table.
    pub(crate) fn of(table: &Table, column: &str) -> Result<Self> {
        let refuse = |problem: &str| Error::Column {
            column: column.to_owned(),
            problem: format!("of {} {problem}", table.path().display()),
        };
        let mut leaves = table.leaves().iter().enumerate().filter(|(_, leaf)| leaf.column() == column);
        let (leaf, _) = leaves.next().ok_or_else(|| refuse("is missing"))?;
        if leaves.next().is_some() {
            return Err(refuse("has several parts: read it as a table"));
        }
        let groups = table.parquet().row_groups();
        let chunks: Vec<&ColumnChunkMetaData> = groups.iter().map(|group| group.column(leaf)).collect();
        let descr = table.parquet().file_metadata().schema_descr().column(leaf);
        let width = match descr.physical_type() {
            Type::FIXED_LEN_BYTE_ARRAY => usize::try_from(descr.type_length()).ok(),
            Type::INT32 | Type::FLOAT => Some(4),
            Type::INT64 | Type::DOUBLE => Some(8),
            _ => None,
        };
        let kind = match (descr.max_rep_level(), descr.max_def_level(), width, descr.physical_type()) {
            (0, 0, Some(width), _) => Kind::Fixed(width),
            (1, 1, Some(width), _) => Kind::Lists(width),
            (0, 0, None, Type::BYTE_ARRAY) => Kind::Binary,
            _ => return Err(refuse("is not stored row by row: read it as a table")),
        };
        let compressed = chunks.iter().any(|chunk| chunk.compression() != Compression::UNCOMPRESSED);
        let known = |chunk: &&ColumnChunkMetaData| match chunk.compression() {
            Compression::ZSTD(_) => compressed,
            other => other == Compression::UNCOMPRESSED && !compressed,
        };
        if !chunks.iter().all(known) || chunks.iter().any(|chunk| chunk.dictionary_page_offset().is_some()) {
            return Err(refuse("is stored with a dictionary or another codec: read it as a table"));
        }
        Ok(Self { leaf, kind, compressed })
    }
}

/// Rows of one column in memory, used again and again.
#[derive(Debug, Default)]
pub(crate) struct ColumnRows {
    /// The first `used` bytes are pages without their headers.
    bytes: Vec<u8>,
    used: usize,
    /// Where each row's bytes are.
    rows: Vec<(usize, usize)>,
}

impl ColumnRows {
    pub(crate) fn clear(&mut self) {
        self.used = 0;
        self.rows.clear();
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The bytes of a row; none behind the last.
    pub(crate) fn row(&self, row: usize) -> &[u8] {
        self.rows.get(row).and_then(|(from, to)| self.bytes.get(*from..*to)).unwrap_or_default()
    }
}

/// Reads pages: holds what is used again from page to page.
pub(crate) struct PageReader {
    zstd: Decompressor<'static>,
    read: Vec<u8>,
    unpacked: Vec<u8>,
    levels: Levels,
}

impl PageReader {
    pub(crate) fn new() -> Result<Self> {
        let zstd = Decompressor::new().map_err(|source| Error::Io {
            action: "prepare to decompress",
            path: std::path::PathBuf::new(),
            source,
        })?;
        Ok(Self { zstd, read: Vec::new(), unpacked: Vec::new(), levels: Levels::default() })
    }

    /// Reads, checks and appends pages of a column.
    pub(crate) fn append(
        &mut self,
        table: &Table,
        plain: Plain,
        pages: Range<usize>,
        out: &mut ColumnRows,
    ) -> Result<()> {
        let leaf = &table.leaves()[plain.leaf];
        let Self { zstd, read, levels, .. } = self;
        table.read_pages(leaf, pages, read, |page, bytes| {
            let bytes = bytes?;
            append_page(zstd, levels, plain, page, bytes, out).map_err(|problem| malformed(table, leaf, page, problem))
        })
    }
}

impl PageReader {
    /// Reads, checks and hands over all pages of a column of one value of one size a row, one after the other: which rows,
    /// and their bytes. `use_page` may tell what is wrong with one.
    pub(crate) fn each(
        &mut self,
        table: &Table,
        plain: Plain,
        mut use_page: impl FnMut(Range<usize>, &[u8]) -> Result<(), &'static str>,
    ) -> Result<()> {
        let leaf = &table.leaves()[plain.leaf];
        let Self { zstd, read, unpacked, .. } = self;
        table.read_pages(leaf, 0..leaf.pages.len(), read, |checked, bytes| {
            values(zstd, plain, checked, bytes?, unpacked)
                .and_then(|values| use_page(checked.rows.clone(), values))
                .map_err(|problem| malformed(table, leaf, checked, problem))
        })
    }
}

/// The values of a page, one of one size a row: where they are if they are not compressed, else unpacked.
fn values<'a>(
    zstd: &mut Decompressor<'_>,
    plain: Plain,
    page: &Page,
    bytes: &'a [u8],
    unpacked: &'a mut Vec<u8>,
) -> Result<&'a [u8], &'static str> {
    let (header, body) = Header::and_body(bytes)?;
    let Kind::Fixed(width) = plain.kind else { return Err("has values of several sizes") };
    let values = if plain.compressed {
        unpacked.resize(header.uncompressed, 0);
        decompress(zstd, body, unpacked)?;
        unpacked
    } else {
        body
    };
    if values.len() != header.uncompressed {
        Err(OTHER_SIZE)
    } else if header.values != page.rows.len() || header.values.checked_mul(width) != Some(values.len()) {
        Err(OTHER_ROWS)
    } else {
        Ok(values)
    }
}

const OTHER_SIZE: &str = "has another size than its header says";
const OTHER_ROWS: &str = "does not hold the rows that it should";

fn decompress(zstd: &mut Decompressor<'_>, body: &[u8], place: &mut [u8]) -> Result<(), &'static str> {
    let written = zstd.decompress_to_buffer(body, place).map_err(|_| "cannot be decompressed")?;
    if written == place.len() { Ok(()) } else { Err(OTHER_SIZE) }
}

fn malformed(table: &Table, leaf: &Leaf, page: &Page, problem: &str) -> Error {
    let problem = format!("the page of column {} at byte {} {problem}", leaf.path, page.offset);
    Error::Broken { path: table.path().to_owned(), problem }
}

fn append_page(
    zstd: &mut Decompressor<'_>,
    levels: &mut Levels,
    plain: Plain,
    page: &Page,
    bytes: &[u8],
    out: &mut ColumnRows,
) -> Result<(), &'static str> {
    let (header, body) = Header::and_body(bytes)?;
    let from = out.used;
    let to = from + header.uncompressed;
    if out.bytes.len() < to {
        out.bytes.resize(to, 0);
    }
    let place = &mut out.bytes[from..to];
    if plain.compressed {
        decompress(zstd, body, place)?;
    } else if body.len() == place.len() {
        place.copy_from_slice(body);
    } else {
        return Err(OTHER_SIZE);
    }
    out.used = to;
    let before = out.rows.len();
    match plain.kind {
        Kind::Fixed(width) => {
            out.rows.extend((0..header.values).map(|row| (from + row * width, from + (row + 1) * width)))
        }
        Kind::Lists(width) => levels.rows(place, from, header.values, width, &mut out.rows)?,
        Kind::Binary => binary_rows(place, from, header.values, &mut out.rows)?,
    }
    let fits = out.rows.last().is_none_or(|(_, end)| *end == to || out.rows.len() == before);
    if fits && out.rows.len() - before == page.rows.len() { Ok(()) } else { Err(OTHER_ROWS) }
}

fn binary_rows(bytes: &[u8], from: usize, values: usize, rows: &mut Vec<(usize, usize)>) -> Result<(), &'static str> {
    let mut at = 0;
    for _ in 0..values {
        let length = length_at(bytes, at)?;
        rows.push((from + at + 4, from + at + 4 + length));
        at += 4 + length;
    }
    Ok(())
}

/// A little-endian length of four bytes.
fn length_at(bytes: &[u8], at: usize) -> Result<usize, &'static str> {
    let length = bytes.get(at..).and_then(|bytes| bytes.first_chunk::<4>()).ok_or("ends within a length")?;
    Ok(u32::from_le_bytes(*length) as usize)
}

/// What is wanted of a page's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    uncompressed: usize,
    compressed: usize,
    values: usize,
}

impl Header {
    /// Reads the header of a page, and finds what is behind it.
    fn and_body(bytes: &[u8]) -> Result<(Self, &[u8]), &'static str> {
        let header = Self::read(bytes)?;
        let body = bytes.len().checked_sub(header.compressed).and_then(|at| bytes.get(at..)).ok_or("is cut")?;
        Ok((header, body))
    }

    /// Reads the beginning of a header: Thrift's compact protocol, the fields that every data page of version 1 begins
    /// with. The values are the end of the page, so nothing behind the encoding needs to be understood.
    fn read(bytes: &[u8]) -> Result<Self, &'static str> {
        const UNKNOWN: &str = "has a header that this version does not write";
        // Field headers: the step from the field before, and the type, 5 for i32 and 12 for a struct.
        const INT: u8 = 0x15;
        const STRUCT_TWO_ON: u8 = 0x2c;
        const DATA_PAGE: usize = 0;
        const PLAIN: usize = 0;
        let mut at = 0;
        let mut field = |tag: u8| -> Result<usize, &'static str> {
            if bytes.get(at) != Some(&tag) {
                return Err(UNKNOWN);
            }
            at += 1;
            if tag == STRUCT_TWO_ON { Ok(0) } else { zigzag(bytes, &mut at).ok_or(UNKNOWN) }
        };
        if field(INT)? != DATA_PAGE {
            return Err(UNKNOWN);
        }
        let (uncompressed, compressed) = (field(INT)?, field(INT)?);
        field(STRUCT_TWO_ON)?;
        let values = field(INT)?;
        if field(INT)? == PLAIN { Ok(Self { uncompressed, compressed, values }) } else { Err(UNKNOWN) }
    }
}

/// A number of seven bits a byte, lowest first; none if it does not end.
fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A number of either sign; none if it is negative.
fn zigzag(bytes: &[u8], at: &mut usize) -> Option<usize> {
    varint(bytes, at).filter(|value| value & 1 == 0).map(|value| (value >> 1) as usize)
}

/// Levels of a list column: whether a value begins a row, and whether it is there at all (an empty list has none).
#[derive(Debug, Default)]
struct Levels {
    repeated: Vec<u8>,
    defined: Vec<u8>,
}

impl Levels {
    /// Finds the rows of a page of `values` levels, which begins at `from` of the caller's bytes.
    fn rows(
        &mut self,
        page: &[u8],
        from: usize,
        values: usize,
        width: usize,
        rows: &mut Vec<(usize, usize)>,
    ) -> Result<(), &'static str> {
        let mut at = 0;
        for levels in [&mut self.repeated, &mut self.defined] {
            let length = length_at(page, at)?;
            let coded = page.get(at + 4..at + 4 + length).ok_or("ends within its levels")?;
            one_bit_levels(coded, values, levels).ok_or("has levels that do not end")?;
            at += 4 + length;
        }
        let mut end = from + at;
        let mut open = false;
        for (repeated, defined) in self.repeated.iter().zip(&self.defined) {
            if *repeated == 0 {
                rows.push((end, end));
                open = true;
            }
            end += width * usize::from(*defined);
            let row = rows.last_mut().filter(|_| open).ok_or("begins within a row")?;
            row.1 = end;
        }
        if end - from == page.len() { Ok(()) } else { Err("has another number of values than its levels say") }
    }
}

/// Decodes levels of one bit: runs of one value, and groups of eight.
fn one_bit_levels(coded: &[u8], count: usize, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    let mut at = 0;
    while out.len() < count {
        let header = varint(coded, &mut at)?;
        let length = (header >> 1) as usize;
        if header & 1 == 0 {
            let value = *coded.get(at)? & 1;
            at += 1;
            out.resize(out.len() + length.min(count - out.len()), value);
        } else {
            for byte in coded.get(at..at.checked_add(length)?)? {
                out.extend((0..8).map(|bit| byte >> bit & 1));
            }
            at += length;
        }
    }
    // The last group is filled up with zeros.
    out.truncate(count);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_runs_and_of_groups_are_decoded() {
        let mut levels = Vec::new();
        // Three ones, then a group of eight of which five count.
        assert_eq!(one_bit_levels(&[6, 1, 3, 0b0001_0110], 8, &mut levels), Some(()));
        assert_eq!(levels, [1, 1, 1, 0, 1, 1, 0, 1]);
        assert_eq!(one_bit_levels(&[6], 3, &mut levels), None);
        assert_eq!(one_bit_levels(&[3], 3, &mut levels), None);
    }

    #[test]
    fn a_header_of_another_page_is_refused() {
        // data page, 300 and 20 bytes, then a header of 7 plain values.
        let header = [0x15, 0, 0x15, 0xd8, 0x04, 0x15, 40, 0x2c, 0x15, 14, 0x15, 0];
        assert_eq!(Header::read(&header), Ok(Header { uncompressed: 300, compressed: 20, values: 7 }));
        for (at, byte) in [(1, 4), (7, 0x5c), (11, 16), (9, 13)] {
            let mut other = header;
            other[at] = byte;
            assert!(Header::read(&other).is_err(), "{at}");
        }
        assert!(Header::read(&header[..6]).is_err());
    }
}
