//! Where a run was computed, and when: written down for people, read by nothing that computes.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use retort_cache::{read_text, write_atomic};
use retort_schemas::runs::{ENVIRONMENT_VERSION, Environment, Start, files};
use tch::Device;

use crate::{Error, Result};

/// Adds this start of a run to its `environment.json`.
///
/// # Errors
/// If the file is there and cannot be understood, or cannot be written.
pub(crate) fn record(run: &Path, device: Device) -> Result<()> {
    let path = run.join(files::ENVIRONMENT);
    let problem = |problem: String| Error::Run { path: run.to_owned(), problem };
    let malformed = |error: serde_json::Error| problem(format!("{}: {error}", files::ENVIRONMENT));
    let mut all = if path.is_file() {
        let all: Environment = serde_json::from_str(&read_text(&path)?).map_err(malformed)?;
        ENVIRONMENT_VERSION.accept(&all.schema).map_err(|error| problem(error.to_string()))?;
        all
    } else {
        Environment { schema: ENVIRONMENT_VERSION.to_string(), starts: Vec::new() }
    };
    all.starts.push(here(device));
    let text = serde_json::to_string_pretty(&all).map_err(malformed)?;
    Ok(write_atomic(&path, format!("{text}\n").as_bytes())?)
}

fn here(device: Device) -> Start {
    Start {
        began_unix_secs: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
        retort: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("RETORT_COMMIT").map(str::to_owned),
        libtorch: option_env!("RETORT_LIBTORCH").map(str::to_owned),
        device: match device {
            Device::Cuda(index) => format!("cuda:{index}"),
            Device::Cpu => "cpu".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        },
        cuda_devices: tch::Cuda::device_count().max(0) as u64,
        torch_threads: tch::get_num_threads().max(0) as u64,
        rayon_threads: rayon::current_num_threads() as u64,
        cpu: line_of("/proc/cpuinfo", "model name", ':'),
        os: line_of("/etc/os-release", "PRETTY_NAME", '=').unwrap_or_else(|| std::env::consts::OS.to_owned()),
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().to_owned()),
        architecture: std::env::consts::ARCH.to_owned(),
    }
}

/// The value of a key in a file of lines such as `key = "value"`; none where there is no such file.
fn line_of(path: &str, key: &str, separator: char) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut pairs = text.lines().filter_map(|line| line.split_once(separator));
    pairs.find(|(found, _)| found.trim() == key).map(|(_, value)| value.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_is_added_and_a_broken_file_is_told_of() -> Result<()> {
        let folder = tempfile::tempdir().map_err(retort_cache::Error::io("make", Path::new("a folder")))?;
        record(folder.path(), Device::Cpu)?;
        record(folder.path(), Device::Cuda(1))?;
        let path = folder.path().join(files::ENVIRONMENT);
        let all: Environment = serde_json::from_str(&read_text(&path)?).unwrap();
        let devices: Vec<&str> = all.starts.iter().map(|start| start.device.as_str()).collect();
        assert_eq!((all.schema.as_str(), devices), ("environment/1.0", vec!["cpu", "cuda:1"]));
        let start = &all.starts[0];
        assert!(start.torch_threads > 0 && start.rayon_threads > 0 && start.began_unix_secs > 1e9, "{start:?}");
        assert_eq!(start.retort, env!("CARGO_PKG_VERSION"));
        assert!(start.libtorch.as_ref().is_none_or(|version| version.starts_with(|c: char| c.is_ascii_digit())));
        write_atomic(&path, b"{}")?;
        let refusal = record(folder.path(), Device::Cpu).unwrap_err().to_string();
        assert!(refusal.contains("environment.json: missing field"), "{refusal}");
        Ok(())
    }
}
