//! A table of text, CSV or TSV, read by row number: only where the rows lie is held in memory.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use csv::{ByteRecord, ReaderBuilder};
use retort_cache::Error as CacheError;

use crate::Result;
use crate::formats::lines::open_text;
use crate::rejects::Code;

/// Bytes that may divide columns, in the order in which they are looked for.
const DELIMITERS: [u8; 4] = *b"\t,|;";

/// A table taken apart into rows, none of them read yet. Cells may be quoted and then hold delimiters, doubled quotes
/// and line ends; rows end in LF or CRLF.
#[derive(Debug)]
pub(crate) struct Delimited {
    pub path: PathBuf,
    /// File name and hash of the bytes as they lie on disk: what the file is, wherever it lies.
    pub fingerprint: serde_json::Value,
    /// Names of the columns, as the first row says or the caller.
    pub columns: Vec<String>,
    text: File,
    syntax: Syntax,
    /// First byte of each row, and where the last ends.
    starts: Vec<u64>,
    /// Line at the first byte of each row, from 1: empty lines and the LF of a CRLF before it may come first.
    lines: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Syntax {
    delimiter: u8,
    quoted: bool,
}

/// The names of the columns.
pub(crate) struct Header {
    pub columns: Vec<String>,
    /// Whether the first row says them; else it is a record.
    pub is_first_row: bool,
}

/// A row that has other cells than the columns ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadRow {
    pub code: Code,
    pub message: String,
}

impl Delimited {
    /// Opens a table, plain or gzip. Where no delimiter is given, it is the one that makes the most columns of the
    /// first row. `header` is given the first row and the delimiter, and says the names of the columns.
    ///
    /// A TSV in which a quote swallows line ends and tabs was written without quoting, and is read so.
    pub(crate) fn open(
        path: &Path,
        delimiter: Option<u8>,
        header: impl FnOnce(Vec<String>, u8) -> Result<Header>,
    ) -> Result<Self> {
        let delimiter = match delimiter {
            Some(delimiter) => delimiter,
            None => delimiter_of(&first_line(path)?),
        };
        let mut scan = Scan::read(path, Syntax { delimiter, quoted: true })?;
        if scan.swallows_rows {
            scan = Scan::read(path, Syntax { delimiter, quoted: false })?;
        }
        let Scan { text, fingerprint, syntax, mut starts, mut lines, first, .. } = scan;
        let header = header(first, delimiter)?;
        if header.is_first_row && !lines.is_empty() {
            starts.remove(0);
            lines.remove(0);
        }
        Ok(Self { path: path.to_owned(), fingerprint, columns: header.columns, text, syntax, starts, lines })
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The line of a row in the file, from 1.
    pub(crate) fn line(&self, row: usize) -> u32 {
        let line = self.lines.get(row).copied().unwrap_or_default();
        self.bytes(row).map_or(line, |bytes| line + lines_before(&bytes))
    }

    /// The cells of a row, one a column.
    pub(crate) fn read(&self, row: usize) -> Result<Result<Vec<String>, BadRow>> {
        let bytes = self.bytes(row)?;
        let mut record = ByteRecord::new();
        let mut reader = self.syntax.reader(bytes.as_slice());
        reader.read_byte_record(&mut record).map_err(|error| unreadable(&self.path, error))?;
        let line = self.lines.get(row).copied().unwrap_or_default() + lines_before(&bytes);
        Ok(self.check(&record, &bytes, line))
    }

    fn bytes(&self, row: usize) -> Result<Vec<u8>> {
        let (Some(start), Some(end)) = (self.starts.get(row), self.starts.get(row + 1)) else {
            return Ok(Vec::new());
        };
        let mut bytes = vec![0; (end - start) as usize];
        self.text.read_exact_at(&mut bytes, *start).map_err(CacheError::io("read", &self.path))?;
        Ok(bytes)
    }

    fn check(&self, record: &ByteRecord, bytes: &[u8], line: u32) -> Result<Vec<String>, BadRow> {
        let bad = |code, message| Err(BadRow { code, message });
        let text = bytes.trim_ascii();
        let line_ends = count(text, b'\n');
        if self.syntax.quoted && line_ends > 0 && count(text, b'"') % 2 == 1 {
            let last = u64::from(line) + line_ends as u64;
            return bad(Code::UnclosedQuote, format!("a quote is not closed from line {line} to line {last}"));
        }
        let (expected, found) = (self.columns.len(), record.len());
        if found != expected {
            let columns = self.columns.join(", ");
            let message = format!("the row has {found} columns, expected {expected}: {columns}");
            return bad(Code::WrongColumnCount, message);
        }
        let mut cells = Vec::with_capacity(found);
        for (cell, column) in record.iter().zip(&self.columns) {
            match std::str::from_utf8(cell) {
                Ok(cell) => cells.push(cell.to_owned()),
                Err(error) => {
                    let message = format!("column {column} is not UTF-8 from byte {} on", error.valid_up_to());
                    return bad(Code::BadRecord, message);
                }
            }
        }
        Ok(cells)
    }
}

impl Syntax {
    fn reader<R: Read>(self, text: R) -> csv::Reader<R> {
        // Another number of columns is the fault of that row alone.
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).delimiter(self.delimiter).quoting(self.quoted);
        builder.from_reader(text)
    }
}

