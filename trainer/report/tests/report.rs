//! Writes reports over small made-up runs, and looks into the pages.

#![allow(dead_code, reason = "the helpers serve the pages of data sets, too")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, UInt64Array};
use retort_report::{Error, write_report};
use retort_schemas::protocol::{FAILED_FILE, GAINS_FILE, RESULTS_FILE, RUNS_FOLDER, gains, runs};
use retort_schemas::runs::files;
use support::taught::teach;
use support::{
    dataset, page, split, words, write_confidence, write_metrics, write_plain, write_run, write_scores, write_selection,
};

#[test]
fn a_page_shows_runs_and_needs_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("shapes");
    dataset(&data);
    let task = write_run(&folder.path().join("task-only"), "task", &data, true);
    write_metrics(&task, &[("loss/task", 2.2), ("val/accuracy", 1.0), ("lr", 1.0), ("samples_per_sec", 1.0)], 0.002);
    write_scores(&task, 0.71);
    let full = write_run(&folder.path().join("distilled"), "kd+ts+cw", &data, true);
    let tags = ["loss/task", "loss/total", "loss/vision", "loss/text", "loss/tokens", "val/accuracy", "lr"];
    write_metrics(&full, &tags.map(|tag| (tag, 2.0)), 0.004);
    write_scores(&full, 0.84);
    write_selection(&full);
    write_confidence(&full);
    let half = write_run(&folder.path().join("half-way"), "kd", &data, false);
    write_metrics(&half, &[("loss/task", 2.1), ("loss/vision", 0.8)], 0.001);

    // Beside the build, so that a person can open it in a browser.
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report.html");
    let runs = [task, full, half];
    let summary = write_report(&runs, None, &out).unwrap();
    let html = page(&out);
    assert_eq!((summary.runs, summary.evaluated, summary.bytes), (3, 2, html.len()));
    assert!((24..=32).contains(&summary.images), "{}", summary.images);

    for name in [
        "task-only",
        "distilled",
        "half-way",
        "kd+ts+cw",
        "vilt tiny",
        "5\u{202f}123\u{202f}456",
        "<title>3 runs on shapes",
    ] {
        assert!(html.contains(name), "{name}");
    }
    let sections = ["Accuracy", "By question type", "Learning curves", "Confusion", "Confidence of the teachers"];
    for section in sections.into_iter().chain(["Single samples", "Token selection"]) {
        assert!(html.contains(&format!(">{section}</h2>")), "{section}");
    }
    for number in
        ["84.0\u{202f}%", "71.0\u{202f}%", "question alone 64.8\u{202f}%", "commonest answer 31.2\u{202f}%", "+19.2"]
    {
        assert!(html.contains(number), "{number}");
    }
    assert!(
        html.contains("which &lt;shape&gt;") && html.contains("&lt;script&gt;") && !html.contains("<script"),
        "not escaped"
    );
    assert_eq!(html.matches("<use href=\"#p").count(), 24 + 8);
    let defined = html.matches("href=\"data:image/webp;base64,").count();
    assert!((24..=32).contains(&defined) && html.matches("data:").count() == defined, "{defined}");
    assert!(!html.contains("http"), "the page refers to something outside");
    assert!(html.contains("class=\"word chosen\"") && html.contains("visual \u{2013}"));
    assert_eq!(
        summary.missing,
        [
            "half-way is not finished: it stands at step 1\u{202f}500 of 1\u{202f}500.",
            "half-way has no scores on the split test."
        ]
    );
    assert!(!html.contains("NaN"));

    write_report(&runs, Some(&data), &out).unwrap();
    assert_eq!(page(&out), html, "the same files give another page");
}

#[test]
fn what_is_missing_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let run = write_run(&folder.path().join("new"), "kd", Path::new("nowhere/to be <found>"), false);
    let out = folder.path().join("pages/report.html");
    let summary = write_report(std::slice::from_ref(&run), None, &out).unwrap();
    let told = [
        "new is not finished: none of its 1\u{202f}500 steps is logged yet.",
        "No run has been scored on a split yet, so there is no accuracy to show.",
        "new has logged no metrics.",
        "No run has predictions beside truths, so what is taken for what is not known.",
        "No run wrote down how sure the teachers are: its arm may not weigh samples.",
        "No run has predictions for single samples yet.",
        "No run wrote down a token selection: its arm may not select tokens.",
    ];
    assert_eq!(summary.missing, told);

    write_scores(&run, 0.7);
    let summary = write_report(&[run], None, &out).unwrap();
    let images = summary.missing.iter().find(|sentence| sentence.starts_with("Images are left out")).unwrap();
    assert!(images.contains("nowhere/to be <found> is not a data set"), "{images}");
    let html = page(&out);
    assert!(html.contains("nowhere/to be &lt;found&gt;"));
    assert!(html.contains("&lt;script&gt;") && !html.contains("<script"));
}

