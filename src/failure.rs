//! How a failed command ends: what happened, what to do next, and an exit code.

use std::process::ExitCode;

use anyhow::Error;

/// The answer is no: damage found, too many rejects.
pub const NO: u8 = 1;
const FAILED: u8 = 2;
const INTERRUPTED: u8 = 130;

/// Prints an error with its hint and gives its exit code.
#[expect(clippy::print_stderr, reason = "this is where errors are printed")]
pub fn report(error: &Error) -> ExitCode {
    if is_broken_pipe(error) {
        // Whoever read our output has had enough.
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {}", chain(error));
    if let Some(hint) = error.chain().find_map(hint) {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(exit_code(error))
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

type Cause<'a> = &'a (dyn std::error::Error + 'static);

fn hint(cause: Cause<'_>) -> Option<String> {
    let known = [
        cause.downcast_ref::<retort_cache::Error>().and_then(retort_cache::Error::hint),
        cause.downcast_ref::<retort_ingest::Error>().and_then(retort_ingest::Error::hint),
        cause.downcast_ref::<retort_report::Error>().and_then(retort_report::Error::hint),
        cause.downcast_ref::<retort_sql::Error>().and_then(retort_sql::Error::hint),
        #[cfg(feature = "torch")]
        cause.downcast_ref::<retort_teachers::Error>().and_then(retort_teachers::Error::hint),
        #[cfg(feature = "torch")]
        cause.downcast_ref::<retort_teachers::nn::Error>().and_then(retort_teachers::nn::Error::hint),
        #[cfg(feature = "torch")]
        cause.downcast_ref::<retort_trainer::Error>().and_then(retort_trainer::Error::hint),
    ];
    known.into_iter().flatten().next()
}

fn exit_code(error: &Error) -> u8 {
    for cause in error.chain() {
        if is_interrupt(cause) {
            return INTERRUPTED;
        }
        if matches!(cause.downcast_ref(), Some(retort_ingest::Error::TooManyRejects { .. })) {
            return NO;
        }
    }
    FAILED
}

/// Whether a stop was asked for; crates pass the cache's error on as their own, transparently.
fn is_interrupt(cause: Cause<'_>) -> bool {
    use retort_cache::Error::Interrupted;
    #[cfg(feature = "torch")]
    if matches!(cause.downcast_ref(), Some(retort_teachers::Error::Cache(Interrupted)))
        || matches!(cause.downcast_ref(), Some(retort_trainer::Error::Cache(Interrupted)))
    {
        return true;
    }
    matches!(cause.downcast_ref(), Some(Interrupted))
        || matches!(cause.downcast_ref(), Some(retort_ingest::Error::Cache(Interrupted)))
}

fn is_broken_pipe(error: &Error) -> bool {
    let broken = |cause: Cause<'_>| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    };
    error.chain().any(broken)
}
