//! SIGKILL, a full disk and a second writer while whole caches are worked on: run again, every byte is as if nothing had
//! happened.

#![expect(clippy::print_stdout, reason = "a child tells the test that started it")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use retort_cache::{
    Dataset, DatasetWriter, Error, Interrupt, Quiet, SplitPlan, TeacherCache, convert, copy_teacher, quarantine,
    remove_teacher, verify,
};
use support::{ALL, Result, open_writer, write_dataset, write_features_in_runs, write_split_in_runs, write_teacher};
use tempfile::tempdir;

mod support;

/// What a process of this binary does, and in which folder.
const WORK: &str = "RETORT_TEST_WORK";
const FOLDER: &str = "RETORT_TEST_FOLDER";
/// The note of whoever holds a lock: no part of a data set, and a killed process leaves it.
const NOTE: &str = ".writer";
const SHARDS: u8 = 12;

/// A piece of work on the data set `set`, as the command of its name does it. A copy goes to `other`.
fn work(what: &str, folder: &Path) -> Result {
    let set = folder.join("set");
    let interrupt = Interrupt::default();
    match what {
        "teach" => write_teacher(&Dataset::open(&set)?, "clip", 1.0)?,
        "teach in parts" => write_features_in_runs(&Dataset::open(&set)?, "clip", 1.0, &ALL, 2)?,
        "convert" => {
            convert(&Dataset::open(&set)?, "clip", "cos:0.99".parse()?, false, &Quiet, &interrupt)?;
        }
        "copy" => {
            let other = Dataset::open(&folder.join("other"))?;
            copy_teacher(&Dataset::open(&set)?, "clip", &other, &Quiet, &interrupt)?;
        }
        "rm" => match remove_teacher(&set, "clip") {
            // It was killed when all was done.
            Err(Error::NoTeacher { .. }) => {}
            other => drop(other?),
        },
        "quarantine" => drop(quarantine(&set, &verify(&set, &Quiet, &interrupt)?)?),
        "hold" => {
            let dataset = Dataset::open(&set)?;
            let _teacher = open_writer(&dataset, "clip")?;
            let _split = DatasetWriter::begin(&set, other_split())?;
            println!("\nheld");
            // Until it is killed, or whoever started it is gone.
            std::io::stdin().read_to_end(&mut Vec::new())?;
        }
        _ => return Err(format!("no such work: {what}").into()),
    }
    Ok(())
}

/// No test by itself: what the tests below start as a process of its own.
#[test]
fn work_of_a_child() -> Result {
    let (Ok(what), Some(folder)) = (std::env::var(WORK), std::env::var_os(FOLDER)) else { return Ok(()) };
    let done = work(&what, Path::new(&folder));
    if let Some(error) = done.as_ref().err().and_then(|error| error.downcast_ref::<Error>()) {
        println!("\nerror: {error}\nhint: {}", error.hint().unwrap_or_default());
    }
    done
}

/// This binary, told to do a piece of work; behind `words`, if there are any.
fn child(words: &[&str], what: &str, folder: &Path) -> Result<Command> {
    let own = std::env::current_exe()?;
    let mut all = words.iter().map(OsStr::new).chain([own.as_os_str()]);
    let mut command = Command::new(all.next().ok_or("no command")?);
    command.args(all).args(["--exact", "work_of_a_child", "--nocapture"]).env(WORK, what).env(FOLDER, folder);
    Ok(command)
}

fn other_split() -> SplitPlan {
    SplitPlan { name: "val".to_owned(), source: "test".to_owned(), options: serde_json::Value::Null, answers: None }
}

/// Every file below a folder with its bytes, notes of locks left out.
fn tree(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if path.is_dir() {
            files.extend(tree(&path)?.into_iter().map(|(below, bytes)| (Path::new(&name).join(below), bytes)));
        } else if name != NOTE {
            files.insert(name.into(), fs::read(&path)?);
        }
    }
    Ok(files)
}

