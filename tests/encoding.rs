//! `nearest` by texts and by images, through both binaries.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use retort_schemas::Dtype;
use retort_teachers::Teacher;
use tch::Device;
use tempfile::{TempDir, tempdir};

use crate::support::command::{Ran, VqaFiles, command, succeed, text};
use crate::support::{Result, golden, repository};

const IMAGES: usize = 12;

fn tiny_clip() -> PathBuf {
    repository().join("src/demo/tiny-clip")
}

/// A data set in a folder of its own, beside its images.
struct Taught {
    folder: TempDir,
    dataset: PathBuf,
}

impl Taught {
    /// By a joint teacher, one of texts and one of images.
    fn new() -> Result<Self> {
        let folder = tempdir()?;
        let dataset = folder.path().join("set");
        let files = VqaFiles::write(&folder.path().join("vqa"), IMAGES)?;
        assert_eq!(files.ingest(&dataset, "train")?.code, Some(0));
        let models = [("clip", tiny_clip()), ("text", golden("bert")), ("seen", golden("dinov2"))];
        let models = models.map(|(name, model)| format!("--teacher={name}={}", model.display()));
        succeed(&[&["teach", text(&dataset), "--device", "cpu"][..], &models.each_ref().map(String::as_str)].concat())?;
        Ok(Self { folder, dataset })
    }

    fn images(&self) -> PathBuf {
        self.folder.path().join("vqa/images")
    }

    /// Asks from within the folder of the images.
    fn ask(&self, teachers: &[(&str, &Path)], query: &str) -> Result<Ran> {
        let mut asking = command(&["sql", text(&self.dataset), "--format", "csv", "-c", query]);
        for (name, folder) in teachers {
            asking.arg("--teacher").arg(format!("{name}={}", folder.display()));
        }
        ran(asking.current_dir(self.images()))
    }

    /// Ids and scores.
    fn rows(&self, teachers: &[(&str, &Path)], table: &str, query: &str) -> Result<Vec<(String, f64)>> {
        let ran = self.ask(teachers, &format!("SELECT id, score FROM nearest('{table}', {query}, 5)"))?;
        assert_eq!(ran.code, Some(0), "{query}: {ran:?}");
        let row = |line: &str| {
            let (id, score) = line.split_once(',').ok_or("no score")?;
            Ok((id.to_owned(), score.parse()?))
        };
        ran.stdout.lines().skip(1).map(row).collect()
    }

    /// The id of an image.
    fn id(&self, image: &str) -> Result<String> {
        let query = format!("SELECT image_id FROM images WHERE source = '{image}'");
        let ids = succeed(&["sql", text(&self.dataset), "--format", "csv", "-c", &query])?;
        Ok(ids.lines().nth(1).ok_or("no such image")?.to_owned())
    }
}

fn ran(command: &mut Command) -> Result<Ran> {
    let Output { status, stdout, stderr } = command.output()?;
    Ok(Ran { code: status.code(), stdout: String::from_utf8(stdout)?, stderr: String::from_utf8(stderr)? })
}

/// The same rows, with scores that differ by rounding.
#[track_caller]
fn assert_same(found: &[(String, f64)], expected: &[(String, f64)]) {
    assert_eq!(found.len(), expected.len());
    for ((id, score), (expected_id, expected)) in found.iter().zip(expected) {
        assert!(id == expected_id && (score - expected).abs() < 1e-5, "{found:?}");
    }
}

/// What the model says of a text, as SQL has it.
fn embedded(model: &Path, words: &str) -> Result<String> {
    let teacher = Teacher::open(model, Device::Cpu, Dtype::F32)?;
    let encoded = teacher.text.as_ref().ok_or("no text encoder")?.tokenizer.encode(words)?;
    Ok(format!("{:?}", teacher.embed_texts(&[&encoded], false)?.0))
}

