//! A `retort-torch encode` at work: ended with whoever holds it.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{self, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::compute;
use super::encoder::Problem;
use crate::encoding::{Answer, Request, send};
use crate::failure::NoTorch;

/// Bytes that are kept of what it complains about.
const COMPLAINTS: usize = 4096;
/// Number of the signal that a terminal's Ctrl-C sends.
const SIGINT: i32 = 2;
/// Longest from its last words to its end.
const LEAVING: Duration = Duration::from_secs(2);

/// Its process, and the ways to it. It shares the terminal's Ctrl-C, which ends it; so does the end of its stdin, should
/// nobody be left to end it.
#[derive(Debug)]
pub(super) struct Child {
    path: PathBuf,
    process: process::Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Reads what it complains about, which is told only if it ends.
    complaints: Option<JoinHandle<Vec<u8>>>,
}

impl Child {
    pub(super) fn start() -> Result<Self, Problem> {
        let path = compute::binary().map_err(|error| Problem::new(format!("{error:#}"), None))?;
        let failed = |source| {
            let error = NoTorch { path: path.clone(), source };
            Problem::new(format!("{error}: {}", error.source), Some(error.hint()))
        };
        let mut process = Command::new(&path)
            .arg("encode")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (input, output, errors) = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let (Some(input), Some(output)) = (input, output) else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        let complaints = errors.map(|errors| std::thread::spawn(move || last_of(errors)));
        Ok(Self { path, process, input, output: BufReader::new(output), complaints })
    }

    /// Whether it still runs.
    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// The answer to a request.
    pub(super) fn ask(&mut self, request: &Request) -> Result<Answer, Problem> {
        let mut line = String::new();
        let answered = send(&mut self.input, request).and_then(|()| self.output.read_line(&mut line));
        match answered {
            Ok(bytes) if bytes > 0 && line.ends_with('\n') => serde_json::from_str(&line).map_err(|error| {
                Problem::new(
                    format!("{} gave an answer that is none: {error}", self.path.display()),
                    Some("it must be of the same version as retort: build and install both again".to_owned()),
                )
            }),
            _ => Err(self.ended()),
        }
    }

    /// Says how it ended: it no longer reads or writes.
    fn ended(&mut self) -> Problem {
        let how = match self.status() {
            // It may be seen here before our own signal is.
            Some(status) if status.signal() == Some(SIGINT) => return Problem::Interrupted,
            Some(status) => status.to_string(),
            None => "it hangs".to_owned(),
        };
        let _ = self.process.kill();
        let complaints = self.complaints.take().and_then(|reading| reading.join().ok()).unwrap_or_default();
        let complaints = String::from_utf8_lossy(&complaints);
        let said = match complaints.trim() {
            "" => String::new(),
            said => format!("; it said: {said}"),
        };
        Problem::new(
            format!("{} ended without an answer ({how}){said}", self.path.display()),
            Some("ask again, which starts it again; one that was killed may have lacked memory".to_owned()),
        )
    }

    /// How it ended by itself, once it has.
    fn status(&mut self) -> Option<ExitStatus> {
        let until = Instant::now() + LEAVING;
        loop {
            match self.process.try_wait() {
                Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
                ended => return ended.ok().flatten(),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Fails for one that has ended, which is as well.
        let _ = self.process.kill();
        // Else it would stay among the processes as one that has ended.
        let _ = self.process.wait();
    }
}

/// The end of what it says, once it has said all.
fn last_of(mut errors: ChildStderr) -> Vec<u8> {
    let (mut last, mut read) = (Vec::new(), [0; COMPLAINTS]);
    while let Ok(bytes @ 1..) = errors.read(&mut read) {
        last.extend_from_slice(&read[..bytes]);
        last.drain(..last.len().saturating_sub(COMPLAINTS));
    }
    last
}
