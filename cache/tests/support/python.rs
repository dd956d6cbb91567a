//! The Python that `make test-python` installs, for tests that read files with others' readers.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The packages that `make test-python` installs; `Err` is what to tell when it did not.
pub fn packages() -> Result<PathBuf, String> {
    let home = std::env::var_os("XDG_CACHE_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cache"))).unwrap_or_default();
    let packages = home.join("retort/test-python");
    let absent = || format!("skipped: there is no {}; `make test-python` prepares it", packages.display());
    if packages.join("ready").is_file() { Ok(packages) } else { Err(absent()) }
}

/// Runs Python in a folder with these packages and tells what it printed.
pub fn run_python(packages: &Path, folder: &Path, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let mut command = Command::new("python3");
    let output = command.args(arguments).env("PYTHONPATH", packages).current_dir(folder).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
