//! The bytes of an archive in order, with bounds on what packed ones may grow to.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use super::Archive;
use crate::rejects::Code;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A packed archive may unpack to this much whatever its size, and then to [`MOST_GROWTH`] times what was read of it.
/// Encoded images hardly shrink, raw ones of flat colour a hundredfold: what grows more is made to fill memory or time.
const FREE_BYTES: u64 = 256 << 20;
const MOST_GROWTH: u64 = 200;

/// Skipping and reading go by pieces of this size.
const PIECE_BYTES: u64 = 64 << 10;

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    pub(super) fn of(path: &Path) -> std::io::Result<Self> {
        let mut start = Vec::new();
        File::open(path)?.take(4).read_to_end(&mut start)?;
        Ok(if start.starts_with(&GZIP_MAGIC) {
            Self::Gzip
        } else if start == ZSTD_MAGIC {
            Self::Zstd
        } else {
            Self::Plain
        })
    }
}

/// Why an archive cannot be read further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The reason code.
    pub code: Code,
    /// Where, in the unpacked archive.
    pub offset: u64,
    /// What was expected, and what was found.
    pub message: String,
}

impl Fault {
    pub(crate) fn broken(offset: u64, message: String) -> Self {
        Self { code: Code::ArchiveBroken, offset, message }
    }
}

/// An archive being read.
pub(crate) struct Stream {
    bytes: Bytes,
    position: u64,
}

enum Bytes {
    Plain { file: File, length: u64 },
    Packed { unpacked: Box<dyn Read + Send>, packed_bytes: Arc<AtomicU64> },
}

impl Stream {
    pub(super) fn open(archive: &Archive) -> std::io::Result<Self> {
        let file = File::open(&archive.path)?;
        let packed_bytes = Arc::new(AtomicU64::new(0));
        let counted = |file| BufReader::new(Counted { file, bytes: packed_bytes.clone() });
        let bytes = match archive.packing {
            Packing::Plain => Bytes::Plain { length: file.metadata()?.len(), file },
            Packing::Gzip => Bytes::Packed { unpacked: Box::new(MultiGzDecoder::new(counted(file))), packed_bytes },
            // It refuses windows of more than 128 MiB.
            Packing::Zstd => {
                let decoder = zstd::Decoder::with_buffer(counted(file))?;
                Bytes::Packed { unpacked: Box::new(decoder), packed_bytes }
            }
        };
        Ok(Self { bytes, position: 0 })
    }

    /// Offset in the unpacked archive.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Whether it is read by offset.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.bytes, Bytes::Plain { .. })
    }

    /// Whether it is known already that so many bytes from here on are not there.
    pub(super) fn ends_within(&self, bytes: u64) -> bool {
        match &self.bytes {
            Bytes::Plain { length, .. } => self.position.checked_add(bytes).is_none_or(|end| end > *length),
            Bytes::Packed { .. } => false,
        }
    }

    /// Fills the buffer; fewer bytes than it holds are all that are left.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        let mut filled = 0;
        while filled < buffer.len() {
            let read = match &mut self.bytes {
                Bytes::Plain { file, .. } => file.read_at(&mut buffer[filled..], self.position),
                Bytes::Packed { unpacked, .. } => unpacked.read(&mut buffer[filled..]),
            };
            match read {
                Ok(0) => break,
                Ok(read) => {
                    filled += read;
                    self.position += read as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::broken(self.position, format!("it cannot be read on: {error}"))),
            }
        }
        self.check_growth()?;
        Ok(filled)
    }

    /// Goes on by so many bytes, or fewer if that is all that are left; says by how many.
    pub(super) fn skip(&mut self, bytes: u64) -> Result<u64, Fault> {
        if let Bytes::Plain { length, .. } = &self.bytes {
            let skipped = bytes.min(length.saturating_sub(self.position));
            self.position += skipped;
            return Ok(skipped);
        }
        let mut piece = vec![0; PIECE_BYTES as usize];
        let mut skipped = 0;
        while skipped < bytes {
            let wanted = PIECE_BYTES.min(bytes - skipped);
            let read = self.fill(&mut piece[..wanted as usize])? as u64;
            skipped += read;
            if read < wanted {
                break;
            }
        }
        Ok(skipped)
    }

    /// Reads so many bytes, or all that are left. Memory grows with what is there, not with what is asked for.
    pub(super) fn take(&mut self, bytes: u64) -> Result<Vec<u8>, Fault> {
        let mut taken = Vec::new();
        while (taken.len() as u64) < bytes {
            let start = taken.len();
            // As much again as was there: a few large reads for a large member.
            let wanted = PIECE_BYTES.max(start as u64).min(bytes - start as u64) as usize;
            taken.resize(start + wanted, 0);
            let read = self.fill(&mut taken[start..])?;
            if read < wanted {
                taken.truncate(start + read);
                break;
            }
        }
        Ok(taken)
    }

    fn check_growth(&self) -> Result<(), Fault> {
        let Bytes::Packed { packed_bytes, .. } = &self.bytes else { return Ok(()) };
        let packed = packed_bytes.load(Ordering::Relaxed);
        if self.position <= FREE_BYTES.saturating_add(packed.saturating_mul(MOST_GROWTH)) {
            return Ok(());
        }
        let message = format!(
            "{packed} packed bytes have grown to {}, expected {MOST_GROWTH} times as many at most",
            self.position
        );
        Err(Fault { code: Code::ArchiveBomb, offset: self.position, message })
    }
}

/// Counts what is read of a file.
struct Counted {
    file: File,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
