//! The commands that compute: handed over to `retort-torch`.

use std::env::{args_os, consts, current_exe, var_os};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::failure::NoTorch;

/// Variables by which glibc keeps memory that is freed instead of giving it back. A teacher takes and frees the same few MiB
/// for every layer of every batch; given back, their pages come anew and are cleared each time, 5 % of the time that MiniLM
/// takes on a CPU. It is no more than there was at once before.
pub const KEPT_MEMORY: [(&str, &str); 2] =
    [("MALLOC_MMAP_THRESHOLD_", "33554432"), ("MALLOC_TRIM_THRESHOLD_", "1073741824")];

/// Becomes `retort-torch`, which lies beside this binary, with the same arguments, and with these variables where they are not
/// set.
pub fn run(variables: &[(&str, &str)]) -> Result<ExitCode> {
    let torch = binary()?;
    let unset = variables.iter().filter(|(name, _)| var_os(name).is_none()).copied();
    let source = Command::new(&torch).args(args_os().skip(1)).envs(unset).exec();
    Err(NoTorch { path: torch, source }.into())
}

/// Where `retort-torch` should be.
pub(super) fn binary() -> Result<PathBuf> {
    let own = current_exe().context("cannot find the retort binary")?;
    Ok(own.with_file_name(format!("retort-torch{}", consts::EXE_SUFFIX)))
}
