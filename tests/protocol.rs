//! `retort protocol` through the real binaries: planned, killed, gone on with, asked with SQL.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::tempdir;

use crate::support::command::{VqaFiles, kill_when, retort, succeed, text};
use crate::support::{Result, golden};

const PROTOCOL: &str = r#"
seeds = [1, 2]
arms = ["base", "kd"]
[settings]
device = "cpu"
data = { dataset = "DATASET", pool_samples = 8, block_samples = 2 }
teachers = { image = "clip", text = "text" }
student = { hidden = 16, layers = 1, heads = 2, image_size = 32, patch_size = 16 }
optim = { batch = 4, lr = 0.003, warmup_steps = 2 }
log = { checkpoint_every = 5 }
[[conditions]]
name = "half"
shots = "50%"
steps = 30
shift = "other"
"#;

fn protocol(folder: &Path) -> Result<PathBuf> {
    let dataset = folder.join("set");
    let files = VqaFiles::write(&folder.join("vqa"), 12)?;
    for split in ["train", "test", "other"] {
        assert_eq!(files.ingest(&dataset, split)?.code, Some(0));
    }
    let [clip, bert] = [format!("clip={}", golden("clip").display()), format!("text={}", golden("bert").display())];
    succeed(&["teach", text(&dataset), "--teacher", &clip, "--teacher", &bert])?;
    let path = folder.join("tiny.toml");
    fs::write(&path, PROTOCOL.replace("DATASET", text(&dataset)))?;
    Ok(path)
}

/// Runs whose student is scored on both splits.
fn scored(out: &Path) -> usize {
    let Ok(runs) = fs::read_dir(out.join("runs")) else { return 0 };
    let both =
        |run: &Path| ["test", "other"].iter().all(|split| run.join(format!("evaluation-{split}.json")).is_file());
    runs.flatten().filter(|run| both(&run.path())).count()
}

#[test]
fn a_protocol_is_planned_killed_and_gone_on_with_to_its_table() -> Result {
    let folder = tempdir()?;
    let (protocol, out) = (protocol(folder.path())?, folder.path().join("out"));
    let arguments = ["protocol", text(&protocol), "--out", text(&out), "--slots", "1"];
    let plan = succeed(&[&arguments[..], &["--dry-run"]].concat())?;
    assert!(plan.contains("2 arms x 1 conditions x 2 seeds = 4 runs"), "{plan}");
    assert!(plan.contains("to do: 4 to train, 8 to score; 1 at a time"), "{plan}");
    assert!(plan.contains("training takes about") && !plan.contains("nothing is known"), "{plan}");
    assert!(plan.contains("warning: 2 seeds"), "{plan}");
    assert_eq!(scored(&out), 0);
    let refused = retort(&[&arguments[..], &["--dry-run", "--arms", "base,kdd"]].concat())?;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("there is no arm \"kdd\", only \"base\", \"kd\""), "{refused:?}");

    assert!(kill_when(&arguments, || scored(&out) >= 1)?, "it was done before it was killed");
    let kept = fs::read_dir(out.join("runs"))?
        .flatten()
        .map(|run| run.path())
        .find(|run| run.join("evaluation-other.json").is_file());
    let kept = kept.ok_or("no run is scored")?.join("run.json");
    let before = fs::metadata(&kept)?.modified()?;
    let table = succeed(&arguments)?;
    assert_eq!((fs::metadata(&kept)?.modified()?, scored(&out)), (before, 4));
    assert!(table.contains("## half, on other (shifted)") && table.contains("| kd | "), "{table}");
    assert_eq!(table, fs::read_to_string(out.join("results.md"))?);

    let ask = |query: &str| succeed(&["sql", text(&out), "-c", query, "--format", "json"]);
    let rows: Value = serde_json::from_str(&ask("SELECT count(*) AS n, sum(samples_seen) AS seen FROM runs")?)?;
    assert_eq!((&rows[0]["n"], &rows[0]["seen"]), (&8.into(), &960.into()));
    // The score of each run is the mean of its predictions'.
    let off = "SELECT count(*) AS n FROM runs r JOIN (SELECT run, split, avg(score) AS mean FROM predictions GROUP BY 1, 2) p \
               ON p.run = r.run AND p.split = r.split WHERE abs(p.mean - r.accuracy) < 1e-6";
    let rows: Value = serde_json::from_str(&ask(off)?)?;
    assert_eq!(rows[0]["n"], 8);
    // So is the gain the difference of the means, within its interval.
    let gains = "SELECT count(*) AS n FROM gains g WHERE arm = 'kd' AND abs(gain - (SELECT avg(CASE arm WHEN 'kd' THEN accuracy END) \
                 - avg(CASE arm WHEN 'base' THEN accuracy END) FROM runs r WHERE r.split = g.split)) < 1e-9 \
                 AND gain BETWEEN gain_low AND gain_high";
    let rows: Value = serde_json::from_str(&ask(gains)?)?;
    assert_eq!(rows[0]["n"], 2);
    let page = fs::read_to_string(out.join("report.html"))?;
    assert!(page.contains("Gains over base") && page.contains("on other, shifted"), "no page of a protocol");
    Ok(())
}

#[test]
fn a_run_that_fails_is_named_and_ends_in_exit_code_1() -> Result {
    let folder = tempdir()?;
    let protocol = protocol(folder.path())?;
    let out = folder.path().join("out");
    let broken = fs::read_to_string(&protocol)?
        .replace("\"kd\"]", "\"kd\", { arm = \"kd\", teachers.image = \"nobody\", name = \"lost\" }]");
    fs::write(&protocol, broken.replace("[1, 2]", "[1]"))?;
    let ran = retort(&["protocol", text(&protocol), "--out", text(&out), "--set", "optim.steps=4", "--slots", "2"])?;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("Failed, and not in this table") && ran.stdout.contains("nobody"), "{ran:?}");
    let failed: Value = serde_json::from_str(&fs::read_to_string(out.join("failed.json"))?)?;
    assert_eq!((&failed[0]["arm"], &failed[0]["doing"]), (&"lost".into(), &"train".into()));
    assert_eq!(scored(&out), 2);
    Ok(())
}
