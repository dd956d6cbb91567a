//! Zip archives, read in place: any member at any time, from many threads at once, nothing ever written beside them.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ::zip::{CompressionMethod, ZipArchive};
use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use retort_cache::Error as CacheError;

use crate::formats::gzip;
use crate::images::{ContentId, LARGEST_FILE, content_id};
use crate::rejects::{Code, Stage};
use crate::source::{ImageStore, LostImage};
use crate::{Error, Result};

const ZIP_MAGIC: [u8; 4] = *b"PK\x03\x04";
/// What an archive without any member begins with.
const EMPTY_ZIP_MAGIC: [u8; 4] = *b"PK\x05\x06";
/// The part of a member's own header that is before its name.
const LOCAL_HEADER_BYTES: u64 = 30;
/// Members are read from disk in pieces of this size.
const READ_BYTES: usize = 64 << 10;

/// An archive, of which only where its members lie is held: some fifty bytes each.
#[derive(Debug)]
pub(crate) struct Zip {
    pub path: PathBuf,
    file: File,
    /// Ordered by key.
    members: Vec<Member>,
}

/// Where a member lies and what its archive says of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    /// Hash of its name.
    key: ContentId,
    header: u64,
    packed_bytes: u64,
    bytes: u64,
    crc: u32,
    method: Method,
}

#[derive(Debug, Clone, Copy)]
enum Method {
    Stored,
    Deflated,
    Encrypted,
    /// A method that is not read.
    Other(CompressionMethod),
}

impl Zip {
    /// Whether a file begins as an archive does.
    pub(crate) fn is_one(path: &Path) -> Result<bool> {
        let mut magic = Vec::new();
        let file = File::open(path).map_err(CacheError::io("read", path))?;
        file.take(4).read_to_end(&mut magic).map_err(CacheError::io("read", path))?;
        Ok(magic == ZIP_MAGIC || magic == EMPTY_ZIP_MAGIC)
    }

    /// Reads the directory of an archive. Of members with the same name, the last counts.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut members = Vec::new();
        each_member(path, |member, _| members.push(member))?;
        members.sort_unstable_by_key(|member| member.key);
        let file = File::open(path).map_err(CacheError::io("read", path))?;
        Ok(Self { path: path.to_owned(), file, members })
    }

    /// The names of the members, in the order of the archive.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        each_member(&self.path, |_, name| names.push(name.to_owned()))?;
        Ok(names)
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Member> {
        let key = content_id(name.as_bytes());
        let place = self.members.binary_search_by_key(&key, |member| member.key).ok()?;
        self.members.get(place)
    }

    /// The unpacked content of a member: an error, never more or other bytes than the archive declares.
    pub(crate) fn reader(&self, member: &Member) -> io::Result<MemberReader<'_>> {
        let mut header = [0; LOCAL_HEADER_BYTES as usize];
        self.file.read_exact_at(&mut header, member.header)?;
        if header[..4] != ZIP_MAGIC {
            return Err(io::Error::other("the archive is damaged: its directory points at no member"));
        }
        let length = |at: usize| u64::from(u16::from_le_bytes([header[at], header[at + 1]]));
        // The name and the extra field are as long as this header says: the directory has an extra field of its own.
        let at = member.header + LOCAL_HEADER_BYTES + length(26) + length(28);
        let packed = Stretch { file: &self.file, at, left: member.packed_bytes };
        let unpacked: Box<dyn Read + '_> = match member.method {
            Method::Stored => Box::new(packed),
            Method::Deflated => Box::new(DeflateDecoder::new(BufReader::with_capacity(READ_BYTES, packed))),
            Method::Encrypted => return Err(io::Error::other("it is encrypted, expected a plain member")),
            Method::Other(method) => {
                return Err(io::Error::other(format!("it is packed as {method}, expected stored or deflated")));
            }
        };
        Ok(MemberReader { unpacked, bytes: member.bytes, left: member.bytes, crc: Crc::new(), declared: member.crc })
    }

    /// The unpacked content of a member that holds annotations: an error where it is longer than those can be.
    pub(crate) fn annotation_reader(&self, member: &Member) -> io::Result<impl Read + '_> {
        // The directory may say anything, the file is only so long.
        let packed_bytes = member.packed_bytes.min(self.file.metadata()?.len());
        Ok(gzip::limited(self.reader(member)?, packed_bytes))
    }

    fn read_whole(&self, member: &Member) -> io::Result<Vec<u8>> {
        if member.bytes > LARGEST_FILE {
            let problem = format!("it has {} bytes, expected {LARGEST_FILE} at most", member.bytes);
            return Err(io::Error::other(problem));
        }
        let mut bytes = Vec::new();
        self.reader(member)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Goes through the directory of an archive, folders left out.
fn each_member(path: &Path, mut take: impl FnMut(Member, &str)) -> Result<()> {
    let broken = |error: &dyn std::fmt::Display| {
        Error::from(CacheError::Broken { path: path.to_owned(), problem: format!("it is no zip archive: {error}") })
    };
    let file = File::open(path).map_err(CacheError::io("read", path))?;
    let archive = ZipArchive::new(BufReader::with_capacity(READ_BYTES, file)).map_err(|error| broken(&error))?;
    for index in 0..archive.len() {
        let entry = archive.by_index_data(index).map_err(|error| broken(&error))?;
        let name = entry.name().map_err(|error| broken(&error))?;
        if name.ends_with('/') {
            continue;
        }
        let method = match (entry.encrypted(), entry.compression()) {
            (true, _) => Method::Encrypted,
            (false, CompressionMethod::Stored) => Method::Stored,
            (false, CompressionMethod::DEFLATE) => Method::Deflated,
            (false, other) => Method::Other(other),
        };
        let member = Member {
            key: content_id(name.as_bytes()),
            header: entry.header_start(),
            packed_bytes: entry.compressed_size(),
            bytes: entry.size(),
            crc: entry.crc32(),
            method,
        };
        take(member, &name);
    }
    Ok(())
}

/// A stretch of a file, read without a position of its own in it: many threads share the file.
struct Stretch<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Stretch<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// A member on its way out of the archive.
pub(crate) struct MemberReader<'a> {
    unpacked: Box<dyn Read + 'a>,
    bytes: u64,
    left: u64,
    crc: Crc,
    declared: u32,
}

