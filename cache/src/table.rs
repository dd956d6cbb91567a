//! A file opened for reading: its footer is checked at once, a page when its bytes are asked for.

use std::fs::File;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use retort_schemas::manifest::{MAGIC_BYTES, TableFile};
use retort_schemas::{SCHEMA_KEY, SchemaVersion};
use xxhash_rust::xxh3::xxh3_64;

use crate::checksums::{self, Leaf, Page};
use crate::seal::hex64;
use crate::{Error, Result};

/// Most bytes of neighbouring pages that are read with one call: a page or a few stay in a core's cache between being
/// read, checked and decompressed.
const RUN_BYTES: usize = 256 * 1024;

/// A file whose footer is the one that the manifest describes.
#[derive(Debug)]
pub(crate) struct Table {
    path: PathBuf,
    file: File,
    length: u64,
    metadata: ArrowReaderMetadata,
    /// Leaf columns in the order of the Parquet schema, with their pages.
    leaves: Vec<Leaf>,
}

/// Parsers and decoders panic on some contents that no writer makes and whose checksums hold all the same: an error.
pub(crate) fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let problem = "it is no table that the decoder understands".to_owned();
        Err(Error::Broken { path: path.to_owned(), problem })
    })
}

impl Table {
    /// Opens a file and checks its size, its footer and its version.
    pub(crate) fn open(path: &Path, description: &TableFile, version: SchemaVersion) -> Result<Self> {
        let broken = |problem: String| Error::Broken { path: path.to_owned(), problem };
        let file = File::open(path).map_err(|error| broken(format!("it cannot be opened: {error}")))?;
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        if length != description.bytes {
            return Err(broken(format!("it has {length} bytes, expected {}", description.bytes)));
        }
        // Nothing of the footer is interpreted before its checksum fits: a parser is no place for random bytes.
        let from = description.rest_offset();
        let size = length.checked_sub(from).ok_or_else(|| broken("its columns do not fit into it".to_owned()))?;
        let mut rest = vec![0; size as usize];
        read_at(&file, &mut rest, from).map_err(Error::io("read", path))?;
        check(path, "the footer", &description.rest, xxh3_64(&rest))?;
        guarded(path, || {
            let parquet = parse(Tail { from, bytes: Bytes::from(rest) }).map_err(Error::parquet(path))?;
            let rows = parquet.file_metadata().num_rows();
            if u64::try_from(rows) != Ok(description.rows) {
                return Err(broken(format!("it has {rows} rows, expected {}", description.rows)));
            }
            let leaves = checksums::read(&parquet).map_err(broken)?;
            let metadata = ArrowReaderMetadata::try_new(Arc::new(parquet), ArrowReaderOptions::new());
            let metadata = metadata.map_err(Error::parquet(path))?;
            accept(path, version, &metadata)?;
            Ok(Self { path: path.to_owned(), file, length, metadata, leaves })
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn metadata(&self) -> &ArrowReaderMetadata {
        &self.metadata
    }

    pub(crate) fn parquet(&self) -> &ParquetMetaData {
        self.metadata.metadata()
    }

    pub(crate) fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// The first four bytes, which no reader uses, are what they should be.
    pub(crate) fn check_magic(&self) -> Result<()> {
        let mut magic = [0; MAGIC_BYTES as usize];
        read_at(&self.file, &mut magic, 0).map_err(Error::io("read", &self.path))?;
        if magic == *b"PAR1" {
            return Ok(());
        }
        Err(Error::Broken { path: self.path.clone(), problem: "it does not begin with PAR1".to_owned() })
    }

    /// Reads pages of a leaf and hands each to `use_page`: the page, and its bytes or the damage found in them.
    /// `scratch` is used again from call to call.
    pub(crate) fn read_pages<'a>(
        &'a self,
        leaf: &'a Leaf,
        pages: Range<usize>,
        scratch: &mut Vec<u8>,
        mut use_page: impl FnMut(&Page, Result<&[u8]>) -> Result<()>,
    ) -> Result<()> {
        let mut pages = leaf.pages.get(pages).unwrap_or_default();
        while let Some(first) = pages.first() {
            let mut count = 1;
            let mut bytes = first.bytes;
            while let Some(next) = pages.get(count)
                && next.offset == first.offset + bytes as u64
                && bytes + next.bytes <= RUN_BYTES
            {
                bytes += next.bytes;
                count += 1;
            }
            if scratch.len() < bytes {
                scratch.resize(bytes, 0);
            }
            let (run, rest) = pages.split_at(count);
            pages = rest;
            read_at(&self.file, &mut scratch[..bytes], first.offset).map_err(Error::io("read", &self.path))?;
            for page in run {
                let at = (page.offset - first.offset) as usize;
                let bytes = &scratch[at..at + page.bytes];
                use_page(page, self.check_page(leaf, page, bytes).map(|()| bytes))?;
            }
        }
        Ok(())
    }

    fn check_page(&self, leaf: &Leaf, page: &Page, bytes: &[u8]) -> Result<()> {
        let computed = xxh3_64(bytes);
        if computed == page.xxh3 {
            return Ok(());
        }
        check(&self.path, &format!("column {}", leaf.path), &hex64(page.xxh3), computed)
    }
}

/// Parses a footer with its offset index.
fn parse(tail: Tail) -> parquet::errors::Result<ParquetMetaData> {
    let reader = ParquetMetaDataReader::new()
        .with_offset_index_policy(PageIndexPolicy::Required)
        .with_column_index_policy(PageIndexPolicy::Skip);
    reader.parse_and_finish(&tail)
}

/// Checks the version in a file's metadata.
pub(crate) fn accept(path: &Path, version: SchemaVersion, metadata: &ArrowReaderMetadata) -> Result<()> {
    let found = metadata.schema().metadata().get(SCHEMA_KEY).cloned().unwrap_or_default();
    version.accept(&found).map_err(|source| Error::Schema { path: path.to_owned(), source })
}

fn check(path: &Path, what: &str, expected: &str, computed: u64) -> Result<()> {
    let found = hex64(computed);
    if found == expected {
        return Ok(());
    }
    Err(Error::Damaged { path: path.to_owned(), what: what.to_owned(), expected: expected.to_owned(), found })
}

/// Fills `bytes` from a place in a file, whatever other threads read of it meanwhile.
#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => {
                bytes = &mut bytes[read..];
                offset += read as u64;
            }
        }
    }
    Ok(())
}

