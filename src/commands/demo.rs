//! `retort demo`: the public commands one after another, each printed before its output, so that it is a tutorial too.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use retort_cache::{create_folder, write_atomic};

use crate::cli::Demo;
use crate::failure::INTERRUPTED;
use crate::progress::Terminal;

const RECIPE: &str = include_str!("../../trainer/recipes/easy-vqa-vilt-tiny.toml");
const ARMS: [&str; 3] = ["base", "kd", "kd+ts+cw"];

pub fn run(options: &Demo, terminal: &Terminal) -> Result<ExitCode> {
    let began = Instant::now();
    let assets = match &options.assets {
        Some(assets) => assets.clone(),
        None => default_assets()?,
    };
    for part in ["easy-vqa", "minilm", "tiny-clip"] {
        if !assets.join(part).is_dir() {
            bail!("{} has no {part}: fetch it with `python3 src/demo/fetch.py`, or run `make demo`", assets.display());
        }
    }
    let out = &options.out;
    create_folder(out)?;
    let dataset = out.join("easy-vqa");
    let recipe = out.join("easy-vqa-vilt-tiny.toml");
    let own = format!("dataset = \"{}\"", dataset.display());
    write_atomic(&recipe, RECIPE.replace("dataset = \"demo/easy-vqa\"", &own).as_bytes())?;
    let shell = Shell { terminal, binary: std::env::current_exe().context("cannot find the retort binary")? };

    let vqa = assets.join("easy-vqa");
    for split in ["train", "test"] {
        shell.run(&format!(
            "ingest vqa --questions {} --annotations {} --images {} --image-pattern {{id}}.png --split {split} --out {}",
            show(&vqa.join(format!("v2_OpenEnded_easyvqa_{split}_questions.json"))),
            show(&vqa.join(format!("v2_easyvqa_{split}_annotations.json"))),
            show(&vqa.join(split)),
            show(&dataset)
        ))?;
    }
    shell.run(&format!(
        "teach {} --teacher clip={} --teacher text={} --tokens --words",
        show(&dataset),
        show(&assets.join("tiny-clip")),
        show(&assets.join("minilm"))
    ))?;
    shell.run(&format!("summary {}", show(&dataset)))?;
    shell.run(&format!("verify {}", show(&dataset)))?;
    for query in QUERIES {
        shell.run(&format!("sql {} -c {}", show(&dataset), quote(query)))?;
    }
    let mut runs = Vec::new();
    for arm in ARMS {
        let run = out.join("runs").join(format!("{arm}-seed{}", options.seed));
        let seed = options.seed;
        shell.run(&format!("train {} --set arm={arm} --set seed={seed} --run {}", show(&recipe), show(&run)))?;
        runs.push(show(&run));
    }
    let runs = runs.join(" ");
    let page = out.join("report.html");
    shell.run(&format!("eval {runs} --split test"))?;
    shell.run(&format!("report {runs} --out {}", show(&page)))?;
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let page = page.canonicalize().unwrap_or(page);
    super::print(&format!(
        "\nDone in {minutes:.1} minutes, seed {}.\nThe data set:  {}\nThe runs:      {}\nThe report:    {}\n",
        options.seed,
        dataset.display(),
        out.join("runs").display(),
        page.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// What a curious person would ask.
const QUERIES: [&str; 3] = [
    "SELECT question_type, count(*) AS questions, count(DISTINCT label_text) AS answers, \
     min(label_text) AS for_example FROM samples GROUP BY question_type ORDER BY questions DESC",
    "SELECT i.split, i.source, round(cosine_similarity(f.embedding, q.embedding), 4) AS cosine \
     FROM clip.images f \
     JOIN images i ON i.shard = f.shard AND i.row = f.row \
     CROSS JOIN (SELECT g.embedding FROM clip.images g JOIN images j ON j.shard = g.shard AND j.row = g.row \
     WHERE j.split = 'test' AND j.source = '7.png') q \
     ORDER BY cosine DESC, i.split, i.source LIMIT 6",
    "SELECT name, kind, \"rows\", round(100 * coverage, 1) AS percent_covered, bytes, \
     round(bytes_per_row, 1) AS bytes_per_row FROM teachers ORDER BY name, kind",
];

fn default_assets() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    Ok(cache
        .context("neither XDG_CACHE_HOME nor HOME is set; name the fetched data with --assets")?
        .join("retort/demo"))
}

fn show(path: &Path) -> String {
    quote(&path.display().to_string())
}

/// As a shell would want it: bare where that is safe, else in quotes.
fn quote(word: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,{}".contains(c);
    if !word.is_empty() && word.chars().all(bare) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Prints command lines and runs them with this very binary.
struct Shell<'a> {
    terminal: &'a Terminal,
    binary: PathBuf,
}

impl Shell<'_> {
    fn run(&self, line: &str) -> Result<()> {
        self.terminal.interrupt().check()?;
        super::print(&format!("\n$ retort {line}\n"))?;
        let mut command = Command::new(&self.binary);
        let status = command.args(split(line)).status().context("cannot run the retort binary")?;
        match status.code() {
            Some(0) => Ok(()),
            // Ctrl-C reaches the command too, which has said what it kept.
            Some(code) if code == i32::from(INTERRUPTED) => Err(retort_cache::Error::Interrupted.into()),
            Some(code) => bail!("this command ended with exit code {code}: retort {line}"),
            None => bail!("this command was killed: retort {line}"),
        }
    }
}

/// The words of a line that [`quote`] made.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '\'' => {
                quoted = !quoted;
                any = true;
            }
            '\\' if !quoted => word.extend(rest.next()),
            ' ' if !quoted => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => word.push(c),
        }
    }
    if any || !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_line_splits_into_the_words_it_was_made_of() {
        let words = ["sql", "a b", "it's", "", "SELECT \"rows\" FROM t WHERE x = '7.png'", "{id}.png"];
        let line: Vec<String> = words.iter().map(|word| quote(word)).collect();
        assert_eq!(split(&line.join(" ")), words);
    }
}
