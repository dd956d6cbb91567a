//! A file of one record a line, read by line number: only where the lines lie is held in memory, so that a file of
//! gigabytes costs megabytes.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use retort_cache::Error as CacheError;

use crate::Result;
use crate::formats::gzip;
use crate::images::hash_digits;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A file taken apart into lines, none of them read yet. Line ends are LF or CRLF; empty lines are no records.
#[derive(Debug)]
pub(crate) struct Lines {
    pub path: PathBuf,
    /// File name and hash of the bytes as they lie on disk: what the file is, wherever it lies.
    pub fingerprint: serde_json::Value,
    /// The file itself, or an unpacked copy that has no name and goes with the process.
    text: File,
    /// First byte and length of each line that is not empty, and its number in the file from 1.
    spans: Vec<Span>,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u64,
    bytes: u32,
    number: u32,
}

impl Lines {
    /// Opens a file, plain or gzip.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::open_each(path, |_| {})
    }

    /// Opens a file and shows each line that is not empty, in order.
    pub(crate) fn open_each(path: &Path, each: impl FnMut(&[u8])) -> Result<Self> {
        let (text, fingerprint, spans) = open_text(path, |text| spans(path, BufReader::new(text), each))?;
        Ok(Self { path: path.to_owned(), fingerprint, text, spans })
    }

    /// What a file of these bytes holds.
    pub(crate) fn from_bytes(path: &Path, bytes: &[u8], each: impl FnMut(&[u8])) -> Result<Self> {
        let packed_bytes = bytes.len() as u64;
        let (text, fingerprint) = match bytes.starts_with(&gzip::MAGIC) {
            true => unpacked(path, bytes, |raw| Box::new(gzip::unpack(raw, packed_bytes)))?,
            false => unpacked(path, bytes, |raw| Box::new(raw))?,
        };
        let spans = spans(path, BufReader::new(&text), each)?;
        Ok(Self { path: path.to_owned(), fingerprint, text, spans })
    }

    /// Unpacks a stream into a file without a name. `raw` is hashed as it lies.
    pub(crate) fn unpack<R: Read>(
        path: &Path,
        raw: R,
        decoder: impl for<'r> FnOnce(BufReader<Hashed<'r, R>>) -> Box<dyn Read + 'r>,
    ) -> Result<Self> {
        let (text, fingerprint) = unpacked(path, raw, decoder)?;
        let spans = spans(path, BufReader::new(&text), |_| {})?;
        Ok(Self { path: path.to_owned(), fingerprint, text, spans })
    }

    /// How many lines there are.
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// The number of a line in the file, from 1.
    pub(crate) fn number(&self, line: usize) -> u32 {
        self.spans.get(line).map_or(0, |span| span.number)
    }

    /// The bytes of a line without its end.
    pub(crate) fn read(&self, line: usize) -> Result<Vec<u8>> {
        let Some(span) = self.spans.get(line) else { return Ok(Vec::new()) };
        let mut bytes = vec![0; span.bytes as usize];
        self.text.read_exact_at(&mut bytes, span.start).map_err(CacheError::io("read", &self.path))?;
        Ok(bytes)
    }
}

/// Unpacks a stream into a file without a name, rewound.
fn unpacked<R: Read>(
    path: &Path,
    mut raw: R,
    decoder: impl for<'r> FnOnce(BufReader<Hashed<'r, R>>) -> Box<dyn Read + 'r>,
) -> Result<(File, serde_json::Value)> {
    let mut hasher = blake3::Hasher::new();
    let mut text = tempfile::tempfile().map_err(CacheError::io("unpack", path))?;
    let mut unpacked = decoder(BufReader::new(Hashed { inner: &mut raw, hasher: &mut hasher }));
    std::io::copy(&mut unpacked, &mut text).map_err(CacheError::io("unpack", path))?;
    drop(unpacked);
    text.flush().and_then(|()| text.seek(SeekFrom::Start(0))).map_err(CacheError::io("unpack", path))?;
    Ok((text, fingerprint(path, &hasher)))
}

