//! How a failed command ends: what happened, what to do next, and an exit code.

use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Error;

/// The answer is no: damage found, too many rejects.
pub const NO: u8 = 1;
const FAILED: u8 = 2;
/// A stop was asked for.
pub const INTERRUPTED: u8 = 130;

/// Prints an error with its hint and gives its exit code.
#[expect(clippy::print_stderr, reason = "this is where errors are printed")]
pub fn report(error: &Error, known: &dyn Known) -> ExitCode {
    if is_broken_pipe(error) {
        // Whoever read our output has had enough.
        return ExitCode::SUCCESS;
    }
    let (words, hint) = words(error, known);
    eprintln!("error: {words}");
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(exit_code(error, known))
}

/// An error with its causes, and what to do next.
pub fn words(error: &Error, known: &dyn Known) -> (String, Option<String>) {
    (chain(error), error.chain().find_map(|cause| known.hint(cause)))
}

/// The error and its causes, each said once.
fn chain(error: &Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text
}

/// An error, or what caused it.
pub type Cause<'a> = &'a (dyn StdError + 'static);

/// What a binary knows of the errors of the crates that it uses.
pub trait Known {
    /// What to do next.
    fn hint(&self, cause: Cause<'_>) -> Option<String>;

    /// Whether a stop was asked for; crates pass the cache's error on as their own, transparently.
    fn is_interrupt(&self, cause: Cause<'_>) -> bool;
}

/// The crates that need no libtorch.
pub struct Light;

impl Known for Light {
    fn hint(&self, cause: Cause<'_>) -> Option<String> {
        let known = [
            cause.downcast_ref::<NoTorch>().map(NoTorch::hint),
            cause.downcast_ref::<retort_cache::Error>().and_then(retort_cache::Error::hint),
            cause.downcast_ref::<retort_ingest::Error>().and_then(retort_ingest::Error::hint),
            cause.downcast_ref::<retort_report::Error>().and_then(retort_report::Error::hint),
            cause.downcast_ref::<retort_sql::Error>().and_then(retort_sql::Error::hint),
        ];
        known.into_iter().flatten().next()
    }

    fn is_interrupt(&self, cause: Cause<'_>) -> bool {
        use retort_cache::Error::Interrupted;
        matches!(cause.downcast_ref(), Some(Interrupted))
            || matches!(cause.downcast_ref(), Some(retort_ingest::Error::Cache(Interrupted)))
            || matches!(cause.downcast_ref(), Some(retort_sql::Error::Interrupted))
    }
}

/// The binary of the commands that compute cannot be started.
#[derive(Debug)]
pub struct NoTorch {
    /// Where it should be.
    pub path: PathBuf,
    /// Why not.
    pub source: std::io::Error,
}

impl NoTorch {
    /// What to do next.
    pub fn hint(&self) -> String {
        "it is built and installed with retort: put both into one folder, or build again".to_owned()
    }
}

impl fmt::Display for NoTorch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot start {}, which teaches, trains, evaluates and encodes queries", self.path.display())
    }
}

impl StdError for NoTorch {
    fn source(&self) -> Option<Cause<'_>> {
        Some(&self.source)
    }
}

/// Whether a command ended because a stop was asked for.
pub fn is_interrupt(error: &Error, known: &dyn Known) -> bool {
    error.chain().any(|cause| known.is_interrupt(cause))
}

fn exit_code(error: &Error, known: &dyn Known) -> u8 {
    if is_interrupt(error, known) {
        return INTERRUPTED;
    }
    for cause in error.chain() {
        if matches!(cause.downcast_ref(), Some(retort_ingest::Error::TooManyRejects { .. })) {
            return NO;
        }
    }
    FAILED
}

fn is_broken_pipe(error: &Error) -> bool {
    let broken = |cause: Cause<'_>| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    };
    error.chain().any(broken)
}
