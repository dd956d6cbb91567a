//! Runs as processes of their own.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use retort_cache::Interrupt;

use super::work::{Doing, Ended, Slot, Worker};
use crate::Error;

/// Lines kept of what a process says.
const LINES: usize = 20;
/// How often a process is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Names the CUDA devices that a process sees; it counts them from 0.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";
/// How a process says that it stopped as asked.
const STOPPED: i32 = 130;

/// Starts `retort-torch train` and `retort-torch eval`.
#[derive(Debug, Clone)]
pub struct Processes {
    /// The binary.
    pub binary: PathBuf,
}

impl Worker for Processes {
    fn work(
        &self,
        doing: &Doing,
        run: &Path,
        slot: Slot,
        lock: &File,
        hear: &(dyn Fn(&str) + Sync),
        interrupt: &Interrupt,
    ) -> crate::Result<Ended> {
        let fault = |problem: String| Error::Run { path: run.to_owned(), problem };
        // The lock lives on with the process, even if this one is killed: nobody else then starts on the same folder.
        let held = lock.try_clone().map_err(|error| fault(format!("its lock cannot be passed on: {error}")))?;
        let mut child = self
            .command(doing, run, slot)
            .stdin(Stdio::from(held))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| fault(format!("cannot start {}: {error}", self.binary.display())))?;
        let last = Mutex::new(VecDeque::new());
        let stderr = child.stderr.take();
        let status = thread::scope(|scope| {
            scope.spawn(|| {
                let lines = stderr.into_iter().flat_map(|stderr| BufReader::new(stderr).split(b'\n'));
                for line in lines.map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    hear(&line);
                    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                    last.push_back(line);
                    if last.len() > LINES {
                        last.pop_front();
                    }
                }
            });
            wait(&mut child, interrupt)
        });
        let status = status.map_err(|error| fault(format!("cannot wait for its process: {error}")))?;
        let how = match (status.code(), status.signal()) {
            (Some(0), _) => return Ok(Ended::Done),
            (Some(STOPPED), _) => return Ok(Ended::Stopped),
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        let stderr = last.into_inner().unwrap_or_else(PoisonError::into_inner).into();
        Ok(Ended::Failed { how, stderr })
    }
}

impl Processes {
    fn command(&self, doing: &Doing, run: &Path, slot: Slot) -> Command {
        let mut command = Command::new(&self.binary);
        match doing {
            Doing::Train => {
                command.arg("train").arg(run.join(retort_schemas::runs::files::RECIPE)).arg("--run").arg(run)
            }
            Doing::Eval(split) => command.arg("eval").arg(run).arg("--split").arg(split),
        };
        let threads = slot.threads.to_string();
        command.env("OMP_NUM_THREADS", &threads).env("RAYON_NUM_THREADS", &threads).env("RETORT_STATUS_SECS", "1");
        if let Some(device) = slot.cuda {
            command.env(VISIBLE, only(device, &std::env::var(VISIBLE).unwrap_or_default()));
        }
        // A group of its own: Ctrl-C reaches this process alone, which then asks once. A second request would stop
        // training at once, without a checkpoint.
        command.process_group(0);
        command
    }
}

/// What names one device alone: the one of this place among those that are visible, which may have other numbers or names.
fn only(device: usize, visible: &str) -> String {
    let named = visible.split(',').nth(device).map(str::trim).filter(|name| !name.is_empty());
    named.map_or_else(|| device.to_string(), str::to_owned)
}

/// Waits for a process, and asks it once to stop when a stop is asked for.
fn wait(child: &mut Child, interrupt: &Interrupt) -> std::io::Result<ExitStatus> {
    let mut asked = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupt.requested() && !asked {
            asked = true;
            // It may have ended just now; then there is nobody to ask.
            let _ = Command::new("sh").arg("-c").arg(format!("kill -INT {}", child.id())).status();
        }
        thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_sees_one_device_of_its_own() {
        let slots = Slot::divide(3, 12, 2);
        assert_eq!(slots.iter().map(|slot| slot.cuda).collect::<Vec<_>>(), [Some(0), Some(1), Some(0)]);
        let processes = Processes { binary: PathBuf::from("retort-torch") };
        let environment = |slot: Slot, key: &str| {
            let command = processes.command(&Doing::Train, Path::new("run"), slot);
            let told = command.get_envs().find(|(name, _)| *name == key).and_then(|(_, value)| value);
            told.map(|value| value.to_string_lossy().into_owned())
        };
        assert!(environment(slots[1], VISIBLE).is_some());
        assert_eq!(environment(slots[1], "OMP_NUM_THREADS").as_deref(), Some("4"));
        assert_eq!(environment(Slot::divide(1, 2, 0)[0], VISIBLE), None, "without CUDA nothing is hidden");
        assert_eq!([only(0, ""), only(1, ""), only(1, "4, 7"), only(0, "GPU-1a,GPU-2b")], ["0", "1", "7", "GPU-1a"]);
    }
}
