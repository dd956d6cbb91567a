//! The checksums of a file's pages, as its footer holds them.
//!
//! ```text
//! PAR1 | page page page ... | page indexes | footer: ..., retort:checksums = xxh3 of each page | PAR1
//!        ^ leaf by leaf, no gap              ^ xxh3 in the manifest (`rest`), of everything from the page indexes on
//! ```

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parquet::file::metadata::{ColumnChunkMetaData, FileMetaData, KeyValue, ParquetMetaData};
use retort_schemas::manifest::{CHECKSUMS_KEY, MAGIC_BYTES};

const PREFIX: &str = "xxh3:";

/// One page of a file: its header and its compressed values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// First byte in the file.
    pub(crate) offset: u64,
    /// Length in bytes, header included.
    pub(crate) bytes: usize,
    /// Rows of the file that it holds; none if it is a dictionary.
    pub(crate) rows: Range<usize>,
    /// Of all its bytes.
    pub(crate) xxh3: u64,
}

impl Page {
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.bytes as u64
    }
}

/// One leaf column of a file, through all row groups.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    /// Its path, such as `tokens.list.item`.
    pub(crate) path: String,
    /// Its pages in file order; their checksums are 0 until [`read`] has filled them in.
    pub(crate) pages: Vec<Page>,
}

impl Leaf {
    /// The column of the table that it belongs to.
    pub(crate) fn column(&self) -> &str {
        column_of(&self.path)
    }

    /// The page that holds a row.
    pub(crate) fn page_of(&self, row: usize) -> Option<usize> {
        // A dictionary's rows are the empty range before its first data page: it sorts before that and is passed over.
        let page = self.pages.partition_point(|page| page.rows.end <= row);
        (page..self.pages.len()).find(|page| self.pages[*page].rows.contains(&row))
    }
}

/// The column that a leaf path belongs to.
pub(crate) fn column_of(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

/// The leaves of a file with their pages, from its offset index. What is wrong with it, if they leave a gap.
pub(crate) fn leaves_of(metadata: &ParquetMetaData) -> Result<Vec<Leaf>, String> {
    let columns = metadata.file_metadata().schema_descr().columns();
    let mut leaves: Vec<Leaf> =
        columns.iter().map(|column| Leaf { path: column.path().string(), pages: Vec::new() }).collect();
    let mut at = MAGIC_BYTES;
    let mut first_row = 0;
    for (group, row_group) in metadata.row_groups().iter().enumerate() {
        let rows = usize::try_from(row_group.num_rows()).map_err(|error| error.to_string())?;
        for (column, (leaf, chunk)) in leaves.iter_mut().zip(row_group.columns()).enumerate() {
            let index =
                metadata.offset_index().and_then(|groups| groups.get(group)).and_then(|group| group.get(column));
            let locations = index.ok_or("it has no offset index")?.page_locations();
            let (start, length) = extent(chunk).ok_or_else(|| format!("column {} has no place in it", leaf.path))?;
            if start != at {
                return Err(format!("column {} begins at byte {start}, expected {at}", leaf.path));
            }
            let first = locations.first().map_or(start, |location| location.offset.cast_unsigned());
            if first > start {
                let dictionary = first_row..first_row;
                leaf.pages.push(Page { offset: start, bytes: (first - start) as usize, rows: dictionary, xxh3: 0 });
                at = first;
            }
            for (page, location) in locations.iter().enumerate() {
                let until = locations.get(page + 1).map_or(rows, |next| next.first_row_index as usize);
                let from = location.first_row_index as usize;
                let bytes = u32::try_from(location.compressed_page_size).unwrap_or(u32::MAX);
                let end = at.saturating_add(bytes.into());
                if location.offset.cast_unsigned() != at || from > until || until > rows || end > start + length {
                    return Err(format!("page {page} of column {} is not where it should be", leaf.path));
                }
                let rows = first_row + from..first_row + until;
                leaf.pages.push(Page { offset: at, bytes: bytes as usize, rows, xxh3: 0 });
                at = end;
            }
            if at != start + length {
                return Err(format!("the pages of column {} end at byte {at}, expected {}", leaf.path, start + length));
            }
        }
        first_row = first_row.checked_add(rows).ok_or("it has more rows than can be counted")?;
    }
    Ok(leaves)
}

/// Offset and length of a column chunk, unless they are no place in a file: `byte_range` of the metadata panics then.
fn extent(chunk: &ColumnChunkMetaData) -> Option<(u64, u64)> {
    let start = u64::try_from(chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset())).ok()?;
    let length = u64::try_from(chunk.compressed_size()).ok()?;
    // Offsets are signed in Parquet.
    start.checked_add(length).filter(|end| i64::try_from(*end).is_ok()).map(|_| (start, length))
}

/// The metadata with the checksums of all pages beside the keys that it has, and with one more key if there is one.
pub(crate) fn with_checksums(metadata: ParquetMetaData, leaves: &[Leaf], more: Option<KeyValue>) -> ParquetMetaData {
    let mut pages: Vec<&Page> = leaves.iter().flat_map(|leaf| &leaf.pages).collect();
    pages.sort_by_key(|page| page.offset);
    let sums: Vec<u8> = pages.iter().flat_map(|page| page.xxh3.to_le_bytes()).collect();
    let file = metadata.file_metadata();
    let mut keys = file.key_value_metadata().cloned().unwrap_or_default();
    keys.push(KeyValue::new(CHECKSUMS_KEY.to_owned(), format!("{PREFIX}{}", STANDARD.encode(sums))));
    keys.extend(more);
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_owned),
        Some(keys),
        file.schema_descr_ptr(),
        file.column_orders().cloned(),
    );
    let mut builder = ParquetMetaData::new(file, metadata.row_groups().to_vec()).into_builder();
    builder = builder.set_column_index(metadata.column_index().cloned());
    builder.set_offset_index(metadata.offset_index().cloned()).build()
}

/// Fills in the checksums that a checked footer holds. What is wrong with them, if they do not fit the pages.
pub(crate) fn read(metadata: &ParquetMetaData) -> Result<Vec<Leaf>, String> {
    let mut leaves = leaves_of(metadata)?;
    let keys = metadata.file_metadata().key_value_metadata();
    let value = keys.and_then(|keys| keys.iter().find(|entry| entry.key == CHECKSUMS_KEY));
    let text = value.and_then(|entry| entry.value.as_deref()).ok_or("its footer has no checksums")?;
    let sums = text.strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok());
    let sums = sums.ok_or("the checksums in its footer cannot be read")?;
    let (sums, rest) = sums.as_chunks::<8>();
    let mut pages: Vec<&mut Page> = leaves.iter_mut().flat_map(|leaf| &mut leaf.pages).collect();
    if sums.len() != pages.len() || !rest.is_empty() {
        return Err(format!("its footer has {} checksums for {} pages", sums.len(), pages.len()));
    }
    pages.sort_by_key(|page| page.offset);
    pages.iter_mut().zip(sums).for_each(|(page, sum)| page.xxh3 = u64::from_le_bytes(*sum));
    Ok(leaves)
}