#[test]
fn folders_that_hold_no_run_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("report.html");
    assert!(matches!(write_report(&[], None, &out), Err(Error::NoRuns)));
    let refusal = write_report(&[folder.path().to_owned()], None, &out).unwrap_err().to_string();
    assert!(refusal.ends_with("is not a run: it has no run.json"), "{refusal}");
    let refusal = write_report(&[folder.path().join("nosuch")], None, &out).unwrap_err().to_string();
    assert!(refusal.starts_with("there is no ") && refusal.ends_with("nosuch"), "{refusal}");
    let run = write_run(&folder.path().join("run"), "kd", folder.path(), true);
    std::fs::write(run.join(files::evaluation("test")), "{}").unwrap();
    let refusal = write_report(&[run], None, &out).unwrap_err();
    assert!(matches!(refusal, Error::Json { .. }), "{refusal}");
    assert!(!out.exists());
}

#[test]
fn runs_of_one_name_are_told_apart_by_their_folders() {
    let folder = tempfile::tempdir().unwrap();
    let runs = ["a/seed-1", "b/seed-1"].map(|name| write_run(&folder.path().join(name), "kd", folder.path(), true));
    let out = folder.path().join("report.html");
    write_report(&runs, None, &out).unwrap();
    let html = page(&out);
    assert!(html.contains("a/seed-1") && html.contains("b/seed-1"));
}

const ARMS: [&str; 3] = ["base", "kd", "kd+ts+cw"];
/// Conditions with the images trained on.
const CONDITIONS: [(&str, u64); 2] = [("5 %", 200), ("full & <all>", 4000)];

/// A protocol of arms and conditions, of which the last arm has a single seed.
fn write_protocol(folder: &Path, data: &Path) {
    let mut cells = Vec::new();
    for (at, (condition, images)) in CONDITIONS.into_iter().enumerate() {
        for (place, arm) in ARMS.into_iter().enumerate() {
            for seed in 1..=(if place == 2 { 1 } else { 2_u64 }) {
                let name = format!("{arm}-{at}-seed{seed}");
                let run = write_run(&folder.join(RUNS_FOLDER).join(&name), arm, data, true);
                let accuracy = 0.45 + 0.1 * at as f64 + 0.13 * place as f64 + 0.01 * seed as f64;
                write_metrics(&run, &[("loss/task", 2.0 + seed as f64), ("val/accuracy", 1.0)], 0.002);
                write_scores(&run, accuracy);
                if place == 2 {
                    write_selection(&run);
                    write_confidence(&run);
                }
                cells.push((name, condition, arm, seed, images, accuracy));
            }
        }
    }
    let text = |of: &dyn Fn(usize) -> String| words(&(0..cells.len()).map(of).collect::<Vec<_>>());
    let count =
        |of: &dyn Fn(usize) -> u64| -> ArrayRef { Arc::new(UInt64Array::from_iter_values((0..cells.len()).map(of))) };
    let share =
        |of: &dyn Fn(usize) -> Option<f64>| -> ArrayRef { Arc::new(Float64Array::from_iter((0..cells.len()).map(of))) };
    let columns = vec![
        text(&|at| cells[at].0.clone()),
        text(&|at| cells[at].1.to_owned()),
        text(&|at| cells[at].2.to_owned()),
        count(&|at| cells[at].3),
        text(&|_| "test".to_owned()),
        Arc::new(BooleanArray::from(vec![false; cells.len()])) as ArrayRef,
        text(&|_| "vqa accuracy".to_owned()),
        share(&|at| Some(cells[at].5)),
        share(&|_| Some(0.312)),
        share(&|_| Some(0.648)),
        share(&|_| Some(0.651)),
        share(&|at| Some(cells[at].5)),
        share(&|_| Some(0.5)),
        share(&|at| Some(cells[at].5 / 2.0)),
        count(&|_| 9673),
        count(&|at| cells[at].4),
        count(&|at| cells[at].4 * 9),
        count(&|_| 1500),
        count(&|_| 0),
        count(&|_| 64),
        count(&|_| 96_000),
        share(&|_| None),
        count(&|_| 5_123_456),
        share(&|_| None),
        Arc::new(UInt64Array::from(vec![None; cells.len()])),
    ];
    let part = [(runs::PART_KEY.to_owned(), "2 of 3 conditions".to_owned())];
    let schema = runs::schema();
    let metadata = schema.metadata().clone().into_iter().chain(part).collect();
    write_plain(folder, RESULTS_FILE, Arc::new(schema.as_ref().clone().with_metadata(metadata)), columns);
    write_gains(folder);
}

