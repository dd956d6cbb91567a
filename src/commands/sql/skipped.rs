//! Tells, after an answer, what was left out of it because it is damaged.

use std::collections::BTreeMap;

use retort_sql::{SessionContext, Skipped, take_skipped};

/// Shards of a table that are named.
const NAMED: usize = 5;

/// To stderr: nothing if nothing was left out.
#[expect(clippy::print_stderr, reason = "what is no answer is no data")]
pub(super) fn tell(context: &SessionContext) {
    let lines = lines(&take_skipped(context));
    for line in &lines {
        eprintln!("{line}");
    }
    if !lines.is_empty() {
        eprintln!("hint: `retort verify` tells what is wrong with them");
    }
}

/// A line a table.
fn lines(skipped: &[Skipped]) -> Vec<String> {
    let mut tables: BTreeMap<&str, Vec<&Skipped>> = BTreeMap::new();
    for skipped in skipped {
        tables.entry(&skipped.table).or_default().push(skipped);
    }
    tables.into_iter().map(|(table, shards)| line(table, &shards)).collect()
}

fn line(table: &str, shards: &[&Skipped]) -> String {
    let named: Vec<&str> = shards.iter().take(NAMED).map(|shard| shard.shard.as_str()).collect();
    let more = if shards.len() > NAMED { ", ..." } else { "" };
    let rows: Option<usize> = shards.iter().map(|shard| shard.rows).sum();
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let rows = rows.map_or_else(|| "how many rows is unknown".to_owned(), |rows| count(rows, "row"));
    format!("left out of {table}: {}, {rows} ({}{more})", count(shards.len(), "damaged shard"), named.join(", "))
}
