//! The members of an archive: headers with their extensions, content skipped unless asked for.
//!
//! The headers are decoded by the `tar` crate. Its own way through an archive is not used: it reads a long name whole,
//! however long it claims to be.

use tar::{EntryType, Header};

use super::stream::{Fault, Stream};

const BLOCK_BYTES: u64 = 512;
/// Longest name or list of PAX records. Linux has paths of 4,096 bytes.
const LONGEST_EXTENSION_BYTES: u64 = 1 << 20;
/// What may follow the end mark of a packed archive; it is read so that the packing's own checksum is.
const LONGEST_END_BYTES: u64 = 16 << 20;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Sparse,
    /// A link, a device, or something that only its writer knows; in words.
    Other(&'static str),
}

/// A member whose content is not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// As stored: it may be anything.
    pub name: Vec<u8>,
    pub kind: Kind,
    /// Length of its content.
    pub bytes: u64,
    /// Where its content begins in the unpacked archive.
    pub start: u64,
}

/// An archive on the way from its first member to its last.
pub(crate) struct Members {
    stream: Stream,
    /// Content of the present member that is not read.
    content: u64,
    /// Bytes that fill its last block.
    padding: u64,
    ended: bool,
}

/// What extension headers say about the member behind them.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    bytes: Option<u64>,
    sparse: bool,
}

impl Members {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, content: 0, padding: 0, ended: false }
    }

    /// Whether content may be read by offset.
    pub(crate) fn is_plain(&self) -> bool {
        self.stream.is_plain()
    }

    /// The next member. After a fault there is none.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, Fault> {
        if self.ended {
            return Ok(None);
        }
        let next = self.read_next();
        self.ended = !matches!(next, Ok(Some(_)));
        next
    }

    fn read_next(&mut self) -> Result<Option<Member>, Fault> {
        self.leave()?;
        let mut extensions = Extensions::default();
        loop {
            let offset = self.stream.position();
            let Some(header) = self.header()? else { return self.finish() };
            let bytes = header.entry_size().map_err(|error| {
                Fault::broken(offset, format!("expected the size of a member, found a header that has none: {error}"))
            })?;
            match header.entry_type() {
                EntryType::GNULongName => {
                    let mut name = self.extension(offset, bytes)?;
                    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                    extensions.name = Some(name);
                }
                EntryType::XHeader => {
                    let records = self.extension(offset, bytes)?;
                    extensions.read(&records).map_err(|message| Fault::broken(offset, message))?;
                }
                // Targets of links, and comments on the archive.
                EntryType::GNULongLink | EntryType::XGlobalHeader => {
                    self.enter(offset, bytes)?;
                    self.leave()?;
                }
                kind => return self.member(offset, &header, kind, bytes, extensions).map(Some),
            }
        }
    }

    /// Reads the content of the present member; the caller has seen how long it is.
    pub(crate) fn content(&mut self) -> Result<Vec<u8>, Fault> {
        let wanted = self.content;
        let content = self.stream.take(wanted)?;
        self.content -= content.len() as u64;
        if self.content > 0 {
            return Err(self.cut(wanted, content.len() as u64));
        }
        Ok(content)
    }

    fn member(
        &mut self,
        offset: u64,
        header: &Header,
        kind: EntryType,
        bytes: u64,
        extensions: Extensions,
    ) -> Result<Member, Fault> {
        let name = extensions.name.unwrap_or_else(|| header.path_bytes().into_owned());
        let bytes = extensions.bytes.unwrap_or(bytes);
        let kind = match kind {
            _ if extensions.sparse => Kind::Sparse,
            // Before there was a type for folders, they were files whose name ends so.
            EntryType::Regular if name.ends_with(b"/") => Kind::Folder,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Directory => Kind::Folder,
            EntryType::GNUSparse => Kind::Sparse,
            EntryType::Symlink => Kind::Other("a symbolic link"),
            EntryType::Link => Kind::Other("a hard link"),
            EntryType::Char | EntryType::Block => Kind::Other("a device"),
            EntryType::Fifo => Kind::Other("a pipe"),
            _ => Kind::Other("of a type that is not known"),
        };
        if header.entry_type() == EntryType::GNUSparse {
            self.skip_sparse_maps(header)?;
        }
        // These have no content, whatever their size field says of their target.
        let empty = matches!(
            header.entry_type(),
            EntryType::Symlink
                | EntryType::Link
                | EntryType::Char
                | EntryType::Block
                | EntryType::Fifo
                | EntryType::Directory
        );
        let bytes = if empty { 0 } else { bytes };
        self.enter(offset, bytes)?;
        Ok(Member { name, kind, bytes, start: self.stream.position() })
    }

    /// The next header; none at the end mark.
    fn header(&mut self) -> Result<Option<Header>, Fault> {
        let offset = self.stream.position();
        let mut block = [0; BLOCK_BYTES as usize];
        let read = self.stream.fill(&mut block)?;
        if read < block.len() {
            let end = if read == 0 { "it ends".to_owned() } else { format!("it ends after {read} bytes of one") };
            return Err(Fault::broken(offset, format!("expected a header or the end mark of the archive, but {end}")));
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(&block);
        let stored = header.cksum().ok();
        if !checksums(&block).map(Some).contains(&stored) {
            let [sum, _] = checksums(&block);
            let stored = stored.map_or_else(|| "none".to_owned(), |stored| stored.to_string());
            let message = format!("expected a header with the checksum {sum}, found {stored}: no tar, or damaged");
            return Err(Fault::broken(offset, message));
        }
        Ok(Some(header))
    }

    /// Reads the content of an extension header.
    fn extension(&mut self, offset: u64, bytes: u64) -> Result<Vec<u8>, Fault> {
        if bytes > LONGEST_EXTENSION_BYTES {
            let message = format!("a header extends over {bytes} bytes, expected {LONGEST_EXTENSION_BYTES} at most");
            return Err(Fault::broken(offset, message));
        }
        self.enter(offset, bytes)?;
        let content = self.content()?;
        self.leave()?;
        Ok(content)
    }

    /// The maps of an old GNU sparse member lie between its header and its content.
    fn skip_sparse_maps(&mut self, header: &Header) -> Result<(), Fault> {
        const IS_EXTENDED_IN_HEADER: usize = 482;
        const IS_EXTENDED_IN_MAP: usize = 504;
        let mut more = header.as_bytes()[IS_EXTENDED_IN_HEADER] != 0;
        while more {
            let offset = self.stream.position();
            let mut map = [0; BLOCK_BYTES as usize];
            if self.stream.fill(&mut map)? < map.len() {
                return Err(Fault::broken(offset, "expected the map of a sparse member, but it ends".to_owned()));
            }
            more = map[IS_EXTENDED_IN_MAP] != 0;
        }
        Ok(())
    }

    /// Begins content of so many bytes.
    fn enter(&mut self, offset: u64, bytes: u64) -> Result<(), Fault> {
        if self.stream.ends_within(bytes) || bytes > i64::MAX as u64 {
            let message = format!("the member here has {bytes} bytes, but the archive ends before");
            return Err(Fault::broken(offset, message));
        }
        self.content = bytes;
        self.padding = bytes.next_multiple_of(BLOCK_BYTES) - bytes;
        Ok(())
    }

    /// Skips what is left of the present member.
    fn leave(&mut self) -> Result<(), Fault> {
        let skipped = self.stream.skip(self.content)?;
        if skipped < self.content {
            return Err(self.cut(self.content, skipped));
        }
        // The last block of an archive may be cut: nothing is lost with it.
        self.stream.skip(self.padding)?;
        (self.content, self.padding) = (0, 0);
        Ok(())
    }

    fn cut(&self, expected: u64, found: u64) -> Fault {
        let message = format!("expected {expected} bytes of a member, but the archive ends after {found}");
        Fault::broken(self.stream.position(), message)
    }

    /// Reads on to where the packing's own checksum is.
    fn finish(&mut self) -> Result<Option<Member>, Fault> {
        if !self.stream.is_plain() {
            self.stream.skip(LONGEST_END_BYTES)?;
        }
        Ok(None)
    }
}

