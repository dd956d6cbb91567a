//! The commands that need no libtorch, through the real binary: what they print, where, and how they end.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::Command;

use retort_cache::{Dataset, Interrupt, Quiet, verify};
use serde_json::Value;
use tempfile::tempdir;

use crate::support::command::{VqaFiles, kill_when, retort, succeed, text};
use crate::support::{Result, tree};

#[test]
fn help_lists_the_commands_and_every_help_ends_in_an_example() -> Result {
    let help = succeed(&["--help"])?;
    let commands: &[&str] = if cfg!(feature = "torch") {
        &[
            "ingest", "shift", "teach", "convert", "summary", "verify", "cache", "export", "sql", "train", "eval",
            "probe", "protocol", "report", "demo",
        ]
    } else {
        &["ingest", "shift", "convert", "summary", "verify", "cache", "export", "sql", "report"]
    };
    let section = help.split("Commands:").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
    // A command stands two spaces in; the lines that its description goes on over stand further in.
    let starts = section.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    let listed: Vec<&str> =
        starts.filter_map(|line| line.split_whitespace().next()).filter(|word| *word != "help").collect();
    assert_eq!(listed, commands);
    for command in commands {
        let help = succeed(&[command, "--help"])?;
        let end = help.split("Example").nth(1).unwrap_or_default();
        assert!(end.contains(&format!("retort {command}")) || *command == "demo", "{command}: {help}");
        assert!(!end.is_empty(), "{command}: {help}");
    }
    for command in ["ls", "rm", "copy", "diff"] {
        let help = succeed(&["cache", command, "--help"])?;
        let end = help.split("Example").nth(1).unwrap_or_default();
        assert!(end.contains(&format!("retort cache {command} ")), "{command}: {help}");
    }
    for source in ["vcr", "snli-ve", "vqa", "captions", "webdataset", "img2dataset", "folder", "jsonl"] {
        let help = succeed(&["ingest", source, "--help"])?;
        let end = help.split("Example").nth(1).unwrap_or_default();
        assert!(end.contains(&format!("retort ingest {source} ")), "{source}: {help}");
    }
    for kind in ["rule-singular", "rule-plural", "remove-top-1", "keep-top", "prior", "hard", "relabel"] {
        let help = succeed(&["shift", kind, "--help"])?;
        let end = help.split("Example").nth(1).unwrap_or_default();
        assert!(end.contains(&format!("retort shift {kind} ")), "{kind}: {help}");
    }
    Ok(())
}

#[test]
fn a_wrong_command_line_is_exit_code_2() -> Result {
    let ran = retort(&["sql"])?;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    assert!(ran.stderr.contains("required arguments"), "{}", ran.stderr);
    Ok(())
}

