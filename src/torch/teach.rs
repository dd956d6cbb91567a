//! `retort teach`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use retort_cache::Dataset;
use retort_schemas::Dtype;
use retort_schemas::manifest::BatchPlan;
use retort_teachers::nn::devices;
use retort_teachers::{Job, Options, Report, Teacher, hub, teach};
use tch::Device;

use retort::cli::{ComputeType, Teach};
use retort::commands::print;
use retort::progress::Terminal;
use retort::tabulate::counted;

use crate::settings::overrides;

pub fn run(options: &Teach, terminal: &Terminal) -> Result<ExitCode> {
    let dataset = Dataset::open(&options.dataset)?;
    let devices = devices(&options.device)?;
    // There is one at least.
    let device = devices.first().copied().unwrap_or(Device::Cpu);
    let compute = match options.dtype {
        ComputeType::Auto if device.is_cuda() => Dtype::Bf16,
        ComputeType::Auto | ComputeType::F32 => Dtype::F32,
        ComputeType::Bf16 => Dtype::Bf16,
        ComputeType::F16 => Dtype::F16,
    };
    let work = Options {
        store: options.store,
        patches: options.patches,
        tokens: options.tokens,
        words: options.words,
        batch: options.batch.0.map_or(AUTOMATIC, |rows| BatchPlan::of_rows(rows, rows)),
        find_batch: options.batch.0.is_none(),
    };
    for (at, named) in options.teachers.iter().enumerate() {
        let before = &options.teachers[..at];
        if before.iter().any(|other| (&other.name, &other.model) == (&named.name, &named.model)) {
            bail!("teacher {}={} is given twice: give it once", named.name, named.model);
        }
    }
    if devices.len() > 1 {
        terminal.say(&format!("computing on {} devices, each a shard at a time", devices.len()));
    }
    // All of them before the first begins to work: one that cannot be had is known at once.
    let mut found = Vec::new();
    let said = overrides(options)?;
    for (named, said) in options.teachers.iter().zip(said) {
        let opening = || format!("teacher {}", named.name);
        let model = hub::find(&named.model, terminal, terminal.interrupt()).with_context(opening)?;
        if let Some(note) = &model.note {
            terminal.say(&format!("teacher {}: {note}", named.name));
        }
        found.push((named, model, said));
    }
    let mut teachers = Vec::new();
    for (named, model, said) in found {
        let opening = || format!("teacher {}", named.name);
        let open =
            |device: &Device| Teacher::open_with(&model.folder, *device, compute, said.clone()).with_context(opening);
        let mut teacher = open(&device)?;
        teacher.origin = model.origin.clone();
        teacher.folder = if model.origin.is_none() { absolute(&model.folder) } else { None };
        let mine = options.settings.iter().filter(|setting| setting.teacher == named.name);
        teacher.settings = mine.map(|setting| (setting.key.clone(), setting.value.clone())).collect();
        for line in teacher.detected(work.store) {
            terminal.say(&format!("teacher {}: {line}", named.name));
        }
        let copies = devices.iter().skip(1).map(open).collect::<Result<Vec<_>>>()?;
        teachers.push((teacher, copies));
    }
    let names = options.teachers.iter().map(|named| named.name.as_str());
    let mut jobs: Vec<Job<'_>> =
        names.zip(&mut teachers).map(|(name, (teacher, copies))| Job { name, teacher, copies }).collect();
    for report in teach(&dataset, &mut jobs, &work, terminal, terminal.interrupt())? {
        print(&format!("{}\n", summary(&report)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Batches of a new cache where nobody says, on a CPU. On CUDA they are found by trying.
const AUTOMATIC: BatchPlan = BatchPlan { images: 32, texts: 256, tokens: Some(2048) };

/// A path as it is found from anywhere, if it can be written down.
fn absolute(path: &Path) -> Option<String> {
    std::path::absolute(path).ok()?.to_str().map(str::to_owned)
}

/// What was done, on one line, and a line for what is gone and was not asked for.
fn summary(report: &Report) -> String {
    let mut text = format!("{}: {} computed", report.folder, counted(report.computed as u64, "shard", "shards"));
    if report.kept > 0 {
        text.push_str(&format!(", {} there", counted(report.kept as u64, "was", "were")));
    }
    if report.again > 0 {
        text.push_str(&format!(", {} gone and computed again", counted(report.again as u64, "file was", "files were")));
    }
    if report.truncated > 0 {
        text.push_str(&format!(", {} texts longer than the model takes were cut", report.truncated));
    }
    if let Some(speed) = report.speed() {
        text.push_str(&format!(", {speed}"));
    }
    for (table, files) in &report.gone {
        let files = counted(*files as u64, &format!("file of {table} is"), &format!("files of {table} are"));
        text.push_str(&format!("\n{}: {files} gone: run it again with --{table}", report.folder));
    }
    text
}
