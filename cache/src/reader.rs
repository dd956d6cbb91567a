//! Reads rows of a source: any of them, by page ([`Reader::take`]), or all in a shuffled order ([`crate::Stream`]).

use std::sync::Arc;

use rayon::prelude::*;

use crate::open::OpenTables;
use crate::pages::{ColumnRows, PageReader, Plain};
use crate::table::Table;
use crate::{Error, Result, Rows, Source};

/// Files held open with their checked footers, unless told otherwise: about 10 KB each.
const OPEN_FILES: usize = 256;

/// Reads rows of a [`Source`]; every page is checked before it is used.
#[derive(Debug)]
pub struct Reader {
    source: Source,
    open: OpenTables,
}

/// Rows wanted of one page of one column.
struct Wanted {
    column: usize,
    shard: usize,
    page: usize,
    table: Arc<Table>,
    plain: Plain,
    /// Of the sorted places.
    places: std::ops::Range<usize>,
}

/// A row asked for: where it is, and which of the caller's it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    shard: usize,
    row: usize,
    asked: usize,
}

/// What one thread has read: bytes, and which (column, row asked for) they are.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    rows: Vec<(usize, usize, usize, usize)>,
}

impl Reader {
    /// Reads a source. Nothing is opened before it is needed.
    pub fn new(source: Source) -> Self {
        Self::with_open_files(source, OPEN_FILES)
    }

    /// As [`Reader::new`], with at most so many files open at a time, at least one.
    pub fn with_open_files(source: Source, most: usize) -> Self {
        Self { source, open: OpenTables::at_most(most) }
    }

    /// What it reads.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Reads any rows, in the order asked for; a row asked for twice comes twice. Only the pages that hold them are
    /// read, each once and in the order of the file.
    ///
    /// # Errors
    /// [`Error::Damaged`] and [`Error::Broken`] if a page or a file is not what was written; [`Error::Column`] if a row
    /// or a column is not there, or a column is not stored row by row. `into` then holds nothing of use.
    pub fn take(&self, rows: &[u64], into: &mut Rows) -> Result<()> {
        let columns = self.source.columns.len();
        into.clear(columns);
        let mut places = self.places(rows)?;
        places.sort_unstable();
        let wanted = self.wanted(&places)?;
        // Neighbouring pages stay together, and there are enough parts for threads to share.
        let each = wanted.len().div_ceil(rayon::current_num_threads() * 4).max(1);
        let pieces: Vec<Piece> =
            wanted.par_chunks(each).map(|wanted| read_piece(wanted, &places)).collect::<Result<_>>()?;
        let mut found = vec![(0, 0, 0); columns * rows.len()];
        for (at, piece) in pieces.iter().enumerate() {
            for (column, asked, from, to) in &piece.rows {
                found[column * rows.len() + asked] = (at, *from, *to);
            }
        }
        into.rows.extend_from_slice(rows);
        for (column, found) in into.columns.iter_mut().zip(found.chunks_exact(rows.len().max(1))) {
            column.bytes.reserve(found.iter().map(|(_, from, to)| to - from).sum());
            found.iter().for_each(|(piece, from, to)| column.push(&pieces[*piece].bytes[*from..*to]));
        }
        Ok(())
    }

    fn places(&self, rows: &[u64]) -> Result<Vec<Place>> {
        let place = |(asked, row): (usize, &u64)| {
            let (shard, row) = self.source.place(*row).ok_or_else(|| Error::Column {
                column: self.source.columns.join(", "),
                problem: format!("has {} rows, no row {row}", self.source.rows()),
            })?;
            Ok(Place { shard, row, asked })
        };
        rows.iter().enumerate().map(place).collect()
    }

    /// The pages that hold sorted places.
    fn wanted(&self, places: &[Place]) -> Result<Vec<Wanted>> {
        let mut shards: Vec<usize> = places.iter().map(|place| place.shard).collect();
        shards.dedup();
        let columns = 0..self.source.columns.len();
        let all: Vec<(usize, usize)> =
            columns.flat_map(|column| shards.iter().map(move |shard| (column, *shard))).collect();
        let found: Vec<Vec<Wanted>> = all
            .par_iter()
            .map(|(column, shard)| {
                let from = places.partition_point(|place| place.shard < *shard);
                let to = places.partition_point(|place| place.shard <= *shard);
                self.wanted_of(*column, *shard, places, from..to)
            })
            .collect::<Result<_>>()?;
        Ok(found.into_iter().flatten().collect())
    }

    fn wanted_of(
        &self,
        column: usize,
        shard: usize,
        places: &[Place],
        range: std::ops::Range<usize>,
    ) -> Result<Vec<Wanted>> {
        let (table, plain) = self.open_column(column, shard)?;
        let mut wanted: Vec<Wanted> = Vec::new();
        for at in range {
            let page = table.leaves()[plain.leaf].page_of(places[at].row).ok_or_else(|| Error::Broken {
                path: table.path().to_owned(),
                problem: format!("no page holds row {}", places[at].row),
            })?;
            match wanted.last_mut() {
                Some(last) if last.page == page => last.places.end = at + 1,
                _ => wanted.push(Wanted { column, shard, page, table: table.clone(), plain, places: at..at + 1 }),
            }
        }
        Ok(wanted)
    }

    /// The open file of a column of a shard.
    fn open_column(&self, column: usize, shard: usize) -> Result<(Arc<Table>, Plain)> {
        let file = &self.source.shards[shard].files[column];
        let table = self.open.get(&file.path, &file.file, file.version)?;
        let plain = Plain::of(&table, &self.source.columns[column])?;
        Ok((table, plain))
    }

    /// Reads all rows of a shard, column by column, into memory used before.
    pub(crate) fn read_shard(&self, shard: usize, pages: &mut PageReader, into: &mut Vec<ColumnRows>) -> Result<()> {
        into.resize_with(self.source.columns.len(), ColumnRows::default);
        for (column, rows) in into.iter_mut().enumerate() {
            rows.clear();
            let (table, plain) = self.open_column(column, shard)?;
            pages.append(&table, plain, 0..table.leaves()[plain.leaf].pages.len(), rows)?;
            if rows.rows() != self.source.shards[shard].rows {
                let expected = self.source.shards[shard].rows;
                let problem = format!("it holds {} rows, expected {expected}", rows.rows());
                return Err(Error::Broken { path: table.path().to_owned(), problem });
            }
        }
        Ok(())
    }
}

/// Reads pages and keeps the rows wanted of them.
fn read_piece(wanted: &[Wanted], places: &[Place]) -> Result<Piece> {
    let mut reader = PageReader::new()?;
    let mut page = ColumnRows::default();
    let mut piece = Piece::default();
    for wanted in wanted {
        page.clear();
        reader.append(&wanted.table, wanted.plain, wanted.page..wanted.page + 1, &mut page)?;
        let first = wanted.table.leaves()[wanted.plain.leaf].pages[wanted.page].rows.start;
        for place in &places[wanted.places.clone()] {
            debug_assert_eq!(place.shard, wanted.shard);
            let from = piece.bytes.len();
            piece.bytes.extend_from_slice(page.row(place.row - first));
            piece.rows.push((wanted.column, place.asked, from, piece.bytes.len()));
        }
    }
    Ok(piece)
}