fn write_gains(folder: &Path) {
    let rows: Vec<(usize, usize)> = (0..2).flat_map(|at| (0..3).map(move |place| (at, place))).collect();
    let share = |of: &dyn Fn(usize, usize) -> Option<f64>| -> ArrayRef {
        Arc::new(Float64Array::from_iter(rows.iter().map(|(at, place)| of(*at, *place))))
    };
    let gain = |by: f64| share(&move |_, place| (place > 0).then_some(0.13 * place as f64 + by));
    let columns = vec![
        words(&rows.iter().map(|(at, _)| CONDITIONS[*at].0).collect::<Vec<_>>()),
        words(&vec!["test"; rows.len()]),
        Arc::new(BooleanArray::from(vec![false; rows.len()])) as ArrayRef,
        words(&vec!["vqa accuracy"; rows.len()]),
        words(&rows.iter().map(|(_, place)| ARMS[*place]).collect::<Vec<_>>()),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|(_, place)| if *place == 2 { 1 } else { 2 }))),
        share(&|at, place| Some(0.465 + 0.1 * at as f64 + 0.13 * place as f64)),
        share(&|_, place| (place < 2).then_some(0.007)),
        gain(0.0),
        gain(-0.012),
        gain(0.015),
        share(&|_, _| None),
        share(&|_, _| None),
        share(&|_, _| None),
    ];
    write_plain(folder, GAINS_FILE, gains::schema(), columns);
}

#[test]
fn a_protocol_is_shown_by_condition_with_what_was_fixed_and_broken() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("shapes");
    dataset(&data);
    let protocol = folder.path().join("low-shot");
    write_protocol(&protocol, &data);
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("protocol.html");
    let summary = write_report(std::slice::from_ref(&protocol), None, &out).unwrap();
    let html = page(&out);
    let part = "This is a part of the protocol: 2 of 3 conditions.".to_owned();
    assert_eq!((summary.runs, summary.evaluated, &summary.missing), (10, 10, &vec![part.clone()]));
    let sections = [
        "Gains over base",
        "Scores by size of the training data",
        "What each part of the method adds",
        "What distillation fixed, and what it broke",
        "Both halves of a question",
        "By question type",
        "By answer type",
        "Confusion",
        "Learning curves",
        "Confidence of the teachers",
        "Single samples",
        "Token selection",
    ];
    for section in sections {
        assert!(html.contains(&format!(">{section}</h2>")), "{section}");
    }
    for words in [
        "<title>Protocol low-shot",
        "3 arms in 2 conditions: 10 runs are scored.",
        "full &amp; &lt;all&gt;",
        "+13.0 (+11.8 to +14.5)",
        "46.5 \u{b1} 0.7\u{202f}%",
        "59.5 \u{b1} 0.7\u{202f}% (+13.0)",
        "floors: commonest answer 31.2\u{202f}%, question alone 64.8\u{202f}%, text's vector alone 65.1\u{202f}%",
        // The means of the seeds: (0.46 + 0.47) / 2, and half of it.
        "</span>base</td><td>46.5\u{202f}%</td><td>50.0\u{202f}%</td><td><strong>23.2\u{202f}%</strong>",
        "<title>base: 56.5\u{202f}%, question alone 52.0\u{202f}%</title>",
        "<h3>Fixed</h3>",
    ] {
        assert!(html.contains(words), "{words}");
    }
    // The scores of the two arms by sample: right where row x 37 mod 100 is below the seed's accuracy.
    let right = |row: usize, accuracy: f64| f64::from(u8::from((row * 37 % 100) as f64 / 100.0 < accuracy));
    let base = |row| (right(row, 0.46) + right(row, 0.47)) / 2.0 >= 0.5;
    let fixed = (0..64).filter(|row| !base(*row) && right(*row, 0.72) >= 0.5).count();
    assert!(html.contains(&format!("fixed <strong>{fixed}</strong> that base")), "{fixed}");
    assert!(html.contains("broke <strong>0</strong>"));
    assert!(!html.contains("http") && !html.contains("<script") && !html.contains("NaN"));

    std::fs::remove_file(protocol.join(GAINS_FILE)).unwrap();
    let failed =
        r#"[{"run":"x","arm":"lost","conditions":["5 %"],"seed":3,"doing":"train","how":"exit code 1","stderr":[]}]"#;
    std::fs::write(protocol.join(FAILED_FILE), failed).unwrap();
    let summary = write_report(&[protocol], None, &folder.path().join("other.html")).unwrap();
    let told = [
        part.as_str(),
        "A run of lost with seed 3 failed (train: exit code 1) and is left out.",
        "There is no gains.parquet, so nothing is compared: run `retort protocol` again, which makes it of the runs.",
        "No arm is scored beside a base arm, so there are no gains to show.",
        "Fewer than two sizes of training data are scored on a split, so there is no curve.",
        "Fewer than two arms of the method are scored, so there is no ladder.",
    ];
    assert_eq!(summary.missing, told);
}