#[test]
fn a_data_set_is_ingested_summed_up_verified_and_asked() -> Result {
    let folder = tempdir()?;
    let dataset = folder.path().join("set");
    let ran = VqaFiles::write(&folder.path().join("vqa"), 5)?.ingest(&dataset, "train")?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.stdout, "split train ingested: 10 samples, 5 images, 6 texts in 3 shards\n");
    assert!(!ran.stderr.contains('\r') && !ran.stderr.contains('\x1b'), "a bar without a terminal: {:?}", ran.stderr);

    let summary: Value = serde_json::from_str(&succeed(&["summary", text(&dataset), "--format", "json"])?)?;
    assert_eq!(summary["splits"][0]["samples"], 10);
    assert_eq!(summary["answers"], 5); // red, green, blue, yes, no
    assert!(succeed(&["summary", text(&dataset)])?.contains("answer vocabulary: 5 classes"));

    let page = folder.path().join("set.html");
    let ran = retort(&["report", text(&dataset), "--out", text(&page)])?;
    assert_eq!((ran.code, ran.stdout), (Some(0), format!("{}\n", page.display())));
    assert!(
        ran.stderr.contains("No teacher has features of this data set yet") && ran.stderr.contains("report: "),
        "{}",
        ran.stderr
    );
    let twice = retort(&["report", text(&dataset), "--dataset", "elsewhere/", "--out", text(&page)])?;
    assert_eq!(twice.code, Some(2));
    let refused =
        format!("error: {} is itself a data set: --dataset elsewhere/ would not be read\n", dataset.display());
    assert!(
        twice.stderr.starts_with(&refused) && twice.stderr.contains("hint: --dataset says where"),
        "{}",
        twice.stderr
    );
    let html = fs::read_to_string(&page)?;
    assert!(
        html.contains("10 samples over 5 images and 2 texts, in 3 shards") && html.contains("data:image/"),
        "{}",
        html.split("<h1>").nth(1).unwrap_or_default()
    );

    let verdict = succeed(&["verify", text(&dataset)])?;
    assert!(verdict.starts_with("13 files, ") && verdict.ends_with(": whole\n"), "{verdict}");

    let query = "SELECT question_type, count(*) AS n FROM samples GROUP BY question_type ORDER BY question_type";
    let csv = succeed(&["sql", text(&dataset), "-c", query, "--format", "csv"])?;
    assert_eq!(csv, "question_type,n\nis there a,5\nwhat color,5\n");

    let again = VqaFiles { folder: folder.path().join("vqa") }.ingest(&dataset, "train")?;
    assert!(again.stdout.contains("is complete already"), "{again:?}");
    Ok(())
}

/// Files of a data set's folder, half-written ones too.
fn files_in(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

#[test]
fn ingest_killed_at_any_moment_and_run_again_gives_the_same_bytes() -> Result {
    const IMAGES: usize = 60; // 30 shards
    let folder = tempdir()?;
    let files = VqaFiles::write(&folder.path().join("vqa"), IMAGES)?;
    let whole = folder.path().join("whole");
    files.ingest(&whole, "train")?;
    let expected = tree(&whole)?;
    let mut kills = 0;
    for round in 0..3_usize {
        let broken = folder.path().join(format!("broken-{round}"));
        let arguments = files.ingest_arguments(&broken, "train");
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        for kill in 0..3 {
            // So many files of a table are there, then so many looks later: in the middle of whatever comes then.
            let table = ["images", "samples", "rejects"][round];
            let (files, looks) = (kill * 8 + round, Cell::new(kill * 40 + round * 7));
            let reached = || files_in(&broken.join(table)) > files && looks.replace(looks.get().saturating_sub(1)) == 0;
            kills += usize::from(kill_when(&arguments, reached)?);
        }
        succeed(&arguments)?;
        let found = tree(&broken)?;
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "round {round}");
        for (name, bytes) in &expected {
            assert!(found[name] == *bytes, "{} differs after the kills of round {round}", name.display());
        }
    }
    assert!(kills >= 3, "only {kills} of 9 kills came in time");
    Ok(())
}

#[test]
fn ingest_without_room_keeps_what_was_committed_and_goes_on_when_there_is_some() -> Result {
    let folder = tempdir()?;
    let files = VqaFiles::write(&folder.path().join("vqa"), 60)?;
    let [whole, cramped] = ["whole", "cramped"].map(|name| folder.path().join(name));
    files.ingest(&whole, "train")?;
    // The manifest of thirty shards is the largest file by far. SIGXFSZ would kill: ignored, the write fails instead.
    let most_kib = fs::metadata(whole.join("dataset.json"))?.len() / 1024 / 2;
    let arguments = files.ingest_arguments(&cramped, "train");
    let limit = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", most_kib * 2); // in blocks of 512 bytes
    let ran = Command::new("sh").args(["-c", &limit, env!("CARGO_BIN_EXE_retort")]).args(&arguments).output()?;
    let said = String::from_utf8(ran.stderr)?;
    assert_eq!(ran.status.code(), Some(2), "{said}");
    assert!(said.contains("dataset.json") && said.contains("hint: make room and run the same command again"), "{said}");
    let committed = Dataset::open(&cramped)?.shard_count();
    assert!((1..30).contains(&committed), "{committed} shards");
    assert!(verify(&cramped, &Quiet, &Interrupt::default())?.damages.is_empty());
    files.ingest(&cramped, "train")?;
    assert_eq!(tree(&cramped)?, tree(&whole)?);
    Ok(())
}

