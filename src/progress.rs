//! What the user sees of long work: a bar on a terminal, otherwise a line now and then; and Ctrl-C.

use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use retort_cache::{Interrupt, Progress};

/// Between two status lines where there is no terminal, unless [`STATUS_KEY`] says otherwise.
const STATUS_EVERY: Duration = Duration::from_secs(30);
/// Environment variable: seconds between two status lines. A protocol sets it for its runs, whose progress it shows.
const STATUS_KEY: &str = "RETORT_STATUS_SECS";

/// stderr, and the request to stop.
pub struct Terminal {
    interrupt: Interrupt,
    quiet: bool,
    status_every: Duration,
    stage: Mutex<Option<Stage>>,
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
    pub fn new(quiet: bool) -> Self {
        let interrupt = Interrupt::default();
        let request = interrupt.clone();
        // Without a handler Ctrl-C ends the process as ever; what is committed is kept either way.
        let _ = ctrlc::set_handler(move || {
            if request.requested() {
                std::process::exit(130);
            }
            request.request();
        });
        let told = std::env::var(STATUS_KEY).ok().and_then(|secs| secs.parse().ok());
        let status_every = told.map_or(STATUS_EVERY, Duration::from_secs);
        Self { interrupt, quiet, status_every, stage: Mutex::new(None) }
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
        match self.stage().as_ref().and_then(|stage| stage.bar.as_ref()) {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    fn stage(&self) -> MutexGuard<'_, Option<Stage>> {
        // A thread that panicked while counting leaves a usable count.
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Progress for Terminal {
    fn begin(&self, stage: &str, total: u64, unit: &'static str) {
        let now = Instant::now();
        let bar = (!self.quiet && std::io::stderr().is_terminal()).then(|| {
            let bytes = unit == "bytes";
            let template = match (total, bytes) {
                (0, true) => "{prefix} {spinner} {bytes}, {bytes_per_sec} in {elapsed} {msg}".to_owned(),
                (0, false) => {
                    format!("{{prefix}} {{spinner}} {{human_pos}} {unit}, {{per_sec}} in {{elapsed}} {{msg}}")
                }
                (_, true) => "{prefix} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}, {eta} left {msg}".to_owned(),
                (_, false) => "{prefix} [{bar:30}] {human_pos}/{human_len} {per_sec}, {eta} left {msg}".to_owned(),
            };
            let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let length = (total > 0).then_some(total);
            let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
            bar.set_style(style.progress_chars("=> "));
            bar.set_prefix(stage.to_owned());
            bar
        });
        *self.stage() = Some(Stage {
            name: stage.to_owned(),
            total,
            unit,
            done: 0,
            began: now,
            said: now,
            note: String::new(),
            bar,
        });
    }

    fn advance(&self, units: u64) {
        let quiet = self.quiet;
        if let Some(stage) = self.stage().as_mut() {
            stage.done += units;
            match &stage.bar {
                Some(bar) => bar.inc(units),
                None if !quiet && stage.said.elapsed() >= self.status_every => stage.status(),
                None => {}
            }
        }
    }

    fn note(&self, note: &str) {
        if let Some(stage) = self.stage().as_mut() {
            stage.note = note.to_owned();
            if let Some(bar) = &stage.bar {
                bar.set_message(note.to_owned());
            }
        }
    }

    fn end(&self) {
        if let Some(mut stage) = self.stage().take() {
            if let Some(bar) = stage.bar.take() {
                bar.finish_and_clear();
            }
            if !self.quiet {
                stage.status();
            }
        }
    }
}