fn copy_folder(from: &Path, to: &Path) -> Result {
    for (file, bytes) in tree(from)? {
        let path = to.join(file);
        fs::create_dir_all(path.parent().ok_or("no parent")?)?;
        fs::write(path, bytes)?;
    }
    Ok(())
}

/// As deep below a folder as the tables of a teacher lie.
const DEPTH: usize = 4;

/// Names and lengths of all files so deep below a folder, as far as they hold still.
fn look(folder: &Path, depth: usize, seen: &mut Vec<(PathBuf, u64)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() && depth > 0 => look(&entry.path(), depth - 1, seen),
            Ok(metadata) => seen.push((entry.path(), metadata.len())),
            Err(_) => {}
        }
    }
}

/// Starts the work, kills it with SIGKILL when its folder has been seen to change so many times, and then looked at so many
/// times more, and tells whether it was still at work.
fn kill_after(what: &str, folder: &Path, mut changes: u64, mut looks: u64) -> Result<bool> {
    let (mut before, mut now) = (Vec::new(), Vec::new());
    look(folder, DEPTH, &mut before);
    let mut child = child(&[], what, folder)?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    loop {
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
        now.clear();
        look(folder, DEPTH, &mut now);
        if now != before {
            std::mem::swap(&mut now, &mut before);
            changes = changes.saturating_sub(1);
        } else if changes == 0 {
            looks = looks.saturating_sub(1);
        }
        if changes == 0 && looks == 0 {
            child.kill()?;
            return Ok(child.wait()?.code().is_none());
        }
        std::thread::yield_now();
    }
}

/// Numbers that do not repeat, so that kills come at many points.
fn number(seed: u64) -> u64 {
    let x = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33
}

fn damages(set: &Path) -> Result<Vec<PathBuf>> {
    Ok(verify(set, &Quiet, &Interrupt::default())?.damages.into_iter().map(|damage| damage.file).collect())
}

fn assert_same(found: &BTreeMap<PathBuf, Vec<u8>>, expected: &BTreeMap<PathBuf, Vec<u8>>, when: &str) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{when}");
    let differs = expected.iter().find(|(file, bytes)| found[*file] != **bytes);
    assert!(differs.is_none(), "{} differs {when}", differs.map_or(Path::new(""), |(file, _)| file).display());
}

/// Kills the work again and again in folders like that of `start`, each time within `most` changes, and runs it to its end:
/// all is as after one run that nothing interrupted. `between` looks at what a kill leaves.
fn is_the_same_after_kills(
    what: &str,
    most: u64,
    start: impl Fn(&Path) -> Result,
    between: impl Fn(&Path) -> Result,
) -> Result {
    const ROUNDS: u64 = 3;
    // A kill may come when the work is done already, on a busy machine nearly always: then there are more rounds.
    const MOST_ROUNDS: u64 = 60;
    const KILLS: u64 = 4;
    let folder = tempdir()?;
    let (begun, whole) = (folder.path().join("begun"), folder.path().join("whole"));
    start(&begun)?;
    copy_folder(&begun, &whole)?;
    work(what, &whole)?;
    let expected = tree(&whole)?;
    assert!(expected != tree(&begun)?, "{what} does nothing");
    let mut killed = 0;
    for round in 0..MOST_ROUNDS {
        if round >= ROUNDS && killed >= 2 {
            break;
        }
        let broken = folder.path().join(format!("broken-{round}"));
        copy_folder(&begun, &broken)?;
        for kill in 0..KILLS {
            let seed = 2 * (round * KILLS + kill);
            killed += u64::from(kill_after(what, &broken, 1 + number(seed) % most, number(seed + 1) % 8)?);
            between(&broken)?;
        }
        let ran = child(&[], what, &broken)?.output()?;
        assert!(ran.status.success(), "{what} after kills: {}", String::from_utf8_lossy(&ran.stdout));
        assert_same(&tree(&broken)?, &expected, &format!("after the kills of round {round} of {what}"));
        assert_eq!(damages(&broken.join("set"))?, Vec::<PathBuf>::new());
    }
    assert!(killed >= 2, "only {killed} of {} kills of {what} came in time", MOST_ROUNDS * KILLS);
    Ok(())
}

