//! `retort sql`: queries from the command line, a file or stdin; a shell where there is somebody to type.

mod answers;
#[cfg(feature = "torch")]
mod child;
mod completion;
#[cfg(feature = "torch")]
mod encoder;
mod input;
mod interrupts;
mod shell;
mod skipped;
mod thumbnails;

use std::io::{BufWriter, IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use retort_sql::{Format, Options, SessionContext, open_with};

use self::answers::Answers;
use crate::cli::Sql;

pub fn run(options: &Sql) -> Result<ExitCode> {
    let format: Format = options.format.parse()?;
    let query = match (&options.query, &options.file) {
        (Some(query), _) => query.clone(),
        (None, Some(file)) => read(file)?,
        (None, None) if std::io::stdin().is_terminal() => {
            shell::run(&open(options, format)?, &options.folder, format)?;
            return Ok(ExitCode::SUCCESS);
        }
        (None, None) => read("-".as_ref())?,
    };
    if format == Format::Parquet && std::io::stdout().is_terminal() {
        bail!("--format parquet is no text, and stdout is a terminal: write it to a file, with > FILE");
    }
    let context = open(options, format)?;
    let mut out = BufWriter::new(std::io::stdout());
    let answered = Answers::once()?.write(&context, &query, format, &mut out);
    // What was left out may be why there is no answer.
    skipped::tell(&context);
    answered.map(|()| ExitCode::SUCCESS)
}

fn open(options: &Sql, format: Format) -> Result<SessionContext> {
    let mut opened = Options::default();
    #[cfg(feature = "torch")]
    {
        opened.encoder = Some(std::sync::Arc::new(encoder::Encoder::of(&options.teachers, &options.settings)?));
    }
    opened.thumbnails = thumbnails::of(options.thumbnails, format)?;
    opened.allow_external = options.allow_external;
    opened.skip_damaged = options.skip_damaged;
    opened.memory_limit = options.memory_limit;
    opened.spill_folder.clone_from(&options.spill_dir);
    let context = open_with(&options.folder, &opened)?;
    #[cfg(feature = "torch")]
    encoder::check(&options.teachers, &options.folder, &retort_sql::teachers(&context))?;
    Ok(context)
}

fn read(file: &Path) -> Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read stdin")?;
        return Ok(without_mark(text));
    }
    Ok(without_mark(retort_cache::read_text(file)?))
}

/// Without the mark that some editors put before UTF-8, which is no part of the first query.
fn without_mark(text: String) -> String {
    match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}
