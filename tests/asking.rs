//! What the command line of `retort sql` takes, refuses, and tells beside an answer.

use std::fs;
use std::process::{Command, Stdio};

use tempfile::tempdir;

use crate::support::Result;
use crate::support::command::{VqaFiles, retort, succeed, text};

#[test]
fn queries_may_begin_with_comments_and_files_with_a_mark() -> Result {
    let folder = tempdir()?;
    let dataset = folder.path().join("set");
    VqaFiles::write(&folder.path().join("vqa"), 3)?.ingest(&dataset, "train")?;
    let query = "-- how many\nSELECT count(*) AS n FROM images";
    assert_eq!(succeed(&["sql", text(&dataset), "-c", query, "--format", "csv"])?, "n\n3\n");
    let file = folder.path().join("query.sql");
    fs::write(&file, format!("\u{feff}{query}"))?;
    assert_eq!(succeed(&["sql", text(&dataset), "-f", text(&file), "--format", "csv"])?, "n\n3\n");
    Ok(())
}

#[test]
fn parquet_is_not_written_to_a_terminal() -> Result {
    let folder = tempdir()?;
    let dataset = folder.path().join("set");
    VqaFiles::write(&folder.path().join("vqa"), 2)?.ingest(&dataset, "train")?;
    let seen = Command::new("python3")
        .args(["-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)", env!("CARGO_BIN_EXE_retort"), "sql"])
        .args([text(&dataset), "--format", "parquet", "-c", "SELECT 1"])
        .stdin(Stdio::null())
        .output()?;
    let seen = (seen.status.code(), String::from_utf8(seen.stdout)?);
    assert!(seen.0 == Some(2) && seen.1.contains("stdout is a terminal: write it to a file"), "{seen:?}");
    Ok(())
}

#[test]
fn folders_and_teachers_that_are_not_there_are_named() -> Result {
    let folder = tempdir()?;
    let gone = folder.path().join("gone");
    let ran = retort(&["sql", text(&gone), "-c", "SELECT 1"])?;
    let expected = format!("error: there is no folder {}\n", gone.display());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(2), expected.as_str()));
    #[cfg(feature = "torch")]
    {
        let dataset = folder.path().join("set");
        VqaFiles::write(&folder.path().join("vqa"), 2)?.ingest(&dataset, "train")?;
        let ran = retort(&["sql", text(&dataset), "--teacher", "nope=models/clip", "-c", "SELECT 1"])?;
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains("has no teacher \"nope\"; it has none"), "{}", ran.stderr);
    }
    Ok(())
}

#[test]
fn what_was_left_out_is_told_when_there_is_no_answer_too() -> Result {
    let folder = tempdir()?;
    let dataset = folder.path().join("set");
    VqaFiles::write(&folder.path().join("vqa"), 3)?.ingest(&dataset, "train")?;
    fs::write(dataset.join("images/train-00000.parquet"), "PAR1")?;
    let query = "SELECT 1 / (count(source) - count(source)) FROM images";
    let ran = retort(&["sql", text(&dataset), "--skip-damaged", "-c", query])?;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let told = "left out of images: 1 damaged shard, 2 rows (train-00000)\nhint: `retort verify` tells what is wrong with them\nerror: ";
    assert!(ran.stderr.starts_with(told) && ran.stderr.contains("Divide by zero"), "{}", ran.stderr);
    Ok(())
}
