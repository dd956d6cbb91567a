//! Teaching as one call does it: several teachers, several workers, asked to stop.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use retort_cache::{Dataset, Error as CacheError, Interrupt, Progress, Quiet, TeacherCache, verify};
use retort_schemas::manifest::{BatchPlan, CACHE_FOLDER};
use retort_schemas::{Dtype, Store};
use retort_teachers::{Error, Job, Options, Report, Teacher, teach};
use serde_json::Value;
use tch::Device;

use crate::support::command::{VqaFiles, command, succeed, text};
use crate::support::dataset::{Rows, stripes, write_dataset};
use crate::support::{Result, golden, tree};

const OPTIONS: Options = Options {
    store: Store::F16,
    tokens: true,
    words: true,
    patches: false,
    batch: BatchPlan::of_rows(2, 3),
    find_batch: false,
};

/// Six shards of different sizes.
fn six_shards() -> Result<Vec<Rows>> {
    const TEXTS: [&str; 4] =
        ["a red circle", "Is there a blue square?", "what is it", "the GREEN triangle and a square"];
    let shard = |number: u8| -> Result<Rows> {
        let images = (0..=number % 4).map(|at| Ok((10 * number + at, stripes(10 * number + at)?)));
        let texts = (0..3).map(|at| (100 + 10 * number + at, TEXTS[usize::from(number + at) % TEXTS.len()]));
        Ok(Rows { images: images.collect::<Result<_>>()?, texts: texts.collect() })
    };
    (0..6).map(shard).collect()
}

fn open(model: &str) -> Result<Teacher> {
    Ok(Teacher::open(&golden(model), Device::Cpu, Dtype::F32)?)
}

fn teach_quietly(dataset: &Dataset, jobs: &mut [Job<'_>], options: &Options) -> Result<Vec<Report>> {
    Ok(teach(dataset, jobs, options, &Quiet, &Interrupt::default())?)
}

/// The caches of teachers that were taught one after the other.
fn taught_apart(folder: &Path, models: &[&str]) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let dataset = write_dataset(folder, &six_shards()?)?;
    for model in models {
        teach_quietly(&dataset, &mut [Job::new(model, &open(model)?)], &OPTIONS)?;
    }
    caches(&dataset)
}

fn caches(dataset: &Dataset) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    Ok(tree(&dataset.folder().join(CACHE_FOLDER))?.into_iter().collect())
}

fn assert_same(found: &[(PathBuf, Vec<u8>)], expected: &[(PathBuf, Vec<u8>)]) {
    let names = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(found), names(expected));
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        assert!(found == expected, "{} differs", name.display());
    }
}

const MODELS: [&str; 3] = ["clip", "bert", "dinov2"];

#[test]
fn teachers_of_one_call_give_what_each_gives_alone() -> Result {
    let folder = tempfile::tempdir()?;
    let expected = taught_apart(&folder.path().join("apart"), &MODELS)?;
    let dataset = write_dataset(&folder.path().join("together"), &six_shards()?)?;
    let teachers = MODELS.iter().map(|model| open(model)).collect::<Result<Vec<_>>>()?;
    let mut jobs: Vec<Job<'_>> = MODELS.iter().zip(&teachers).map(|(name, teacher)| Job::new(name, teacher)).collect();
    let reports = teach_quietly(&dataset, &mut jobs, &OPTIONS)?;
    assert!(reports.iter().all(|report| (report.computed, report.kept) == (6, 0)), "{reports:?}");
    // 13 images; 18 texts; 6 words, twice.
    assert_eq!(reports.iter().map(|report| report.items).collect::<Vec<_>>(), [13 + 18 + 12, 18 + 12, 13]);
    assert_same(&caches(&dataset)?, &expected);
    assert!(verify(dataset.folder(), &Quiet, &Interrupt::default())?.damages.is_empty());
    Ok(())
}

