//! One file: what is there of it is kept, the rest fetched, the whole checked, and only then it gets its name.

use std::fs::{self, File as FsFile};
use std::io::{Error as IoError, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use retort_cache::{Error as CacheError, Progress, create_folder};
use ureq::http::StatusCode;
use ureq::http::header::CONTENT_RANGE;

use super::client::{Answer, Client};
use super::digest::{CHUNK, Hasher};
use super::repository::Repository;
use super::{Error, File, Result};

/// Fetches a file into the cache, where need be in several goes.
///
/// # Errors
/// [`Error::Wrong`] if it is not what the hub says, and nothing of it is kept; those of the network and of the disk, and what came
/// of it is.
pub(super) fn download(
    client: &Client<'_>,
    repository: &Repository,
    commit: &str,
    file: &File,
    progress: &dyn Progress,
) -> Result<()> {
    let _lock = repository.lock(file, client.interrupt)?;
    // Another process may have fetched it while we waited.
    if repository.holds(commit, file, client.interrupt)? {
        return Ok(());
    }
    let path = repository.incomplete(file);
    create_folder(path.parent().unwrap_or(&path))?;
    let mut furthest = repository.begun(file);
    let begun = furthest > 0;
    let mut whole = || {
        client.persist(&mut |got_on| {
            let mut partial = Partial::open(&path, client, file)?;
            let done = partial.fill(client, repository, commit, file, progress);
            *got_on = partial.bytes > furthest;
            furthest = furthest.max(partial.bytes);
            done
        })
    };
    match whole() {
        // What was there from an earlier call may be to blame.
        Err(Error::Wrong { .. }) if begun => whole()?,
        done => done?,
    }
    let blob = repository.blob(file);
    fs::rename(&path, &blob).map_err(CacheError::io("rename into place", &blob))?;
    repository.link(commit, file)
}

/// The part of a file that is there.
struct Partial<'a> {
    path: &'a Path,
    out: FsFile,
    bytes: u64,
    hasher: Hasher,
}

impl<'a> Partial<'a> {
    /// Opens what is there, and takes it into the hash.
    fn open(path: &'a Path, client: &Client<'_>, file: &File) -> Result<Self> {
        let options = FsFile::options().read(true).write(true).create(true).truncate(false).open(path);
        let mut out = options.map_err(CacheError::io("open", path))?;
        let bytes = out.metadata().map_err(CacheError::io("read", path))?.len();
        let mut hasher = Hasher::like(&file.hash, file.bytes);
        hasher.update_from(&mut out, path, client.interrupt)?;
        let mut partial = Self { path, out, bytes, hasher };
        if bytes > file.bytes {
            partial.restart(file)?;
        }
        Ok(partial)
    }

    fn restart(&mut self, file: &File) -> Result<()> {
        self.out.set_len(0).map_err(CacheError::io("empty", self.path))?;
        self.out.seek(SeekFrom::Start(0)).map_err(CacheError::io("empty", self.path))?;
        (self.bytes, self.hasher) = (0, Hasher::like(&file.hash, file.bytes));
        Ok(())
    }

    /// Fetches what is missing, and checks the whole.
    fn fill(
        &mut self,
        client: &Client<'_>,
        repository: &Repository,
        commit: &str,
        file: &File,
        progress: &dyn Progress,
    ) -> Result<()> {
        if self.bytes < file.bytes {
            let answer = client.content(commit, file, self.bytes)?;
            self.read(client, file, answer, progress)?;
        }
        let hasher = std::mem::replace(&mut self.hasher, Hasher::like(&file.hash, file.bytes));
        let mut found = hasher.finish();
        if self.bytes > file.bytes {
            found = format!("of more than {} bytes", file.bytes);
        }
        if found != file.hash {
            fs::remove_file(self.path).map_err(CacheError::io("remove", self.path))?;
            return Err(repository.wrong(&file.path, &file.hash, found, false));
        }
        Ok(self.out.sync_all().map_err(CacheError::io("sync", self.path))?)
    }

    /// Appends an answer as it comes.
    fn read(&mut self, client: &Client<'_>, file: &File, answer: Answer, progress: &dyn Progress) -> Result<()> {
        let Answer { url, response, .. } = answer;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            // All of it, though we may have asked for the rest.
            self.restart(file)?;
        } else if range_begin(response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok()))
            != Some(self.bytes)
        {
            return Err(Error::Unexpected {
                url,
                problem: format!("it has another range than from byte {}", self.bytes),
            });
        }
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; CHUNK];
        // One byte more than there should be is enough to know.
        while self.bytes <= file.bytes {
            client.interrupt.check()?;
            let read = match body.read(&mut buffer) {
                Ok(0) if self.bytes < file.bytes => Err(IoError::from(ErrorKind::UnexpectedEof)),
                done => done,
            };
            let read = read.map_err(|source| Error::BrokenOff { url: url.clone(), bytes: self.bytes, source })?;
            if read == 0 {
                break;
            }
            self.out.write_all(&buffer[..read]).map_err(CacheError::io("write", self.path))?;
            self.hasher.update(&buffer[..read]);
            self.bytes += read as u64;
            progress.advance(read as u64);
        }
        Ok(())
    }
}

/// The first byte of `bytes 5-9/10`.
fn range_begin(range: Option<&str>) -> Option<u64> {
    range?.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
