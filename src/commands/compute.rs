//! The commands that compute: handed over to `retort-torch`.

use std::env::{args_os, consts, current_exe};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::failure::NoTorch;

/// Becomes `retort-torch`, which lies beside this binary, with the same arguments.
pub fn run() -> Result<ExitCode> {
    let torch = binary()?;
    let source = Command::new(&torch).args(args_os().skip(1)).exec();
    Err(NoTorch { path: torch, source }.into())
}

/// Where `retort-torch` should be.
pub(super) fn binary() -> Result<PathBuf> {
    let own = current_exe().context("cannot find the retort binary")?;
    Ok(own.with_file_name(format!("retort-torch{}", consts::EXE_SUFFIX)))
}
