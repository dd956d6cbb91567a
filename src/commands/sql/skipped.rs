//! Tells, after an answer, what was left out of it because it is damaged.

use std::collections::BTreeMap;

use retort_sql::{SessionContext, Skipped, take_skipped};

/// Shards of a table that are named.
const NAMED: usize = 5;

/// To stderr: nothing if nothing was left out.
#[expect(clippy::print_stderr, reason = "what is no answer is no data")]
pub(super) fn tell(context: &SessionContext) {
    for line in lines(&take_skipped(context)) {
        eprintln!("{line}");
    }
}

/// A line a table, and a hint where there is a manifest that `retort verify` goes by: files of runs say themselves what is
/// wrong with them.
fn lines(skipped: &[Skipped]) -> Vec<String> {
    let (shards, files): (Vec<&Skipped>, Vec<&Skipped>) = skipped.iter().partition(|skipped| skipped.rows.is_some());
    let mut lines: Vec<String> =
        files.into_iter().map(|file| format!("left out of {}: {}", file.table, file.problem)).collect();
    let mut tables: BTreeMap<&str, Vec<&Skipped>> = BTreeMap::new();
    for skipped in shards {
        tables.entry(&skipped.table).or_default().push(skipped);
    }
    let hint = (!tables.is_empty()).then(|| "hint: `retort verify` tells what is wrong with them".to_owned());
    lines.extend(tables.into_iter().map(|(table, shards)| line(table, &shards)));
    lines.extend(hint);
    lines
}

fn line(table: &str, shards: &[&Skipped]) -> String {
    let named: Vec<&str> = shards.iter().take(NAMED).map(|shard| shard.shard.as_str()).collect();
    let more = if shards.len() > NAMED { ", ..." } else { "" };
    let rows: usize = shards.iter().filter_map(|shard| shard.rows).sum();
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let (shards, rows) = (count(shards.len(), "damaged shard"), count(rows, "row"));
    format!("left out of {table}: {shards}, {rows} ({}{more})", named.join(", "))
}