#[test]
fn verify_finds_one_flipped_bit_in_any_file_and_names_file_and_column() -> Result {
    let folder = tempdir()?;
    let dataset = folder.path().join("set");
    VqaFiles::write(&folder.path().join("vqa"), 4)?.ingest(&dataset, "train")?;
    let files = tree(&dataset)?;
    assert_eq!(files.len(), 9); // the manifest, and four tables of two shards
    let mut columns = std::collections::BTreeSet::new();
    for (name, bytes) in &files {
        // Positions spread over the file, another bit at each.
        for at in 0..24 {
            let (byte, bit) = (at * (bytes.len() - 1) / 23, at % 8);
            let mut flipped = bytes.clone();
            flipped[byte] ^= 1 << bit;
            fs::write(dataset.join(name), &flipped)?;
            let found = retort_cache::verify(&dataset, &retort_cache::Quiet, &retort_cache::Interrupt::default());
            let damages = found?.damages;
            assert_eq!(damages.len(), 1, "byte {byte} bit {bit} of {}: {damages:?}", name.display());
            assert_eq!(&damages[0].file, name);
            columns.extend(damages[0].column.clone());
        }
        fs::write(dataset.join(name), bytes)?;
    }
    assert!(columns.contains("bytes") && columns.contains("text"), "{columns:?}");

    let manifest: Value = serde_json::from_slice(&files[std::path::Path::new("dataset.json")])?;
    let lengths = &manifest["splits"][0]["shards"][1]["tables"]["images"]["column_bytes"];
    let length = |column: &str| lengths[column].as_u64().unwrap();
    // Columns lie in the order of the table, behind the four bytes of the magic.
    let middle = 4 + length("image_id") + length("source") + length("bytes") / 2;
    let path = dataset.join("images/train-00001.parquet");
    let mut bytes = fs::read(&path)?;
    bytes[middle as usize] ^= 1;
    fs::write(&path, bytes)?;
    let ran = retort(&["verify", text(&dataset)])?;
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stdout.starts_with("images/train-00001.parquet [bytes]: column bytes does not match"),
        "{}",
        ran.stdout
    );
    let ran = retort(&["sql", text(&dataset), "-c", "SELECT count(DISTINCT bytes) FROM images"])?;
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("train-00001.parquet") && ran.stderr.contains("column bytes"), "{}", ran.stderr);

    // Left out, it costs its rows, which is told once, after the answer.
    let query = "SELECT count(DISTINCT a.bytes) AS n FROM images a JOIN images b ON a.bytes = b.bytes";
    let ran = retort(&["sql", text(&dataset), "--skip-damaged", "--format", "csv", "-c", query])?;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "n\n2\n"), "{}", ran.stderr);
    let told = "left out of images: 1 damaged shard, 2 rows (train-00001)\nhint: `retort verify` tells what is wrong with them\n";
    assert_eq!(ran.stderr, told);
    Ok(())
}

#[test]
fn verify_finds_files_that_are_cut_exchanged_or_gone() -> Result {
    let folder = tempdir()?;
    let dataset = folder.path().join("set");
    VqaFiles::write(&folder.path().join("vqa"), 4)?.ingest(&dataset, "train")?;
    let (one, two) = (dataset.join("texts/train-00000.parquet"), dataset.join("samples/train-00001.parquet"));
    let (first, second) = (fs::read(&one)?, fs::read(&two)?);
    let verdict = || -> Result<String> {
        let ran = retort(&["verify", text(&dataset)])?;
        assert_eq!(ran.code, Some(1), "{ran:?}");
        Ok(ran.stdout)
    };
    fs::write(&one, &first[..first.len() - 5])?;
    assert!(verdict()?.contains("texts/train-00000.parquet: it has"));
    fs::write(&one, &second)?;
    assert!(verdict()?.contains("texts/train-00000.parquet"));
    fs::remove_file(&one)?;
    assert!(verdict()?.contains("texts/train-00000.parquet: it cannot be opened"));
    Ok(())
}

