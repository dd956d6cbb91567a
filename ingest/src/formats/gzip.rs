//! Gzip, unpacked as far as a real file can go; and how far that is, for annotations packed otherwise.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

/// How a gzip file begins.
pub(crate) const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A file may unpack to so many bytes whatever its own size.
const ALWAYS_BYTES: u64 = 16 << 20;
/// And to so many times its own size: annotations shrink to a tenth, the most repetitive to a fiftieth. What shrinks
/// to a thousandth was made to fill a memory.
const MOST_TIMES: u64 = 200;

/// Unpacks a file of this size, all members one after another. It fails where a file unpacks to far more than any real
/// one.
pub(crate) fn unpack(packed: impl BufRead, packed_bytes: u64) -> impl Read {
    limited(MultiGzDecoder::new(packed), packed_bytes)
}

/// Passes on what so many bytes unpack to, and fails where that is far more than annotations do.
pub(crate) fn limited(unpacked: impl Read, packed_bytes: u64) -> impl Read {
    let most_bytes = ALWAYS_BYTES.max(packed_bytes.saturating_mul(MOST_TIMES));
    Limited { inner: unpacked, packed_bytes, most_bytes, read_bytes: 0 }
}

struct Limited<R> {
    inner: R,
    packed_bytes: u64,
    most_bytes: u64,
    read_bytes: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read_bytes += read as u64;
        if self.read_bytes > self.most_bytes {
            let Self { packed_bytes, most_bytes, .. } = self;
            let problem =
                format!("its {packed_bytes} bytes unpack to more than {most_bytes}, expected an annotation file");
            return Err(io::Error::other(problem));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(bytes: usize) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&vec![b' '; bytes]).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(packed: &[u8], claimed_bytes: u64) -> Result<u64, String> {
        io::copy(&mut unpack(packed, claimed_bytes), &mut io::sink()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_bomb_is_stopped_and_a_repetitive_file_is_not() {
        let bomb = packed((16 << 20) + 1);
        let message = unpacked(&bomb, bomb.len() as u64).unwrap_err();
        assert!(message.contains("unpack to more than 16777216"), "{message}");
        // The same of a larger file, and what any file may unpack to.
        assert_eq!(unpacked(&bomb, 1 << 20), Ok((16 << 20) + 1));
        let whole = packed(16 << 20);
        assert_eq!(unpacked(&whole, whole.len() as u64), Ok(16 << 20));
        assert_eq!(unpacked(&[packed(3), packed(4)].concat(), 1), Ok(7));
    }
}