impl Extensions {
    /// PAX records, `LENGTH KEY=VALUE\n` each; a length counts all of its record.
    fn read(&mut self, records: &[u8]) -> Result<(), String> {
        let mut rest = records;
        // Some writers fill the block with zeros and count them.
        while rest.first().is_some_and(|byte| *byte != 0) {
            let bad =
                || format!("expected a PAX record, found {:?}", String::from_utf8_lossy(&rest[..rest.len().min(40)]));
            let space = rest.iter().take(20).position(|byte| *byte == b' ').ok_or_else(bad)?;
            let length: usize =
                std::str::from_utf8(&rest[..space]).ok().and_then(|digits| digits.parse().ok()).ok_or_else(bad)?;
            let record = rest.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(bad)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
                    self.bytes = Some(size.ok_or_else(bad)?);
                }
                key if key.starts_with(b"GNU.sparse.") => self.sparse = true,
                _ => {}
            }
            rest = &rest[length..];
        }
        Ok(())
    }
}

/// The checksum of a header, of its bytes without sign and, as some old writers have it, with one.
fn checksums(block: &[u8; BLOCK_BYTES as usize]) -> [u32; 2] {
    let counted = |at: usize, byte: u8| if (148..156).contains(&at) { b' ' } else { byte };
    let bytes = || block.iter().enumerate().map(|(at, byte)| counted(at, *byte));
    let signed: i32 = bytes().map(|byte| i32::from(byte as i8)).sum();
    [bytes().map(u32::from).sum(), signed.max(0) as u32]
}