/// What reading a table through once tells.
struct Scan {
    text: File,
    fingerprint: serde_json::Value,
    syntax: Syntax,
    starts: Vec<u64>,
    lines: Vec<u32>,
    first: Vec<String>,
    /// A cell of a TSV holds line ends and tabs: rows of their own.
    swallows_rows: bool,
}

impl Scan {
    fn read(path: &Path, syntax: Syntax) -> Result<Self> {
        let (text, fingerprint, (starts, lines, first, swallows_rows)) = open_text(path, |text| {
            let (mut starts, mut lines, mut first, mut swallows_rows) = (Vec::new(), Vec::new(), Vec::new(), false);
            let mut reader = syntax.reader(text);
            let mut record = ByteRecord::new();
            while reader.read_byte_record(&mut record).map_err(|error| unreadable(path, error))? {
                let position = record.position();
                let start = position.map_or(0, csv::Position::byte);
                let line = position.map_or(1, csv::Position::line) as u32;
                if starts.is_empty() {
                    first = record.iter().map(|cell| String::from_utf8_lossy(cell).trim().to_owned()).collect();
                }
                swallows_rows |= syntax.quoted
                    && syntax.delimiter == b'\t'
                    && record.iter().any(|cell| cell.contains(&b'\n') && cell.contains(&b'\t'));
                starts.push(start);
                lines.push(line);
            }
            starts.push(reader.position().byte());
            Ok((starts, lines, first, swallows_rows))
        })?;
        Ok(Self { text, fingerprint, syntax, starts, lines, first, swallows_rows })
    }
}

/// The delimiter that makes the most columns of a row.
fn delimiter_of(first_row: &[u8]) -> u8 {
    let most = DELIMITERS.iter().rev().max_by_key(|delimiter| count(first_row, **delimiter));
    most.copied().unwrap_or(b',')
}

fn first_line(path: &Path) -> Result<Vec<u8>> {
    let head = super::rows::head(path)?;
    Ok(head.trim_ascii_start().split(|byte| *byte == b'\n').next().unwrap_or_default().to_vec())
}

fn count(bytes: &[u8], wanted: u8) -> usize {
    bytes.iter().filter(|byte| **byte == wanted).count()
}

/// Line ends that lie before the first cell of a row: empty lines, and the LF of the CRLF before it.
fn lines_before(bytes: &[u8]) -> u32 {
    let cells = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    count(&bytes[..cells], b'\n') as u32
}

