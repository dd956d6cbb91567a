//! A hub on loopback: it answers as huggingface.co does, with faults on demand, and remembers who asked what.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::Result;

/// The only repository that there is.
pub const REPOSITORY: &str = "org/tiny";
/// The commit that `main` and `v1` are.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The token that opens the gated repository.
pub const TOKEN: &str = "hf_secret";
/// A repository that needs the token.
pub const GATED: &str = "org/gated";

/// What one answer has wrong.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Another status, with this header line.
    Status(u16, &'static str),
    /// The connection ends after so many bytes of the body.
    CutAfter(usize),
    /// After so many bytes of the body nothing comes any more.
    StallAfter(usize),
    /// The last byte of the body is another.
    Flip,
    /// All of it, though a part was asked for.
    NoRange,
}

/// A question that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Whether the hub was asked, or the place where it keeps large files.
    pub hub: bool,
    /// `GET` or `HEAD`.
    pub method: String,
    /// With what is behind the question mark.
    pub path: String,
    /// First byte of the range.
    pub range: Option<String>,
    /// The authorization.
    pub token: Option<String>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    /// Faults by what is in the path, each for one answer.
    faults: Vec<(String, Fault)>,
    asked: Vec<Asked>,
    /// The list of files tells neither sizes nor hashes.
    bare: bool,
}