fn taught(folder: &Path) -> Result {
    write_teacher(&write_dataset(&folder.join("set"), SHARDS, 0)?, "clip", 1.0)
}

/// What is there is whole, but for tables of a teacher without a manifest: of the first shard, which was not committed, or
/// what a removal has not come to.
fn only_a_manifest_is_missing(set: &Path) -> Result {
    let found = damages(set)?;
    assert!(found.iter().all(|file| file.ends_with("teacher.json") && !set.join(file).exists()), "{found:?}");
    Ok(())
}

#[test]
fn teaching_killed_and_run_again_gives_the_same_bytes() -> Result {
    let start = |folder: &Path| write_dataset(&folder.join("set"), SHARDS, 0).map(drop);
    is_the_same_after_kills("teach", 40, start, |folder| only_a_manifest_is_missing(&folder.join("set")))
}

/// Tables are added to shards that are in parts already, and to others.
#[test]
fn teaching_in_parts_killed_and_run_again_gives_the_same_bytes() -> Result {
    let start = |folder: &Path| -> Result {
        let dataset = write_split_in_runs(&folder.join("set"), "train", SHARDS, 0, 2)?;
        write_features_in_runs(&dataset, "clip", 1.0, &ALL[..1], 2)
    };
    is_the_same_after_kills("teach in parts", 40, start, |folder| {
        assert_eq!(damages(&folder.join("set"))?, Vec::<PathBuf>::new());
        Ok(())
    })
}

#[test]
fn a_conversion_killed_and_run_again_gives_the_same_bytes() -> Result {
    is_the_same_after_kills("convert", 40, taught, |folder| only_a_manifest_is_missing(&folder.join("set")))
}

#[test]
fn a_copy_killed_and_run_again_gives_the_same_bytes() -> Result {
    let start = |folder: &Path| -> Result {
        taught(folder)?;
        write_dataset(&folder.join("other"), SHARDS, 0).map(drop)
    };
    is_the_same_after_kills("copy", 40, start, |folder| {
        assert_eq!(damages(&folder.join("set"))?, Vec::<PathBuf>::new());
        only_a_manifest_is_missing(&folder.join("other"))
    })
}

#[test]
fn a_removal_killed_and_run_again_leaves_nothing_and_takes_nothing_else() -> Result {
    let start = |folder: &Path| -> Result {
        taught(folder)?;
        let dataset = Dataset::open(&folder.join("set"))?;
        write_teacher(&dataset, "other", 1.0)?;
        // What goes with the folder, so much that it takes its time: deeper than what is looked at.
        let aside = TeacherCache::open(&dataset, "clip")?.folder().join("quarantine/words/old");
        fs::create_dir_all(&aside)?;
        (0..1000).try_for_each(|file| fs::write(aside.join(format!("{file}.parquet")), "old"))?;
        Ok(())
    };
    is_the_same_after_kills("rm", 2, start, |folder| {
        only_a_manifest_is_missing(&folder.join("set"))?;
        let dataset = Dataset::open(&folder.join("set"))?;
        assert_eq!(TeacherCache::open(&dataset, "other")?.shard_count(), usize::from(SHARDS));
        Ok(())
    })
}

#[test]
fn setting_aside_killed_and_run_again_sets_the_same_aside() -> Result {
    let start = |folder: &Path| -> Result {
        taught(folder)?;
        let dataset = Dataset::open(&folder.join("set"))?;
        let clip = TeacherCache::open(&dataset, "clip")?.folder().to_owned();
        // Of one teacher tables are damaged, of another the manifest.
        write_teacher(&dataset, "lost", 1.0)?;
        let mut files = vec![TeacherCache::open(&dataset, "lost")?.folder().join("teacher.json")];
        files.extend((0..SHARDS).map(|shard| clip.join(format!("texts/train-{shard:05}.parquet"))));
        files.extend((0..SHARDS / 2).map(|shard| clip.join(format!("words/train-{shard:05}.parquet"))));
        for file in files {
            let mut bytes = fs::read(&file)?;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            fs::write(file, bytes)?;
        }
        Ok(())
    };
    is_the_same_after_kills("quarantine", 4, start, |folder| {
        // What is not yet aside is still known to be damaged, and nothing else is.
        let found = damages(&folder.join("set"))?;
        let was_damaged = |file: &PathBuf| {
            file.ends_with("teacher.json")
                || ["texts", "words"].iter().any(|table| file.parent().is_some_and(|folder| folder.ends_with(table)))
        };
        assert!(found.iter().all(|file| file.starts_with("cache") && was_damaged(file)), "{found:?}");
        Ok(())
    })
}

