//! The shell of `retort sql`: a line editor around the queries, with history, completion and times.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Error, Result};
use retort_sql::{Format, Names, SessionContext};
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor};

use super::answers::Answers;
use super::completion::Typing;
use super::input::{HELP, Input};
use super::skipped;
use crate::failure::{self, Light};

const PROMPT: &str = "retort> ";

/// How the shell stands.
struct Shell<'c> {
    context: &'c SessionContext,
    names: Names,
    answers: Answers,
    format: Format,
    timing: bool,
}

/// Reads and answers until it is left.
///
/// # Errors
/// If the terminal cannot be read, or a file of the folder is damaged; a query that fails is told, and the shell goes on.
pub(super) fn run(context: &SessionContext, folder: &Path, format: Format) -> Result<()> {
    let answers = Answers::new()?;
    let names = answers.names(context)?;
    let config = Config::builder().completion_type(CompletionType::List).max_history_size(10_000)?.build();
    let mut editor: Editor<Typing, DefaultHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(Typing::new(names.clone())));
    let history = history_file();
    if let Some(file) = &history {
        // The first time there is none.
        let _ = editor.load_history(file);
    }
    let mut shell = Shell { context, names, answers, format, timing: false };
    shell.tell(&format!(
        "{}: {} tables. \\? tells what there is, \\q leaves.\n",
        folder.display(),
        shell.names.tables.len()
    ))?;
    loop {
        let line = match editor.readline(PROMPT) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(error).context("cannot read the terminal"),
        };
        if !line.trim().is_empty() {
            editor.add_history_entry(line.trim())?;
            if let Some(file) = &history {
                // A folder that cannot be written costs the history, not the shell.
                let _ = editor.append_history(file);
            }
        }
        if shell.follow(&Input::parse(&line))? == Next::Leave {
            return Ok(());
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    Leave,
}

impl Shell<'_> {
    fn follow(&mut self, input: &Input) -> Result<Next> {
        match input {
            Input::Queries(queries) => self.answer(queries),
            Input::Columns(table) => self.answer(&format!("DESCRIBE {table}")),
            Input::Tables => self.tell(&self.tables())?,
            Input::Timing(asked) => {
                self.timing = asked.unwrap_or(!self.timing);
                self.tell(if self.timing { "Times are told.\n" } else { "Times are not told.\n" })?;
            }
            Input::Format(word) => match word.parse() {
                Ok(Format::Parquet) => {
                    self.tell("Parquet is no text: give -c and --format parquet, with stdout in a file.\n")?
                }
                Ok(format) => self.format = format,
                Err(error) => self.complain(&Error::from(error)),
            },
            Input::Help => self.tell(HELP)?,
            Input::Unknown(text) => self.tell(&format!("There is no command {text}.\n{HELP}"))?,
            Input::Empty => {}
            Input::Quit => return Ok(Next::Leave),
        }
        Ok(Next::GoOn)
    }

    /// Answers queries, unless Ctrl-C comes first.
    fn answer(&self, queries: &str) {
        let began = Instant::now();
        let mut out = BufWriter::new(std::io::stdout());
        let answered = self.answers.write(self.context, queries, self.format, &mut out);
        skipped::tell(self.context);
        match answered {
            Ok(()) if self.timing => self.say(&format!("{:.3} s", began.elapsed().as_secs_f64())),
            Ok(()) => {}
            Err(error) if failure::is_interrupt(&error, &Light) => self.say("stopped"),
            Err(error) => self.complain(&error),
        }
    }

    fn complain(&self, error: &Error) {
        failure::report(error, &Light);
    }

    fn tables(&self) -> String {
        let width = self.names.tables.iter().map(|table| table.name.len()).max().unwrap_or(0);
        let line = |table: &retort_sql::TableNames| format!("{:width$}  {}\n", table.name, table.columns.join(", "));
        self.names.tables.iter().map(line).collect()
    }

    /// To stdout.
    fn tell(&self, text: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to stdout")
    }

    /// To stderr, beside an answer.
    #[expect(clippy::print_stderr, reason = "what is no answer is no data")]
    fn say(&self, text: &str) {
        eprintln!("{text}");
    }
}

/// `retort/sql_history` in the user's state folder; none where that cannot be made.
fn history_file() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| Some(std::env::home_dir()?.join(".local/state")))?;
    let folder = state.join("retort");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("sql_history"))
}
