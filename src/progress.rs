//! What the user sees of long work: a bar on a terminal, otherwise a line now and then; and Ctrl-C.

use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use retort_cache::{Interrupt, Progress};

use crate::failure::INTERRUPTED;

/// Between two status lines where there is no terminal, unless [`STATUS_KEY`] says otherwise.
const STATUS_EVERY: Duration = Duration::from_secs(30);
/// Environment variable: seconds between two status lines. A protocol sets it for its runs, whose progress it shows.
const STATUS_KEY: &str = "RETORT_STATUS_SECS";

/// stderr, and the request to stop.
pub struct Terminal {
    interrupt: Interrupt,
    quiet: bool,
    status_every: Duration,
    /// Those that go on side by side.
    stages: Mutex<Vec<Stage>>,
}

struct Stage {
    name: String,
    total: u64,
    unit: &'static str,
    done: u64,
    began: Instant,
    said: Instant,
    note: String,
    bar: Option<ProgressBar>,
}

impl Terminal {
    /// Takes over Ctrl-C: the first asks to stop at the next safe point, a second stops at once.
    #[expect(clippy::print_stderr, reason = "this is where progress is printed")]
    pub fn new(quiet: bool) -> Self {
        let interrupt = Interrupt::default();
        let request = interrupt.clone();
        // Without a handler Ctrl-C ends the process as ever; what is committed is kept either way.
        let _ = ctrlc::set_handler(move || {
            if request.requested() {
                std::process::exit(INTERRUPTED.into());
            }
            request.request();
            if !quiet {
                eprintln!("stopping behind what is being worked on; Ctrl-C again stops at once");
            }
        });
        let told = std::env::var(STATUS_KEY).ok().and_then(|secs| secs.parse().ok());
        let status_every = told.map_or(STATUS_EVERY, Duration::from_secs);
        Self { interrupt, quiet, status_every, stages: Mutex::default() }
    }

    /// The request to stop.
    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// A line for the user, above any bar.
    #[expect(clippy::print_stderr, reason = "this is where progress is printed")]
    pub fn say(&self, line: &str) {
        if self.quiet {
            return;
        }
        match self.stages().iter().find_map(|stage| stage.bar.as_ref()) {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    fn stages(&self) -> MutexGuard<'_, Vec<Stage>> {
        // A thread that panicked while counting leaves a usable count.
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stage {
    #[expect(clippy::print_stderr, reason = "this is where progress is printed")]
    fn status(&mut self) {
        let secs = self.began.elapsed().as_secs_f64();
        let each_secs = secs.max(1e-9) / self.done.max(1) as f64;
        // A total of 0 is one that nobody knows.
        let of_total = if self.total > 0 { format!("/{}", self.total) } else { String::new() };
        let left = Duration::from_secs_f64((self.total.saturating_sub(self.done) as f64 * each_secs).min(1e9));
        // Before the first is done nobody knows.
        let known = self.done > 0 && self.done < self.total;
        let left = if known { format!(", {} left", HumanDuration(left)) } else { String::new() };
        let rate = match self.done {
            0 => String::new(),
            _ if each_secs > 2.0 => format!(", one in {each_secs:.0} s"),
            _ => format!(", {:.0}/s", each_secs.recip()),
        };
        let note = if self.note.is_empty() { String::new() } else { format!(", {}", self.note) };
        let Self { name, done, unit, .. } = self;
        eprintln!("{name}: {done}{of_total} {unit}{rate} in {secs:.1} s{left}{note}");
        self.said = Instant::now();
    }
}

/// A bar on stderr.
fn bar(stage: &str, total: u64, unit: &str) -> ProgressBar {
    let bytes = unit == "bytes";
    let template = match (total, bytes) {
        (0, true) => "{prefix} {spinner} {bytes}, {bytes_per_sec} in {elapsed}{msg}".to_owned(),
        (0, false) => format!("{{prefix}} {{spinner}} {{human_pos}} {unit}, {{rate}} in {{elapsed}}{{msg}}"),
        (_, true) => "{prefix} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}, {eta} left{msg}".to_owned(),
        (_, false) => "{prefix} [{bar:30}] {human_pos}/{human_len} {rate}, {eta} left{msg}".to_owned(),
    };
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target((total > 0).then_some(total), ProgressDrawTarget::stderr());
    bar.set_style(style.progress_chars("=> ").with_key("rate", rate));
    bar.set_prefix(stage.to_owned());
    bar
}

/// Units a second: a digit behind the point where there are few.
fn rate(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    let digits = usize::from(state.per_sec() < 9.95);
    // Writing to a bar does not fail.
    let _ = write!(out, "{:.digits$}/s", state.per_sec());
}

impl Progress for Terminal {
    fn say(&self, line: &str) {
        // The one above: an inherent method goes before that of a trait.
        Self::say(self, line);
    }

    fn begin(&self, stage: &str, total: u64, unit: &'static str) {
        self.begin_all(&[(stage.to_owned(), total)], unit);
    }

    fn advance(&self, units: u64) {
        self.advance_of(0, units);
    }

    fn note(&self, note: &str) {
        self.note_of(0, note);
    }

    fn end(&self) {
        for mut stage in std::mem::take(&mut *self.stages()) {
            if let Some(bar) = stage.bar.take() {
                bar.finish_and_clear();
            }
            if !self.quiet {
                stage.status();
            }
        }
    }

    fn begin_all(&self, stages: &[(String, u64)], unit: &'static str) {
        let now = Instant::now();
        let bars = (!self.quiet && std::io::stderr().is_terminal()).then(MultiProgress::new);
        let begun = stages.iter().map(|(name, total)| Stage {
            name: name.clone(),
            total: *total,
            unit,
            done: 0,
            began: now,
            said: now,
            note: String::new(),
            bar: bars.as_ref().map(|bars| bars.add(bar(name, *total, unit))),
        });
        *self.stages() = begun.collect();
    }

    fn advance_of(&self, stage: usize, units: u64) {
        let quiet = self.quiet;
        if let Some(stage) = self.stages().get_mut(stage) {
            stage.done += units;
            match &stage.bar {
                Some(bar) => bar.inc(units),
                None if !quiet && stage.said.elapsed() >= self.status_every => stage.status(),
                None => {}
            }
        }
    }

    fn note_of(&self, stage: usize, note: &str) {
        if let Some(stage) = self.stages().get_mut(stage) {
            stage.note = note.to_owned();
            if let Some(bar) = &stage.bar {
                bar.set_message(if note.is_empty() { String::new() } else { format!(", {note}") });
            }
        }
    }
}