#[test]
fn each_teacher_gets_what_it_lacks() -> Result {
    let folder = tempfile::tempdir()?;
    let expected = taught_apart(&folder.path().join("apart"), &MODELS)?;
    let dataset = write_dataset(&folder.path().join("by-and-by"), &six_shards()?)?;
    let [clip, bert, dino] = [open("clip")?, open("bert")?, open("dinov2")?];
    let neither = Options { tokens: false, words: false, ..OPTIONS };
    teach_quietly(&dataset, &mut [Job::new("clip", &clip)], &neither)?;
    teach_quietly(&dataset, &mut [Job::new("bert", &bert)], &Options { words: false, ..OPTIONS })?;
    let mut jobs = [Job::new("clip", &clip), Job::new("bert", &bert), Job::new("dinov2", &dino)];
    let reports = teach_quietly(&dataset, &mut jobs, &OPTIONS)?;
    // Tokens and words; words; images.
    assert_eq!(reports.iter().map(|report| report.items).collect::<Vec<_>>(), [18 + 12, 12, 13]);
    let again = teach_quietly(&dataset, &mut jobs, &OPTIONS)?;
    assert!(again.iter().all(|report| (report.computed, report.kept, report.speed()) == (0, 6, None)), "{again:?}");
    assert_same(&caches(&dataset)?, &expected);
    Ok(())
}

/// Whichever worker does a shard, and in whatever order shards are done.
#[test]
fn several_workers_write_the_same_bytes_as_one() -> Result {
    let folder = tempfile::tempdir()?;
    let expected = taught_apart(&folder.path().join("one"), &MODELS[..2])?;
    for copies in [1, 2] {
        let dataset = write_dataset(&folder.path().join(copies.to_string()), &six_shards()?)?;
        let [clip, bert] = [open("clip")?, open("bert")?];
        let copies_of = |model: &str| (0..copies).map(|_| open(model)).collect::<Result<Vec<_>>>();
        let [mut clips, mut berts] = [copies_of("clip")?, copies_of("bert")?];
        let mut jobs = [
            Job { name: "clip", teacher: &clip, copies: &mut clips },
            Job { name: "bert", teacher: &bert, copies: &mut berts },
        ];
        let reports = teach_quietly(&dataset, &mut jobs, &OPTIONS)?;
        assert!(reports.iter().all(|report| report.computed == 6), "{reports:?}");
        assert_same(&caches(&dataset)?, &expected);
    }
    Ok(())
}

/// One worker fails at once; the other does not go on to the end.
#[test]
fn a_failure_stops_every_worker() -> Result {
    let folder = tempfile::tempdir()?;
    let shard = |number: u8| -> Result<Rows> {
        let mut images = vec![(number, stripes(number)?)];
        if number == 0 {
            images[0].1.truncate(60);
        }
        Ok(Rows { images, texts: vec![(100 + number, "a red circle")] })
    };
    let dataset = write_dataset(folder.path(), &(0..60).map(shard).collect::<Result<Vec<_>>>()?)?;
    let (clip, mut copies) = (open("clip")?, [open("clip")?]);
    let job = Job { name: "clip", teacher: &clip, copies: &mut copies };
    let failed = teach(&dataset, &mut [job], &OPTIONS, &Quiet, &Interrupt::default());
    let said = failed.err().ok_or("it was taught")?.to_string();
    assert!(said.contains("of shard train-00000: "), "{said}");
    let done = TeacherCache::open(&dataset, "clip").map_or(0, |cache| cache.shard_count());
    assert!(done < 30, "{done} shards were done after the first had failed");
    Ok(())
}

/// One that was begun with a count of texts, before there were budgets of tokens, above all.
#[test]
fn a_cache_goes_on_with_the_batches_that_it_was_begun_with() -> Result {
    let folder = tempfile::tempdir()?;
    let bert = open("bert")?;
    let budget = BatchPlan { images: 3, texts: 4, tokens: Some(20) };
    let mut all = Vec::new();
    for (begun, later) in [(OPTIONS.batch, budget), (budget, OPTIONS.batch)] {
        let taught = |name: &str, steps: &[Options]| -> Result<Vec<(PathBuf, Vec<u8>)>> {
            let name = format!("{name}-{:?}", begun.tokens);
            let dataset = write_dataset(&folder.path().join(name), &six_shards()?)?;
            for options in steps {
                let report = teach_quietly(&dataset, &mut [Job::new("bert", &bert)], options)?.remove(0);
                assert_eq!(report.batch, begun);
            }
            assert_eq!(TeacherCache::open(&dataset, "bert")?.manifest().batch, begun);
            caches(&dataset)
        };
        let whole = Options { batch: begun, ..OPTIONS };
        let expected = taught("whole", &[whole])?;
        let first = Options { words: false, tokens: false, ..whole };
        assert_same(&taught("by-and-by", &[first, Options { batch: later, ..OPTIONS }])?, &expected);
        all.push(expected);
    }
    let budgets = all.iter().map(|files| files.iter().any(|(_, bytes)| contains(bytes, b"\"tokens\": 20")));
    assert_eq!(budgets.collect::<Vec<_>>(), [false, true]);
    Ok(())
}

