//! The shell of `retort sql`, through a terminal of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::command::{VqaFiles, retort, text};
use crate::support::{Result, repository};

#[test]
fn the_shell_completes_answers_complains_and_remembers() -> Result {
    let folder = tempdir()?;
    let (dataset, state) = (folder.path().join("set"), folder.path().join("state"));
    VqaFiles::write(&folder.path().join("vqa"), 5)?.ingest(&dataset, "train")?;
    let conversation = json!([
        ["", "\\? tells what there is"],
        ["\\d\r", "question_type"],
        // Nobody knows a table `samp`: the answer tells that the word was completed.
        ["SELECT count(*) AS n\rFROM sampl\t;\r", "there is no table sample;"],
        ["SELECT count(*) AS n\rFROM samples;\r", "| 10 |"],
        ["SELECT labl FROM samples;\r", "Did you mean 'samples.label'"],
        ["\\timing\r", "Times are told."],
        [".format csv\r", ""],
        ["SELECT 'x;y' AS word, 2;\r", "x;y,2\r\n"],
        ["\\dance\r", "There is no command \\dance."],
        // The one before the last.
        ["\u{1b}[A\u{1b}[A\r", "x;y,2\r\n"],
        ["\\q\r", ""]
    ]);
    talk(&dataset, &state, &conversation)?;
    let history = std::fs::read_to_string(state.join("retort/sql_history"))?;
    assert!(history.contains("SELECT labl FROM samples;"), "{history}");
    Ok(())
}

#[test]
fn thumbnails_are_drawn_in_a_terminal_and_refused_elsewhere() -> Result {
    let folder = tempdir()?;
    let dataset = folder.path().join("set");
    VqaFiles::write(&folder.path().join("vqa"), 2)?.ingest(&dataset, "train")?;
    let query = "SELECT source, bytes FROM images ORDER BY source";
    let sql = |option: &str, more: &[&str]| retort(&[&["sql", text(&dataset), option, "-c", query], more].concat());
    let ran = sql("--thumbnails", &[])?;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
    assert!(ran.stderr.starts_with("error: --thumbnails are for terminals, and stdout is none"), "{}", ran.stderr);
    let ran = sql("--thumbnails", &["--format", "csv"])?;
    assert!(ran.stderr.contains("--format csv gives none"), "{}", ran.stderr);
    let ran = sql("--thumbnails=ascii", &[])?;
    assert!(ran.stderr.contains("auto, kitty, iterm2, blocks"), "{}", ran.stderr);

    let seen = Command::new("python3")
        .args(["-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)", env!("CARGO_BIN_EXE_retort"), "sql"])
        .args([text(&dataset), "--thumbnails=blocks", "-c", query])
        .env("COLORTERM", "truecolor")
        .stdin(Stdio::null())
        .output()?;
    assert!(seen.status.success(), "{}", String::from_utf8_lossy(&seen.stderr));
    let seen = String::from_utf8(seen.stdout)?;
    let (table, drawn) = seen.split_once("row 1: ").ok_or(seen.clone())?;
    assert!(table.contains(" bytes> |"), "{table}");
    assert!(drawn.contains("\u{1b}[38;2;") && drawn.contains("row 2: ") && !drawn.contains("row 3: "), "{drawn:?}");
    Ok(())
}

#[test]
fn without_a_terminal_queries_are_read_from_stdin() -> Result {
    let folder = tempdir()?;
    let dataset = folder.path().join("set");
    VqaFiles::write(&folder.path().join("vqa"), 5)?.ingest(&dataset, "train")?;
    let mut sql = Command::new(env!("CARGO_BIN_EXE_retort"))
        .args(["sql", text(&dataset), "--format", "csv"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    sql.stdin.take().ok_or("no stdin")?.write_all(b"SELECT count(*) AS n FROM images; SELECT 1 AS one;")?;
    let answered = sql.wait_with_output()?;
    assert_eq!(String::from_utf8(answered.stdout)?, "n\n5\n\none\n1\n");
    Ok(())
}

#[test]
fn ctrl_c_ends_an_answer_that_is_read() -> Result {
    let folder = tempdir()?;
    let dataset = folder.path().join("set");
    VqaFiles::write(&folder.path().join("vqa"), 2)?.ingest(&dataset, "train")?;
    stopped_behind(&dataset, "SELECT value FROM generate_series(1, 1000000000000)", "value\n")
}

/// A query that is busy on all threads and never reads anything again: who would hear Ctrl-C on these hears it never.
#[test]
fn ctrl_c_ends_a_query_that_never_waits() -> Result {
    let folder = tempdir()?;
    let dataset = folder.path().join("set");
    VqaFiles::write(&folder.path().join("vqa"), 2)?.ingest(&dataset, "train")?;
    let series = |name: &str| format!("generate_series(1, 1000000) AS {name}(x)");
    let busy = [
        format!("SELECT count(*) FROM {}, {} WHERE a.x * b.x % 7 = 9", series("a"), series("b")),
        format!("SELECT count(*) FROM {}, {}, {} WHERE a.x + b.x = c.x", series("a"), series("b"), series("c")),
    ];
    busy.iter().try_for_each(|query| stopped_behind(&dataset, &format!("SELECT 1 AS one; {query}"), "one\n"))
}

/// Asks, sends SIGINT once this first line of the answer is there, and expects the end that Ctrl-C makes.
fn stopped_behind(dataset: &Path, queries: &str, first: &str) -> Result {
    let mut sql = Command::new(env!("CARGO_BIN_EXE_retort"))
        .args(["sql", text(dataset), "--format", "csv", "-c", queries])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut answer = BufReader::new(sql.stdout.take().ok_or("no stdout")?);
    let mut line = String::new();
    answer.read_line(&mut line)?;
    assert_eq!(line, first);
    assert!(Command::new("kill").args(["-INT", &sql.id().to_string()]).status()?.success());
    std::io::copy(&mut answer, &mut std::io::sink())?;
    let ended = sql.wait_with_output()?;
    assert_eq!(String::from_utf8(ended.stderr)?, "error: stopped before all was answered\n", "{queries}");
    assert_eq!(ended.status.code(), Some(130));
    Ok(())
}

#[test]
fn ctrl_c_ends_an_answer_and_not_the_shell() -> Result {
    let folder = tempdir()?;
    let (dataset, state) = (folder.path().join("set"), folder.path().join("state"));
    VqaFiles::write(&folder.path().join("vqa"), 2)?.ingest(&dataset, "train")?;
    let endless = "SELECT value FROM generate_series(1, 1000000000000);\r";
    talk(
        &dataset,
        &state,
        &json!([
            ["", "\\? tells what there is"],
            [".format csv\r", ""],
            [endless, "\n7\r\n", "stopped"],
            [endless, "\n7\r\n", "stopped"],
            ["SELECT 6 * 7 AS n;\r", "n\r\n42\r\n"],
            ["\\q\r", ""]
        ]),
    )
}

/// Has a conversation with the shell, in which all that is expected must come.
fn talk(dataset: &Path, state: &Path, conversation: &Value) -> Result {
    let mut talk = Command::new("python3")
        .arg(repository().join("tests/py/talk.py"))
        .args([env!("CARGO_BIN_EXE_retort"), "sql", text(dataset)])
        .env("XDG_STATE_HOME", state)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    talk.stdin.take().ok_or("no stdin")?.write_all(conversation.to_string().as_bytes())?;
    let ended = talk.wait_with_output()?;
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    Ok(())
}