/// Opens a file, plain or gzip, and reads its text through once: the text, to be read at any place from now on, what
/// the file is, and what was found on the way.
pub(crate) fn open_text<T>(
    path: &Path,
    read_through: impl FnOnce(&mut dyn Read) -> Result<T>,
) -> Result<(File, serde_json::Value, T)> {
    let mut file = File::open(path).map_err(CacheError::io("read", path))?;
    let mut magic = Vec::new();
    (&file).take(2).read_to_end(&mut magic).map_err(CacheError::io("read", path))?;
    file.seek(SeekFrom::Start(0)).map_err(CacheError::io("read", path))?;
    if magic == gzip::MAGIC {
        let packed_bytes = file.metadata().map_err(CacheError::io("read", path))?.len();
        let (text, fingerprint) = unpacked(path, file, |raw| Box::new(gzip::unpack(raw, packed_bytes)))?;
        let found = read_through(&mut &text)?;
        return Ok((text, fingerprint, found));
    }
    let mut hasher = blake3::Hasher::new();
    let mut hashed = Hashed { inner: &mut file, hasher: &mut hasher };
    let found = read_through(&mut hashed)?;
    // The fingerprint is of all of it, however much was of interest.
    std::io::copy(&mut hashed, &mut std::io::sink()).map_err(CacheError::io("read", path))?;
    Ok((file, fingerprint(path, &hasher), found))
}

fn fingerprint(path: &Path, hasher: &blake3::Hasher) -> serde_json::Value {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    serde_json::json!({ "name": name, "blake3": hash_digits(&hasher.finalize()) })
}

fn spans(path: &Path, mut text: impl BufRead, mut each: impl FnMut(&[u8])) -> Result<Vec<Span>> {
    let mut spans = Vec::new();
    let (mut start, mut number, mut line) = (0, 0, Vec::new());
    loop {
        line.clear();
        // A line that never ends would be held whole: as long as a record may be, and one byte more to notice.
        let limit = (LONGEST_LINE_BYTES + 1) as u64;
        let read = text.by_ref().take(limit).read_until(b'\n', &mut line).map_err(CacheError::io("read", path))?;
        if read == 0 {
            return Ok(spans);
        }
        if read > LONGEST_LINE_BYTES {
            let problem =
                format!("line {} has more than {LONGEST_LINE_BYTES} bytes: it is no file of lines", number + 1);
            return Err(CacheError::Broken { path: path.to_owned(), problem }.into());
        }
        number += 1;
        let mark = if start == 0 && line.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let content = line[mark..].trim_ascii_end();
        if !content.is_empty() {
            each(content);
            spans.push(Span { start: start + mark as u64, bytes: content.len() as u32, number });
        }
        start += read as u64;
    }
}

/// Longest line: a record of VCR has some thousand bytes.
const LONGEST_LINE_BYTES: usize = 64 << 20;

/// Passes bytes on and hashes them.
pub(crate) struct Hashed<'a, R> {
    inner: &'a mut R,
    hasher: &'a mut blake3::Hasher,
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn lines_of(bytes: &[u8]) -> (Vec<(u32, String)>, serde_json::Value) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.jsonl");
        std::fs::write(&path, bytes).unwrap();
        let lines = Lines::open(&path).unwrap();
        let read = |line| (lines.number(line), String::from_utf8(lines.read(line).unwrap()).unwrap());
        ((0..lines.len()).map(read).collect(), lines.fingerprint.clone())
    }

    #[test]
    fn marks_carriage_returns_and_empty_lines_are_no_content() {
        let text = b"\xef\xbb\xbf{\"a\": 1}\r\n\n  \n{\"b\": 2}\n{\"c\": 3}";
        let expected = [(1, r#"{"a": 1}"#), (4, r#"{"b": 2}"#), (5, r#"{"c": 3}"#)];
        let expected: Vec<_> = expected.iter().map(|(number, text)| (*number, (*text).to_owned())).collect();
        let (plain, fingerprint) = lines_of(text);
        assert_eq!(plain, expected);
        assert_eq!(fingerprint["blake3"], blake3::hash(text).to_hex()[..32]);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(text).unwrap();
        let packed = gzip.finish().unwrap();
        let (unpacked, fingerprint) = lines_of(&packed);
        assert_eq!(unpacked, expected);
        assert_eq!(fingerprint["blake3"], blake3::hash(&packed).to_hex()[..32]);
        assert_eq!(lines_of(b"").0, []);
    }
}