/// The folder that `make test-browser` fills.
fn browser() -> PathBuf {
    let home = std::env::var_os("XDG_CACHE_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cache"))).unwrap_or_default();
    home.join("retort/test-browser")
}

#[test]
fn pages_fit_a_desktop_and_a_phone_in_light_and_dark() {
    let browser = browser();
    if !browser.join("ready").is_file() {
        eprintln!("skipped: there is no {}; `make test-browser` prepares it", browser.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("shapes");
    dataset(&data);
    let protocol = folder.path().join("a-protocol-with-a-name-that-is-longer-than-a-phone-is-wide");
    write_protocol(&protocol, &data);
    let empty = write_run(&folder.path().join("empty"), "kd", Path::new("nowhere"), false);
    let run = protocol.join(RUNS_FOLDER).join("kd+ts+cw-0-seed1");
    split(&data, "choice", 4);
    teach(&data, "none");
    let pages = [("protocol", protocol), ("run", run), ("empty", empty), ("dataset", data)].map(|(name, shown)| {
        let out = folder.path().join(format!("{name}.html"));
        write_report(&[shown], None, &out).unwrap();
        out
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/py/check_browser.py");
    let check = |pages: &[PathBuf]| {
        Command::new("python3").arg(&script).arg("--browser").arg(&browser).args(pages).output().unwrap()
    };
    let looked = check(&pages);
    assert!(looked.status.success(), "{}", String::from_utf8_lossy(&looked.stderr));
    assert_eq!(String::from_utf8_lossy(&looked.stdout), "4 pages are clean\n");

    // A page that is too wide, asks for something, complains and has words on words is told from these.
    let broken = folder.path().join("broken.html");
    let bad = "<div style=\"width: 1500px\">wide</div><img src=\"file:///nowhere.png\"><details><p style=\"width: 1700px\">folded</p></details>\
               <svg><use href=\"#p999\"/><image id=\"bad\" href=\"data:image/webp;base64,AAAA\"/></svg><a href=\"#gone\">x</a><i class=\"word\" style=\"--p:1.6\">dim</i><svg><text x=\"9\" y=\"20\">one word</text><text x=\"30\" y=\"20\">another</text></svg><script>console.warn('odd')</script></main>";
    std::fs::write(&broken, page(&pages[1]).replace("</main>", bad)).unwrap();
    let looked = check(&[broken]);
    let told = String::from_utf8_lossy(&looked.stderr).into_owned();
    assert!(!looked.status.success());
    for wrong in [
        "desktop, light: the page is",
        "phone, dark: the page is",
        "console: ",
        "log: ",
        "one word lies on ",
        "> folded",
        "dim has a contrast of",
        "#p999",
        "image bad",
        "leads nowhere",
    ] {
        assert!(told.contains(wrong), "{wrong}: {told}");
    }
}