/// The checked end of a file, for the parser of footers.
struct Tail {
    from: u64,
    bytes: Bytes,
}

impl Length for Tail {
    fn len(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }
}

impl ChunkReader for Tail {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        let length = self.len().saturating_sub(start);
        Ok(self.get_bytes(start, length as usize)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let from = start.checked_sub(self.from).map(|from| from as usize);
        let range = from.map(|from| from..from.saturating_add(length)).filter(|range| range.end <= self.bytes.len());
        let unchecked = || ParquetError::General(format!("byte {start} was not checked"));
        range.map(|range| self.bytes.slice(range)).ok_or_else(unchecked)
    }
}

/// A table's pages for the Parquet reader: each is checked when it is asked for.
pub(crate) struct CheckedPages {
    table: Arc<Table>,
    /// (leaf, page) in file order.
    pages: Arc<Vec<(usize, usize)>>,
    found: Arc<Found>,
}

/// Where [`CheckedPages`] leaves what it found, which an error of the Parquet reader would hold as a text only.
#[derive(Default)]
pub(crate) struct Found {
    damage: Mutex<Option<Error>>,
    read_bytes: AtomicU64,
}

impl Found {
    pub(crate) fn take(&self) -> Option<Error> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Bytes of the pages read.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }
}

impl CheckedPages {
    pub(crate) fn new(table: Arc<Table>) -> (Self, Arc<Found>) {
        let of_leaf =
            |(at, leaf): (usize, &Leaf)| (0..leaf.pages.len()).map(move |page| (at, page)).collect::<Vec<_>>();
        let mut pages: Vec<(usize, usize)> = table.leaves.iter().enumerate().flat_map(of_leaf).collect();
        pages.sort_by_key(|(leaf, page)| table.leaves[*leaf].pages[*page].offset);
        let found = Arc::new(Found::default());
        (Self { table, pages: Arc::new(pages), found: found.clone() }, found)
    }

    /// The bytes from `start` to at least `end`, of whole pages, and where they begin.
    fn read(&self, start: u64, end: u64) -> Result<(u64, Vec<u8>)> {
        let mut read = Vec::new();
        let mut begins = start;
        let mut scratch = Vec::new();
        let page = |(leaf, page): (usize, usize)| &self.table.leaves[leaf].pages[page];
        let first = self.pages.partition_point(|at| page(*at).end() <= start);
        for at in self.pages[first..].iter().take_while(|at| page(**at).offset < end) {
            if read.is_empty() {
                begins = page(*at).offset;
            }
            let leaf = &self.table.leaves[at.0];
            self.table.read_pages(leaf, at.1..at.1 + 1, &mut scratch, |_, bytes| {
                read.extend_from_slice(bytes?);
                Ok(())
            })?;
        }
        self.found.read_bytes.fetch_add(read.len() as u64, Ordering::Relaxed);
        Ok((begins, read))
    }

    fn checked(&self, start: u64, length: Option<usize>) -> parquet::errors::Result<Bytes> {
        let end = start + length.map_or(1, |length| length as u64);
        let (begins, bytes) = self.read(start, end).map_err(|error| {
            let words = ParquetError::General(error.to_string());
            *self.found.damage.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            words
        })?;
        let from = start.saturating_sub(begins) as usize;
        let to = length.map_or(bytes.len(), |length| from + length);
        if start < begins || to > bytes.len() || from > to {
            return Err(ParquetError::General(format!("byte {start} is in no page")));
        }
        Ok(Bytes::from(bytes).slice(from..to))
    }
}

impl Length for CheckedPages {
    fn len(&self) -> u64 {
        self.table.length
    }
}

impl ChunkReader for CheckedPages {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(self.checked(start, None)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.checked(start, Some(length))
    }
}
