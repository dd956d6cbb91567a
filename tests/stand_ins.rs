//! The protocols of the real data sets as they are shipped: the commands of their headers, from raw files to the table.
//! The files are stand-ins of the published layout, and `--set` alone makes the students tiny. Every arm is made by one of
//! the tests at least, `base+mlm` and `clip-grid` by each.

mod raw;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::SystemTime;
use std::{fs, io};

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::support::command::{Ran, command, text};
use crate::support::{Result, copy_folder, golden, repository, shared};

/// What makes any of the students small enough for a test, and its runs short.
const TINY: &[&str] = &[
    "device=cpu",
    "data.pool_samples=64",
    "data.block_samples=2",
    "student.layers=2",
    "student.heads=2",
    "optim.steps=2",
    "optim.batch=4",
    "optim.warmup_steps=1",
    "adapt.steps=2",
    "adapt.warmup_steps=1",
    "validate.every=2",
];
/// The golden ViLT, which has these sizes.
const OF_VILT: &[&str] =
    &["student.hidden=24", "student.image_size=24", "student.patch_size=8", "student.text_tokens=20"];

/// A folder that looks as the protocol's header expects the current folder to look.
struct Place {
    folder: TempDir,
    protocol: &'static str,
}

/// What is asked of a protocol.
struct Asked {
    arms: &'static [&'static str],
    conditions: &'static [&'static str],
    seeds: &'static [&'static str],
    /// Split, and whether it is the shifted one.
    splits: [(&'static str, bool); 2],
}

impl Place {
    fn new(protocol: &'static str) -> Result<Self> {
        let folder = tempdir()?;
        symlink(repository().join("trainer"), folder.path().join("trainer"))?;
        copy_folder(&golden("clip"), &folder.path().join("models/clip-vit-base-patch32"))?;
        copy_folder(&golden("vilt-mlm"), &folder.path().join("models/vilt-b32-mlm"))?;
        Ok(Self { folder, protocol })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn out(&self) -> PathBuf {
        self.path("protocols").join(self.protocol)
    }

    fn run(&self, arguments: &[&str]) -> Result<Ran> {
        let output = command(arguments).current_dir(self.folder.path()).output()?;
        let [stdout, stderr] = [output.stdout, output.stderr].map(String::from_utf8);
        let ran = Ran { code: output.status.code(), stdout: stdout?, stderr: stderr? };
        assert_eq!(ran.code, Some(0), "retort {arguments:?}: {}\n{}", ran.stdout, ran.stderr);
        Ok(ran)
    }

    /// The commands of the protocol's header, without the `retort` before them.
    fn commands(&self) -> Result<Vec<Vec<String>>> {
        let file = fs::read_to_string(self.path("trainer/protocols").join(format!("{}.toml", self.protocol)))?;
        let lines = file.lines().map_while(|line| line.strip_prefix('#')).collect::<Vec<_>>().join("\n");
        let lines = lines.replace("\\\n", " ");
        let commands = lines.lines().filter_map(|line| line.trim().strip_prefix("retort "));
        Ok(commands.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect())
    }

    /// Carries out all of the header before the protocol itself, and gives the protocol's command.
    fn prepare(&self) -> Result<Vec<String>> {
        let mut commands = self.commands()?;
        let last = commands.pop().ok_or("the header has no commands")?;
        assert_eq!(last, ["protocol", &format!("trainer/protocols/{}.toml", self.protocol)]);
        for arguments in commands {
            self.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        Ok(last)
    }

    /// Carries out a part of the protocol, given by `command`, and looks at all that it leaves behind.
    fn carry_out(&self, command: &[String], settings: &[&str], asked: &Asked) -> Result<String> {
        let Asked { arms, conditions, seeds, splits } = asked;
        let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        let (arms_flag, conditions_flag, seeds_flag) = (arms.join(","), conditions.join(","), seeds.join(","));
        arguments.extend(["--arms", &arms_flag, "--conditions", &conditions_flag, "--seeds", &seeds_flag]);
        arguments.extend(settings.iter().flat_map(|setting| ["--set", *setting]));
        let Ran { stdout: table, stderr, .. } = self.run(&arguments)?;

        let out = self.out();
        assert!(!out.join("failed.json").exists(), "{stderr}");
        assert_eq!(fs::read_to_string(out.join("results.md"))?, table);
        assert!(!stderr.contains("no report.html"), "{stderr}");
        let page = fs::read_to_string(out.join("report.html"))?;
        assert!(arms.iter().all(|arm| page.contains(arm)), "an arm is not in the page");
        assert!(table.contains("**A part of the protocol:** "), "{table}");
        for condition in *conditions {
            for (split, shifted) in splits {
                let shifted = if *shifted { " (shifted)" } else { "" };
                assert!(table.contains(&format!("\n## {condition}, on {split}{shifted}\n")), "{table}");
            }
        }
        for floor in ["| floor: commonest answer | ", "| floor: question alone | "] {
            assert_eq!(table.matches(floor).count(), conditions.len() * splits.len(), "{table}");
        }
        for arm in *arms {
            let whole = format!("{}/{0} |", seeds.len());
            let rows: Vec<&str> = table.lines().filter(|line| line.starts_with(&format!("| {arm} | "))).collect();
            let scored = rows.iter().filter(|row| row.contains(&whole)).count();
            assert_eq!(scored, conditions.len() * splits.len(), "{arm}: {table}");
        }
        self.check_rows(asked)?;
        Ok(table)
    }

    /// `results.parquet` has one row for each run and split, and a score and floors in each.
    fn check_rows(&self, asked: &Asked) -> Result {
        let rows = self.ask(
            "SELECT condition, arm, seed, split, shifted, accuracy, majority, question_only, test_samples FROM runs",
        )?;
        let mut left = BTreeSet::new();
        for condition in asked.conditions {
            for arm in asked.arms {
                for seed in asked.seeds {
                    left.extend(
                        asked.splits.map(|(split, shifted)| format!("{condition}|{arm}|{seed}|{split}|{shifted}")),
                    );
                }
            }
        }
        let rows = rows.as_array().ok_or("no list")?;
        assert_eq!(rows.len(), left.len());
        for row in rows {
            let word = |name: &str| row[name].to_string().trim_matches('"').to_owned();
            let key = ["condition", "arm", "seed", "split", "shifted"].map(word).join("|");
            assert!(left.remove(&key), "{key} was not asked for, or is there twice");
            for share in ["accuracy", "majority", "question_only"] {
                assert!(row[share].as_f64().is_some_and(|share| (0.0..=1.0).contains(&share)), "{share}: {row}");
            }
            assert!(row["test_samples"].as_u64().is_some_and(|count| count > 0), "{row}");
        }
        assert_eq!(left, BTreeSet::new());
        Ok(())
    }

    /// The runs, and when each was written last.
    fn runs(&self) -> Result<BTreeMap<PathBuf, SystemTime>> {
        let run = |run: io::Result<fs::DirEntry>| -> Result<_> {
            let path = run?.path();
            let written = fs::metadata(path.join("run.json"))?.modified()?;
            Ok((path, written))
        };
        fs::read_dir(self.out().join("runs"))?.map(run).collect()
    }

    /// What SQL says of the protocol's tables.
    fn ask(&self, query: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.run(&["sql", text(&self.out()), "-c", query, "--format", "json"])?.stdout)?)
    }

    /// How many samples of the shifted split are other than their originals.
    fn changed(&self, split: &str) -> Result<u64> {
        let query = format!("SELECT count(*) AS n FROM samples WHERE split = '{split}' AND change IS NOT NULL");
        let set = self.path("data").join(self.protocol);
        let rows: Value =
            serde_json::from_str(&self.run(&["sql", text(&set), "-c", &query, "--format", "json"])?.stdout)?;
        rows[0]["n"].as_u64().ok_or_else(|| "no count".into())
    }
}

/// A student that has learnt next to nothing, as a folder to start from.
fn pretrained(place: &Place, kind: &str, settings: &[&str]) -> Result<PathBuf> {
    let recipe = place.path("pretrained.toml");
    fs::write(&recipe, format!("[data]\ndataset = \"data/{}\"\n[student]\nkind = {kind:?}\n", place.protocol))?;
    let run = place.path("pretrained");
    let settings: Vec<&str> = TINY.iter().chain(settings).flat_map(|setting| ["--set", *setting]).collect();
    place.run(&[&["train", text(&recipe), "--run", text(&run)], &settings[..]].concat())?;
    Ok(run.join("student"))
}

#[test]
fn the_protocol_of_vcr_runs_from_raw_files_to_its_table() -> Result {
    let place = Place::new("vcr")?;
    raw::write_vcr(place.folder.path())?;
    let command = place.prepare()?;
    assert!(place.changed("val-shifted")? > 0, "nothing is shifted");
    let sizes = ["student.hidden=24", "student.text_tokens=48"];
    let student = pretrained(&place, "uniter", &sizes)?;
    copy_folder(&student, &place.path("models/uniter-base"))?;

    let arms = &["base", "mad", "base+mlm", "clip-grid", "kd+ts+cw+shuffled-weights"];
    let splits = [("val", false), ("val-shifted", true)];
    let asked = Asked { arms, conditions: &["100 %"], seeds: &["1"], splits };
    let table = place.carry_out(&command, &[TINY, &sizes].concat(), &asked)?;
    assert!(table.contains("5 of 12 arms, 1 of 4 conditions, 1 of 3 seeds"), "{table}");
    // Both halves of each question: Q->A, QA->R, Q->AR.
    assert_eq!(table.matches("| arm | Q->A | QA->R | Q->AR |").count(), 2, "{table}");
    Ok(())
}

#[test]
fn the_protocol_of_snli_ve_runs_from_raw_files_to_its_table() -> Result {
    let shared = match shared("flickr8k_snlive") {
        Ok(shared) => shared,
        Err(absent) => {
            eprintln!("{absent}");
            return Ok(());
        }
    };
    let place = Place::new("snli-ve")?;
    raw::write_snli_ve(&shared, place.folder.path())?;
    let command = place.prepare()?;
    assert!(place.changed("test-corrected")? > 0, "nothing is corrected");

    let arms = &["base", "kd-v", "kd-t", "kd+ts+cw", "base+mlm", "clip-grid"];
    let splits = [("test", false), ("test-corrected", true)];
    let asked = Asked { arms, conditions: &["10 %"], seeds: &["1"], splits };
    let settings = [TINY, OF_VILT, &["validate.share=0.3"]].concat();
    let table = place.carry_out(&command, &settings, &asked)?;
    assert_eq!(table.matches("| floor: text's vector alone | ").count(), 2, "{table}");
    Ok(())
}

#[test]
fn the_protocol_of_vqa_runs_from_raw_files_to_its_table_and_goes_on() -> Result {
    let shared = match shared("coco_vqa") {
        Ok(shared) => shared,
        Err(absent) => {
            eprintln!("{absent}");
            return Ok(());
        }
    };
    let place = Place::new("vqa")?;
    raw::write_vqa(&shared, place.folder.path())?;
    let command = place.prepare()?;

    let splits = [("val", false), ("val-cp-test", true)];
    let settings = [TINY, OF_VILT, &["validate.share=0.5"]].concat();
    let part = Asked { arms: &["base"], conditions: &["1 %", "5 %"], seeds: &["2", "3"], splits };
    place.carry_out(&command, &settings, &part)?;
    let first = place.runs()?;
    assert_eq!(first.len(), 4);
    // Another part goes on from it.
    let arms = &["base", "kd", "kd+ts", "kd+ts+random-words", "kd+random-teacher", "base+mlm", "clip-grid"];
    let part = Asked { arms, conditions: &["5 %"], seeds: &["3"], splits };
    place.carry_out(&command, &settings, &part)?;
    let both = place.runs()?;
    assert_eq!(both.len(), 10);
    assert!(first.iter().all(|(run, written)| both.get(run) == Some(written)), "a run was made again");
    Ok(())
}