/// The stub.
pub struct Hub {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// sha1 as git has it of a file.
pub fn git_sha1(content: &[u8]) -> String {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", content.len()));
    hasher.update(content);
    format!("{:x}", hasher.finalize())
}

/// sha256.
pub fn sha256(content: &[u8]) -> String {
    format!("{:x}", Sha256::digest(content))
}

fn is_large(path: &str) -> bool {
    path.ends_with(".safetensors") || path.ends_with(".bin")
}

impl Hub {
    /// A hub with the files of a folder.
    pub fn start(folder: &Path) -> Result<Self> {
        let [hub, store] = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let (address, store_address) = (hub.local_addr()?, store.local_addr()?);
        let state = Arc::new(Mutex::new(State { files: super::tree_names(folder)?, ..State::default() }));
        for (listener, is_hub) in [(hub, true), (store, false)] {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = Arc::clone(&state);
                    // Who hangs up on us has had enough.
                    thread::spawn(move || answer(stream, is_hub, &state, store_address).ok());
                }
            });
        }
        Ok(Self { address, state })
    }

    /// `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Does one answer wrong, to the next question with this in its path.
    pub fn fault(&self, path: &str, fault: Fault) {
        self.state().faults.push((path.to_owned(), fault));
    }

    /// Lists files without sizes and hashes from now on.
    pub fn list_names_alone(&self) {
        self.state().bare = true;
    }

    /// Takes a file away.
    pub fn remove(&self, path: &str) {
        self.state().files.remove(path);
    }

    /// What was asked since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state().asked)
    }

    /// The content of a file.
    pub fn file(&self, path: &str) -> Vec<u8> {
        self.state().files[path].clone()
    }

    /// Writes files as Python's `huggingface_hub` caches them.
    pub fn cache_as_python(&self, cache: &Path, files: &[&str]) -> Result {
        let folder = cache.join("models--org--tiny");
        for path in files {
            let content = self.file(path);
            let hash = if is_large(path) { sha256(&content) } else { git_sha1(&content) };
            let pointer = folder.join("snapshots").join(COMMIT).join(path);
            fs::create_dir_all(folder.join("blobs"))?;
            fs::create_dir_all(pointer.parent().unwrap_or(&pointer))?;
            fs::write(folder.join("blobs").join(&hash), content)?;
            let up = if path.contains('/') { "../../.." } else { "../.." };
            std::os::unix::fs::symlink(format!("{up}/blobs/{hash}"), pointer)?;
        }
        fs::create_dir_all(folder.join("refs"))?;
        Ok(fs::write(folder.join("refs/main"), COMMIT)?)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads one question and answers it.
fn answer(mut stream: TcpStream, hub: bool, state: &Mutex<State>, store: SocketAddr) -> Result {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().ok_or("no question")??;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (mut range, mut token) = (None, None);
    for line in lines {
        let line = line?;
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("range") => {
                range = value.strip_prefix("bytes=").map(|range| range.trim_end_matches('-').to_owned());
            }
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => token = Some(value.to_owned()),
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    let asked = Asked { hub, method, path, range, token };
    let (head, body, fault) = {
        let mut state = lock(state);
        state.asked.push(asked.clone());
        let at = state.faults.iter().position(|(path, _)| asked.path.contains(path.as_str()));
        let fault = at.map(|at| state.faults.remove(at).1);
        let (head, body) = if hub { of_hub(&asked, &state, store) } else { of_store(&asked, &state, fault) };
        (head, body, fault)
    };
    let (head, mut body) = match fault {
        Some(Fault::Status(status, header)) => (format!("{status} x\r\n{header}"), Vec::new()),
        _ => (head, body),
    };
    write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len())?;
    match fault {
        _ if asked.method == "HEAD" => {}
        Some(Fault::CutAfter(bytes)) => stream.write_all(&body[..bytes])?,
        Some(Fault::StallAfter(bytes)) => {
            stream.write_all(&body[..bytes])?;
            stream.flush()?;
            thread::sleep(Duration::from_secs(20));
        }
        Some(Fault::Flip) => {
            *body.last_mut().ok_or("nothing to flip")? ^= 1;
            stream.write_all(&body)?;
        }
        _ => stream.write_all(&body)?,
    }
    Ok(())
}

/// Status and headers, and the body.
type Reply = (String, Vec<u8>);

fn of_hub(asked: &Asked, state: &State, store: SocketAddr) -> Reply {
    let plain = |head: String| (head, Vec::new());
    let with_token = asked.token.as_deref() == Some(&format!("Bearer {TOKEN}"));
    let path = asked.path.split('?').next().unwrap_or_default();
    if let Some((repository, revision)) =
        path.strip_prefix("/api/models/").and_then(|rest| rest.split_once("/revision/"))
    {
        return match (repository, revision) {
            ("org/old", _) => {
                plain(format!("307 x\r\nLocation: /api/models/{REPOSITORY}/revision/{revision}?blobs=true"))
            }
            (REPOSITORY | GATED, "main" | "v1" | "refs%2Fpr%2F1" | COMMIT) => {
                ("200 OK\r\nContent-Type: application/json".to_owned(), list(state).to_string().into_bytes())
            }
            (REPOSITORY | GATED, _) => plain("404 x\r\nX-Error-Code: RevisionNotFound".to_owned()),
            _ if with_token => plain("404 x\r\nX-Error-Code: RepoNotFound".to_owned()),
            _ => plain("401 x\r\nX-Error-Message: Invalid username or password.".to_owned()),
        };
    }
    // Small files are one redirection away, on the hub itself.
    let cached = path.strip_prefix("/api/resolve-cache/models");
    let Some((repository, path)) = cached.unwrap_or(path).split_once(&format!("/resolve/{COMMIT}/")) else {
        return plain("404 x".to_owned());
    };
    if repository == format!("/{GATED}") && !with_token {
        return plain(
            "401 x\r\nX-Error-Code: GatedRepo\r\nX-Error-Message: Access to model org/gated is restricted.".to_owned(),
        );
    }
    let Some(content) = state.files.get(path) else { return plain("404 x\r\nX-Error-Code: EntryNotFound".to_owned()) };
    let (hash, size) = (sha256(content), content.len());
    match cached {
        _ if is_large(path) => plain(format!(
            "302 x\r\nLocation: http://{store}/{path}?signed=1\r\nX-Linked-Etag: \"{hash}\"\r\nX-Linked-Size: {size}\r\nETag: \"other\""
        )),
        None => plain(format!("307 x\r\nLocation: /api/resolve-cache/models{}\r\nETag: \"other\"", asked.path)),
        Some(_) => part(asked, content, &format!("ETag: \"{}\"", git_sha1(content)), None),
    }
}

fn of_store(asked: &Asked, state: &State, fault: Option<Fault>) -> Reply {
    let path = asked.path.trim_start_matches('/').split('?').next().unwrap_or_default();
    match state.files.get(path) {
        Some(content) => part(asked, content, "ETag: \"of the store\"", fault),
        None => ("404 x".to_owned(), Vec::new()),
    }
}

/// What was asked for of a content.
fn part(asked: &Asked, content: &[u8], headers: &str, fault: Option<Fault>) -> Reply {
    let from = asked.range.as_deref().and_then(|from| from.parse::<usize>().ok());
    match from {
        Some(from) if !matches!(fault, Some(Fault::NoRange)) => {
            let (last, size) = (content.len() - 1, content.len());
            (format!("206 x\r\nContent-Range: bytes {from}-{last}/{size}\r\n{headers}"), content[from..].to_vec())
        }
        _ => (format!("200 OK\r\n{headers}"), content.to_vec()),
    }
}

fn list(state: &State) -> Value {
    let sibling = |(path, content): (&String, &Vec<u8>)| match (state.bare, is_large(path)) {
        (true, _) => json!({"rfilename": path}),
        (_, false) => json!({"rfilename": path, "size": content.len(), "blobId": git_sha1(content)}),
        _ => json!({
            "rfilename": path, "size": content.len(), "blobId": git_sha1(b"a pointer"),
            "lfs": {"sha256": sha256(content), "size": content.len(), "pointerSize": 130},
        }),
    };
    json!({"id": REPOSITORY, "sha": COMMIT, "siblings": state.files.iter().map(sibling).collect::<Vec<_>>()})
}