#[test]
fn texts_and_images_find_what_their_vectors_find() -> Result {
    let taught = Taught::new()?;
    let (model, bert) = (tiny_clip(), golden("bert"));
    let teachers: &[(&str, &Path)] = &[("clip", &model), ("text", &bert)];
    let rows = |table: &str, query: &str| taught.rows(teachers, table, query);

    let words = "a photo of a red square's side";
    let quoted = "'a photo of a red square''s side'";
    let vector = embedded(&model, words)?;
    let by_text = rows("clip.images", quoted)?;
    assert_same(&by_text, &rows("clip.images", &vector)?);
    assert_same(&rows("clip.texts", quoted)?, &rows("clip.texts", &vector)?);
    assert_same(&rows("text.texts", quoted)?, &rows("text.texts", &embedded(&bert, words)?)?);
    // Another text has other scores.
    let other = rows("clip.images", "'a blue shape'")?;
    assert!((other[0].1 - by_text[0].1).abs() > 1e-4, "{other:?}");

    // By the path of an image it comes first itself, and what is near to it by its id.
    let id = taught.id("7.png")?;
    let by_image = rows("clip.images", "'7.png'")?;
    assert_eq!(by_image[0].0, id);
    assert!(by_image[0].1 > 0.9999, "{by_image:?}");
    let by_id = rows("clip.images", &format!("'{id}'"))?;
    assert_eq!(
        by_image.iter().map(|row| &row.0).collect::<Vec<_>>(),
        by_id.iter().map(|row| &row.0).collect::<Vec<_>>()
    );
    let absolute = format!("'{}'", taught.images().join("7.png").display());
    assert_same(&rows("clip.images", &absolute)?, &by_image);
    // Across the two sides of a joint teacher: the image is nearest to the text that is nearest to its vector.
    let texts = rows("clip.texts", "'7.png'")?;
    assert_eq!(texts[0].0, rows("clip.texts", &vector_of(&taught, "clip", &id)?)?[0].0);

    // A converted cache has the same identity and another fingerprint.
    let converted = succeed(&["convert", text(&taught.dataset), "--teacher", "clip", "--store", "cos:0.999"])?;
    let name = converted.split(" to ").nth(1).and_then(|rest| rest.split(':').next()).ok_or(converted.clone())?;
    let coded = rows(&format!("{name}.images"), "'7.png'")?;
    assert!(coded[0].0 == id && coded[0].1 > 0.999, "{coded:?}");
    Ok(())
}

/// The stored vector of an image, as SQL has it.
fn vector_of(taught: &Taught, teacher: &str, id: &str) -> Result<String> {
    let query = format!("SELECT embedding FROM {teacher}.images WHERE image_id = '{id}'");
    let row = succeed(&["sql", text(&taught.dataset), "--format", "ndjson", "-c", &query])?;
    Ok(serde_json::from_str::<serde_json::Value>(&row)?["embedding"].to_string())
}

/// Models by name, the table that is searched, the query, and what the refusal says.
type Case<'a> = (&'a [(&'a str, &'a Path)], &'a str, &'a str, &'a [&'a str]);

#[test]
fn what_cannot_be_encoded_is_refused_and_what_is_no_image_is_a_text() -> Result {
    let taught = Taught::new()?;
    let (clip, bert, seen, nowhere) = (tiny_clip(), golden("bert"), golden("dinov2"), Path::new("./nowhere"));
    let other = golden("clip");
    let cases: &[Case] = &[
        (
            &[],
            "clip.images",
            "a hat",
            &["takes the model of its teacher; give --teacher clip=MODEL\n  1 | ", "hint: MODEL"],
        ),
        (&[("text", &bert)], "clip.images", "7.png", &["give --teacher clip=MODEL"]),
        (
            &[("clip", &other)],
            "clip.images",
            "a hat",
            &[
                "is not the model that clip@",
                " was made with: expected fingerprint ",
                ", found ",
                "hint: give the model",
            ],
        ),
        (&[("clip", nowhere)], "clip.images", "a hat", &["the model of teacher clip@", "nowhere", "hint: "]),
        (
            &[("text", &bert)],
            "text.texts",
            "7.png",
            &["it is the path of an image, and teacher text@", "no image encoder"],
        ),
        (&[("seen", &seen)], "seen.images", "a hat", &["it is a text, and teacher seen@", "has no text encoder"]),
        (&[("clip", &clip), ("clip", &other)], "clip.images", "a hat", &["--teacher clip is given twice"]),
    ];
    for (teachers, table, query, words) in cases {
        let ran = taught.ask(teachers, &format!("SELECT * FROM nearest('{table}', '{query}', 1)"))?;
        assert_eq!(ran.code, Some(2), "{table} {query}: {ran:?}");
        assert!(ran.stdout.lines().count() < 2, "no row: {ran:?}");
        for word in *words {
            assert!(ran.stderr.contains(word), "{table} {query}: no {word:?} in {}", ran.stderr);
        }
    }
    let model: &[(&str, &Path)] = &[("clip", &clip)];
    for (query, contents, note) in [
        ("lost.png", None, "note: \"lost.png\": there is no file of this name, and it was taken as a text\n"),
        ("a.jpg", Some("no picture"), "note: \"a.jpg\": it is a file that is no image, and was taken as a text ("),
        ("a hat", None, ""),
    ] {
        if let Some(contents) = contents {
            fs::write(taught.images().join(query), contents)?;
        }
        let asked = taught.ask(model, &format!("SELECT id FROM nearest('clip.images', '{query}', 5)"))?;
        assert_eq!(asked.code, Some(0), "{asked:?}");
        assert!(asked.stderr.contains(note) && asked.stderr.is_empty() == note.is_empty(), "{}", asked.stderr);
        let as_text = taught.rows(&[], "clip.images", &embedded(&clip, query)?)?;
        assert_eq!(
            asked.stdout.lines().skip(1).collect::<Vec<_>>(),
            as_text.iter().map(|row| &row.0).collect::<Vec<_>>()
        );
    }
    Ok(())
}

/// `retort` with a script in the place of `retort-torch`, or with nothing.
struct Beside {
    folder: TempDir,
}