#[test]
fn a_second_writer_is_told_by_whom_and_a_dead_one_holds_nothing() -> Result {
    let folder = tempdir()?;
    let dataset = write_dataset(&folder.path().join("set"), 1, 0)?;
    let mut holder = child(&[], "hold", folder.path())?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut said = BufReader::new(holder.stdout.take().ok_or("no stdout")?).lines();
    assert!(said.any(|line| line.is_ok_and(|line| line == "held")), "it holds nothing");
    let process = holder.id().to_string();
    let teacher = open_writer(&dataset, "clip").err().ok_or("two writers of a teacher")?;
    let split = DatasetWriter::begin(dataset.folder(), other_split()).err().ok_or("two writers of a data set")?;
    for error in [teacher.downcast_ref::<Error>().ok_or("another error")?, &split] {
        assert!(matches!(error, Error::Locked { .. }), "{error}");
        assert!(error.to_string().ends_with(&format!("is being written by process {process}")), "{error}");
        assert!(error.hint().is_some());
    }
    holder.kill()?;
    holder.wait()?;
    // What it wrote down of itself stays, and stops nobody.
    assert_eq!(fs::read_to_string(dataset.folder().join(NOTE))?, process);
    write_teacher(&dataset, "clip", 1.0)?;
    DatasetWriter::begin(dataset.folder(), other_split())?.finish()?;
    assert!(!dataset.folder().join(NOTE).exists());
    assert_eq!(damages(dataset.folder())?, Vec::<PathBuf>::new());
    Ok(())
}

/// Files that may not grow beyond a size stand for a disk without room: either is an error of the write.
#[test]
fn features_without_room_are_not_committed_and_the_run_goes_on_when_there_is_some() -> Result {
    let folder = tempdir()?;
    let [whole, cramped] = ["whole", "cramped"].map(|name| folder.path().join(name));
    taught(&whole)?;
    let dataset = write_dataset(&cramped.join("set"), SHARDS, 0)?;
    let expected = tree(&whole)?;
    let manifest = expected.iter().find(|(file, _)| file.ends_with("teacher.json")).ok_or("no manifest")?;
    // In blocks of 512 bytes: the first table has no room, then the manifest of half the shards.
    for (blocks, file) in [(1, "images/train-00000.parquet"), (manifest.1.len() / 512 / 2, "teacher.json")] {
        // SIGXFSZ would kill: ignored, the write fails instead.
        let limit = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let ran = child(&["sh", "-c", &limit], "teach", &cramped)?.output()?;
        let said = String::from_utf8(ran.stdout)?;
        assert!(!ran.status.success() && said.contains(file), "{said}");
        assert!(said.contains("hint: make room and run the same command again: what was committed is kept"), "{said}");
        let half = |file: &PathBuf| file.extension().is_some_and(|ending| ending == "partial");
        assert!(!tree(&cramped)?.keys().any(half), "something half-written is left");
        match TeacherCache::open(&dataset, "clip") {
            Ok(teacher) => assert!((1..usize::from(SHARDS)).contains(&teacher.shard_count()) && blocks > 1),
            Err(error) => assert!(matches!(error, Error::NoTeacher { .. }) && blocks == 1, "{error}"),
        }
        assert_eq!(damages(dataset.folder())?, Vec::<PathBuf>::new());
    }
    work("teach", &cramped)?;
    assert_same(&tree(&cramped)?, &expected, "after runs without room");
    Ok(())
}