fn contains(bytes: &[u8], words: &[u8]) -> bool {
    bytes.windows(words.len()).any(|window| window == words)
}

/// Asks to stop after so many steps.
struct StopAfter {
    steps: usize,
    done: AtomicUsize,
    interrupt: Interrupt,
}

impl StopAfter {
    fn new(steps: usize) -> Self {
        Self { steps, done: AtomicUsize::new(0), interrupt: Interrupt::default() }
    }
}

impl Progress for StopAfter {
    fn begin(&self, _: &str, _: u64, _: &'static str) {}

    fn advance(&self, _: u64) {
        if self.done.fetch_add(1, Ordering::Relaxed) + 1 == self.steps {
            self.interrupt.request();
        }
    }

    fn note(&self, _: &str) {}

    fn end(&self) {}
}

#[test]
fn interrupted_anywhere_and_continued_it_writes_the_same_bytes() -> Result {
    let folder = tempfile::tempdir()?;
    let teacher = open("clip")?;
    // Batches so small that every table of a shard takes several.
    let options = Options { batch: BatchPlan::of_rows(1, 2), ..OPTIONS };
    let two_shards = &six_shards()?[2..4];
    let teach_clip = |dataset: &Dataset, progress: &StopAfter| {
        teach(dataset, &mut [Job::new("clip", &teacher)], &options, progress, &progress.interrupt)
    };
    let whole = write_dataset(&folder.path().join("whole"), two_shards)?;
    let counter = StopAfter::new(usize::MAX);
    teach_clip(&whole, &counter)?;
    let steps = counter.done.load(Ordering::Relaxed);
    let expected = caches(&whole)?;
    // teacher.json, and four tables of two shards each.
    assert_eq!(expected.len(), 9, "files of one teacher");

    let mut kept = Vec::new();
    for stop in 1..=steps {
        let dataset = write_dataset(&folder.path().join(stop.to_string()), two_shards)?;
        let progress = StopAfter::new(stop);
        let stopped = teach_clip(&dataset, &progress);
        let interrupted = matches!(stopped, Err(Error::Cache(CacheError::Interrupted)));
        assert!(interrupted || stopped.is_ok(), "asked to stop at step {stop} of {steps}: {stopped:?}");
        let report = teach_quietly(&dataset, &mut [Job::new("clip", &teacher)], &options)?.remove(0);
        assert_eq!(report.kept + report.computed, 2, "stopped at step {stop}");
        assert_eq!(interrupted, report.computed > 0, "stopped at step {stop}");
        kept.push(report.kept);
        assert_same(&caches(&dataset)?, &expected);
    }
    // The shard that is being computed is finished, wherever in it the stop comes.
    let in_first = kept.iter().filter(|kept| **kept == 1).count();
    assert!(in_first > 4 && in_first < steps - 4, "{kept:?}");
    assert!(
        kept[..in_first].iter().all(|kept| *kept == 1) && kept[in_first..].iter().all(|kept| *kept == 2),
        "{kept:?}"
    );
    Ok(())
}

/// A data set of 60 images in 30 shards, and the arguments that teach it.
fn ingested(folder: &Path) -> Result<(PathBuf, Vec<String>)> {
    fs::create_dir_all(folder)?;
    let dataset = folder.join("set");
    let ran = VqaFiles::write(&folder.join("vqa"), 60)?.ingest(&dataset, "train")?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let teachers = ["clip", "bert"].map(|name| format!("{name}={}", golden(name).display()));
    let arguments = ["teach", text(&dataset), "--teacher", &teachers[0], "--teacher", &teachers[1], "--words"];
    let arguments = arguments.map(str::to_owned).to_vec();
    Ok((dataset, arguments))
}

fn strs(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// Shards in the manifest of a teacher of a data set.
fn committed(dataset: &Path, name: &str) -> usize {
    let folders = fs::read_dir(dataset.join(CACHE_FOLDER)).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_of = |folder: &PathBuf| folder.file_name().is_some_and(|found| found.to_string_lossy().starts_with(name));
    let manifest = folders.filter(is_of).find_map(|folder| fs::read(folder.join("teacher.json")).ok());
    let manifest: Value = serde_json::from_slice(&manifest.unwrap_or_default()).unwrap_or_default();
    manifest["splits"][0]["shards"].as_array().map_or(0, Vec::len)
}

fn signal(child: &Child, name: &str) -> Result {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status()?;
    assert!(status.success(), "kill -{name}: {status}");
    Ok(())
}

fn start(arguments: &[&str]) -> Result<Child> {
    Ok(command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

/// Waits for a state that a process brings about; fails where it ends before, or takes minutes.
fn wait_until(child: &mut Child, reached: impl Fn() -> bool) -> Result {
    let began = Instant::now();
    while !reached() {
        let ended = child.try_wait()?;
        if ended.is_some() || began.elapsed() > Duration::from_secs(120) {
            child.kill()?;
            return Err(format!("it is not reached: {ended:?} after {:?}", began.elapsed()).into());
        }
        std::thread::yield_now();
    }
    Ok(())
}

#[test]
fn ctrl_c_ends_teaching_behind_a_shard_and_the_next_run_continues() -> Result {
    let folder = tempfile::tempdir()?;
    let (dataset, arguments) = ingested(folder.path())?;
    let mut child = start(&strs(&arguments))?;
    wait_until(&mut child, || committed(&dataset, "bert") > 0)?;
    // Asleep, it sees the request before it can end by itself.
    signal(&child, "STOP")?;
    signal(&child, "INT")?;
    signal(&child, "CONT")?;
    let ended = child.wait_with_output()?;
    let said = String::from_utf8(ended.stderr)?;
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.contains("stopping behind what is being worked on") && said.contains("error: interrupted"), "{said}");
    let kept = ["clip", "bert"].map(|name| committed(&dataset, name));
    assert!(kept[0] == kept[1] && (1..30).contains(&kept[0]), "{kept:?}: whole shards, of all teachers");

    let ran = succeed(&strs(&arguments))?;
    for line in ran.lines() {
        let word = |count, one, many| if count == 1 { one } else { many };
        let (left, kept) = (30 - kept[0], kept[0]);
        let [shards, were] = [word(left, "shard", "shards"), word(kept, "was", "were")];
        let expected = format!("{left} {shards} computed, {kept} {were} there, ");
        assert!(line.contains(&expected), "{line}");
        assert!(line.contains(" items/s, the device waited ") && line.ends_with(" % of the time"), "{line}");
    }
    succeed(&["verify", text(&dataset)])?;
    let whole = folder.path().join("whole");
    let (uninterrupted, arguments) = ingested(&whole)?;
    succeed(&strs(&arguments))?;
    let [found, expected] = [&dataset, &uninterrupted].map(|dataset| tree(&dataset.join(CACHE_FOLDER)));
    assert!(found? == expected?, "a file differs from that of a run that nobody stopped");
    Ok(())
}

/// The shard that it would finish first cannot be read to its end: the table is a pipe that nobody writes.
#[test]
fn a_second_ctrl_c_ends_it_at_once() -> Result {
    let folder = tempfile::tempdir()?;
    let (dataset, arguments) = ingested(folder.path())?;
    let (table, aside) = (dataset.join("images/train-00003.parquet"), folder.path().join("aside"));
    fs::rename(&table, &aside)?;
    assert!(Command::new("mkfifo").arg(&table).status()?.success());
    let mut child = start(&strs(&arguments))?;
    wait_until(&mut child, || committed(&dataset, "bert") >= 3)?;
    let began = Instant::now();
    let ended = loop {
        // Again and again: two that come at once can be one.
        signal(&child, "INT")?;
        match child.try_wait()? {
            Some(status) => break status,
            None if began.elapsed() > Duration::from_secs(60) => child.kill()?,
            None => std::thread::yield_now(),
        }
    };
    assert_eq!(ended.code(), Some(130));
    assert_eq!(["clip", "bert"].map(|name| committed(&dataset, name)), [3, 3]);
    fs::rename(&aside, &table)?;
    let ran = succeed(&strs(&arguments))?;
    assert!(ran.lines().all(|line| line.contains("27 shards computed, 3 were there")), "{ran}");
    Ok(())
}