#[test]
fn a_lost_image_becomes_rejects_and_the_run_goes_on() -> Result {
    let folder = tempdir()?;
    let dataset = folder.path().join("set");
    let files = VqaFiles::write(&folder.path().join("vqa"), 6)?;
    fs::remove_file(files.path("images/1.png"))?;
    fs::write(files.path("images/4.png"), b"this is no image")?;
    let ran = files.ingest(&dataset, "train")?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.starts_with("split train ingested: 8 samples, 4 images"), "{}", ran.stdout);
    for line in ["rejected: 1 image_missing", "rejected: 1 image_corrupt", "rejected: 4 image_rejected"] {
        assert!(ran.stdout.contains(line), "{}", ran.stdout);
    }
    let query = "SELECT source, code FROM rejects WHERE code IN ('image_missing', 'image_corrupt') ORDER BY source";
    let rows = succeed(&["sql", text(&dataset), "-c", query, "--format", "csv"])?;
    assert_eq!(rows, "source,code\n1.png,image_missing\n4.png,image_corrupt\n");
    Ok(())
}

#[test]
fn a_question_without_annotation_is_a_reject() -> Result {
    let folder = tempdir()?;
    let dataset = folder.path().join("set");
    let files = VqaFiles::write(&folder.path().join("vqa"), 2)?;
    let mut annotations = files.load("annotations.json")?;
    annotations["annotations"].as_array_mut().unwrap().remove(1);
    files.save("annotations.json", &annotations)?;
    let ran = files.ingest(&dataset, "train")?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("3 samples") && ran.stdout.contains("rejected: 1 no_annotation"), "{}", ran.stdout);
    let rows = succeed(&["sql", text(&dataset), "-c", "SELECT source FROM rejects", "--format", "csv"])?;
    assert_eq!(rows, "source\nquestion 1\n");
    Ok(())
}

#[test]
fn annotations_that_are_not_json_are_an_error_that_names_the_place() -> Result {
    let folder = tempdir()?;
    let files = VqaFiles::write(&folder.path().join("vqa"), 2)?;
    fs::write(files.path("annotations.json"), "<html>\nnot found")?;
    let ran = files.ingest(&folder.path().join("set"), "train")?;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    assert!(ran.stderr.contains("annotations.json") && ran.stderr.contains("line 1"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint:"), "{}", ran.stderr);
    Ok(())
}

#[test]
fn other_options_for_an_existing_split_are_refused() -> Result {
    let folder = tempdir()?;
    let dataset = folder.path().join("set");
    VqaFiles::write(&folder.path().join("vqa"), 2)?.ingest(&dataset, "train")?;
    let ran = VqaFiles::write(&folder.path().join("other"), 3)?.ingest(&dataset, "train")?;
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("exists with other options") && ran.stderr.contains("hint:"), "{}", ran.stderr);
    Ok(())
}

#[test]
fn what_is_no_data_set_and_what_is_no_table_are_said_clearly() -> Result {
    let folder = tempdir()?;
    for command in ["summary", "verify"] {
        let ran = retort(&[command, text(folder.path())])?;
        assert_eq!(ran.code, Some(2));
        assert!(ran.stderr.contains("is not a data set: it has no dataset.json"), "{}", ran.stderr);
        assert!(ran.stderr.contains("hint: make one with `retort ingest`"), "{}", ran.stderr);
    }
    let dataset = folder.path().join("set");
    VqaFiles::write(&folder.path().join("vqa"), 2)?.ingest(&dataset, "train")?;
    let ran = retort(&["sql", text(&dataset), "-c", "SELECT * FROM picturs"])?;
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("picturs") && ran.stderr.contains("images"), "{}", ran.stderr);
    Ok(())
}