fn unreadable(path: &Path, error: csv::Error) -> crate::Error {
    let error = match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => std::io::Error::other(format!("{other:?}")),
    };
    CacheError::io("read", path)(error).into()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn open(bytes: &[u8]) -> (tempfile::TempDir, Delimited) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        std::fs::write(&path, bytes).unwrap();
        let header = |columns, _| Ok(Header { columns, is_first_row: true });
        let table = Delimited::open(&path, None, header).unwrap();
        (folder, table)
    }

    fn rows(table: &Delimited) -> Vec<(u32, Vec<String>)> {
        (0..table.len()).map(|row| (table.line(row), table.read(row).unwrap().unwrap())).collect()
    }

    #[test]
    fn quotes_hold_delimiters_quotes_and_line_ends() {
        let text = "\u{feff}image,caption\r\n\r\na.jpg,\"red, \"\"big\"\"\r\ncar\"\r\nb.jpg,\r\nc.jpg,5\" pipe";
        let row = |line, image: &str, caption: &str| (line, vec![image.to_owned(), caption.to_owned()]);
        let expected = [row(3, "a.jpg", "red, \"big\"\r\ncar"), row(5, "b.jpg", ""), row(6, "c.jpg", "5\" pipe")];
        let (_folder, table) = open(text.as_bytes());
        assert_eq!(table.columns, ["image", "caption"]);
        assert_eq!(rows(&table), expected);
        assert_eq!(table.fingerprint["blake3"], blake3::hash(text.as_bytes()).to_hex()[..32]);

        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(text.as_bytes()).unwrap();
        let (_folder, packed) = open(&gzip.finish().unwrap());
        assert_eq!(rows(&packed), expected);
    }

    #[test]
    fn the_delimiter_is_the_one_that_divides_the_first_row_most() {
        for (text, columns) in [
            ("a,b\n", &["a", "b"][..]),
            ("a\tb, c\td\n", &["a", "b, c", "d"]),
            ("image_name| comment_number| comment\n", &["image_name", "comment_number", "comment"]),
            ("a;b;c,d\n1,2,3,4,5,6\n", &["a", "b", "c,d"]),
            ("alone\n", &["alone"]),
            ("", &[]),
        ] {
            assert_eq!(open(text.as_bytes()).1.columns, columns, "{text:?}");
        }
    }

    #[test]
    fn a_tsv_written_without_quoting_is_read_so() {
        let (_folder, table) = open(b"image\tcaption\na\t\"Stop\nb\tsign\" it says\nc\tred\n");
        let cells: Vec<_> = rows(&table).into_iter().map(|(line, cells)| (line, cells.join(" "))).collect();
        let expected = [(2, "a \"Stop"), (3, "b sign\" it says"), (4, "c red")];
        assert_eq!(cells, expected.map(|(line, cells)| (line, cells.to_owned())));
        // A quoted line end alone is quoting.
        let (_folder, table) = open(b"image\tcaption\na\t\"Stop\nsign\"\n");
        assert_eq!(table.read(0).unwrap().unwrap(), ["a", "Stop\nsign"]);
    }

    #[test]
    fn a_bad_row_is_only_that_row() {
        let (_folder, table) = open(b"image,caption\na,b,c\nd\ne,\xff\nf,g\nh,\"i\nj,k\n");
        let read = |row| table.read(row).unwrap().map_err(|bad| (bad.code, bad.message));
        let message = |message: &str| message.to_owned();
        let wrong = Code::WrongColumnCount;
        assert_eq!(read(0).unwrap_err(), (wrong, message("the row has 3 columns, expected 2: image, caption")));
        assert_eq!(read(1).unwrap_err().0, wrong);
        assert_eq!(read(2).unwrap_err(), (Code::BadRecord, message("column caption is not UTF-8 from byte 0 on")));
        assert_eq!(read(3).unwrap(), ["f", "g"]);
        assert_eq!(read(4).unwrap_err(), (Code::UnclosedQuote, message("a quote is not closed from line 6 to line 7")));
        assert_eq!(table.len(), 5);
    }
}