impl Read for MemberReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.unpacked.read(buffer)?;
        let Some(left) = self.left.checked_sub(read as u64) else {
            let problem = format!("it unpacks to more than the {} bytes that the archive declares", self.bytes);
            return Err(io::Error::other(problem));
        };
        self.left = left;
        self.crc.update(&buffer[..read]);
        if read == 0 && left > 0 {
            let problem = format!("it ends after {} of {} bytes", self.bytes - left, self.bytes);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
        }
        if read == 0 && self.crc.sum() != self.declared {
            return Err(io::Error::other("its bytes do not match the checksum of the archive"));
        }
        Ok(read)
    }
}

/// Images in an archive, by their path in a folder of it or, where that has no such member, in the archive.
#[derive(Debug)]
pub(crate) struct ImageZip {
    zip: Zip,
    /// Empty, or with a slash at its end.
    folder: &'static str,
}

impl ImageZip {
    pub(crate) fn open(path: &Path, folder: &'static str) -> Result<Self> {
        Ok(Self { zip: Zip::open(path)?, folder })
    }
}

impl ImageStore for ImageZip {
    /// The name is the one asked for: the same as in the unpacked folder.
    fn read(&self, name: &str) -> Result<(String, Vec<u8>), LostImage> {
        let lost = |code, message| LostImage { stage: Stage::Read, code, message };
        let inside = format!("{}{name}", self.folder);
        let found = [inside.as_str(), name].into_iter().find_map(|candidate| self.zip.find(candidate));
        let archive = self.zip.path.file_name().unwrap_or_default().to_string_lossy();
        let Some(member) = found else {
            return Err(lost(Code::ImageMissing, format!("{archive} has no member {inside}")));
        };
        match self.zip.read_whole(member) {
            Ok(bytes) => Ok((name.to_owned(), bytes)),
            Err(error) => Err(lost(Code::ImageUnreadable, format!("member {inside} of {archive}: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests;