impl Beside {
    fn new(script: Option<&str>) -> Result<Self> {
        // A link is no copy only where the binary lies.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        fs::hard_link(env!("CARGO_BIN_EXE_retort"), folder.path().join("retort"))?;
        if let Some(script) = script {
            let torch = folder.path().join("retort-torch");
            fs::write(&torch, format!("#!/bin/sh\necho $$ >> \"${{0%/*}}/started\"\n{script}\n"))?;
            fs::set_permissions(&torch, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { folder })
    }

    fn asking(&self, taught: &Taught, query: &str) -> Command {
        let mut asking = Command::new(self.folder.path().join("retort"));
        asking.args(["sql", text(&taught.dataset), "--format", "csv", "-c", query, "--teacher"]);
        asking.arg(format!("clip={}", tiny_clip().display())).current_dir(taught.images());
        asking.env("OMP_NUM_THREADS", "1");
        asking
    }

    /// The processes that were started.
    fn started(&self) -> Vec<String> {
        let lines = fs::read_to_string(self.folder.path().join("started")).unwrap_or_default();
        lines.lines().map(str::to_owned).collect()
    }

    fn assert_gone(&self) {
        for process in self.started() {
            assert!(!Path::new("/proc").join(&process).exists(), "process {process} is left");
        }
    }
}

#[test]
fn one_process_encodes_a_whole_session_and_ends_with_it() -> Result {
    let taught = Taught::new()?;
    let query = "SELECT count(*) AS n FROM nearest('clip.images', 'a hat', 2);\
                 SELECT 1 / count(*) AS one FROM nearest('clip.images', '3.png', 1);\
                 SELECT count(*) AS n FROM nearest('clip.texts', 'a hat', 3)";
    let through = format!("echo noise >&2\nexec {} \"$@\"", env!("CARGO_BIN_EXE_retort-torch"));
    let beside = Beside::new(Some(&through))?;
    let found = ran(&mut beside.asking(&taught, query))?;
    assert_eq!((found.code, found.stdout.as_str(), found.stderr.as_str()), (Some(0), "n\n2\n\none\n1\n\nn\n3\n", ""));
    assert_eq!(beside.started().len(), 1);
    beside.assert_gone();
    // Queries that need none start none.
    let unasked = Beside::new(Some(&through))?;
    assert_eq!(
        ran(&mut unasked.asking(&taught, "SELECT count(*) FROM nearest('clip.images', [1.0], 1)"))?.code,
        Some(2)
    );
    assert_eq!(ran(&mut unasked.asking(&taught, "SELECT count(*) FROM clip.images"))?.code, Some(0));
    assert!(unasked.started().is_empty());

    let query = "SELECT * FROM nearest('clip.images', 'a hat', 2)";
    let cases = [
        (None, &["cannot start ", "retort-torch", "No such file", "hint: it is built and installed with retort"][..]),
        (
            Some("echo cannot load libtorch.so >&2; exit 127"),
            &["ended without an answer (exit status: 127); it said: cannot load libtorch.so", "hint: ask again"],
        ),
        (Some("read request; kill -9 $$"), &["ended without an answer (signal: 9", "hint: ask again"]),
        (
            Some("read request; echo hello; read more"),
            &["gave an answer that is none", "hint: it must be of the same version"],
        ),
    ];
    for (script, words) in cases {
        let beside = Beside::new(script)?;
        let ran = ran(&mut beside.asking(&taught, query))?;
        assert_eq!(ran.code, Some(2), "{script:?}: {ran:?}");
        assert!(ran.stdout.lines().count() < 2, "no row: {ran:?}");
        for word in words {
            assert!(ran.stderr.contains(word), "{script:?}: no {word:?} in {}", ran.stderr);
        }
        beside.assert_gone();
    }
    Ok(())
}

#[test]
fn what_encodes_may_see_ctrl_c_first() -> Result {
    let beside = Beside::new(Some("read request; kill -INT $$"))?;
    let ran = ran(&mut beside.asking(&Taught::new()?, "SELECT * FROM nearest('clip.images', 'a hat', 2)"))?;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(130), "error: stopped before all was answered\n"));
    beside.assert_gone();
    Ok(())
}

#[test]
fn ctrl_c_ends_what_encodes() -> Result {
    let taught = Taught::new()?;
    let beside = Beside::new(Some("exec sleep 60"))?;
    let mut asking = beside.asking(&taught, "SELECT * FROM nearest('clip.images', 'a hat', 2)");
    // A group of their own, as a terminal's jobs have one.
    let asked = asking.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let until = Instant::now() + Duration::from_secs(60);
    while beside.started().is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", "--", &format!("-{}", asked.id())]).status()?.success());
    let ended = asked.wait_with_output()?;
    assert_eq!(ended.status.code(), Some(130), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(Instant::now() < until, "it was waited for");
    assert_eq!(beside.started().len(), 1);
    beside.assert_gone();
    Ok(())
}
