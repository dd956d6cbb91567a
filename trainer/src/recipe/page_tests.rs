//! `docs/recipes.md` against the recipe itself: every key, every default.

use std::collections::BTreeMap;
use std::path::Path;

use super::Recipe;
use super::read::known_keys;
use crate::Result;

const PAGE: &str = include_str!("../../../docs/recipes.md");

/// Tables of the page, by heading: `""` is the top level.
fn sections() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut sections: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut heading = "";
    for line in PAGE.lines() {
        if let Some(found) = line.strip_prefix("## ") {
            heading = found.strip_prefix("`[").and_then(|found| found.strip_suffix("]`")).unwrap_or("");
        } else if line.starts_with("| `") {
            sections.entry(heading).or_default().push(line);
        }
    }
    sections
}

/// Key and default of a row, and how many cells it has.
fn row(line: &str) -> (&str, &str, usize) {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    (cells[0].trim_matches('`'), cells[2], cells.len())
}

#[test]
fn every_key_has_its_row_with_the_default_that_it_has() -> Result<()> {
    let recipe = Recipe::parse(Path::new("recipe.toml"), "[data]\ndataset = \"d\"", &[])?;
    let defaults: toml::Table = toml::from_str(&recipe.to_toml()?).unwrap();
    let default_of = |key: &str| match key.split_once('.') {
        Some((table, key)) => defaults.get(table).and_then(|table| table.get(key)),
        None => defaults.get(key),
    };
    let sections = sections();
    let mut rows: Vec<&str> = Vec::new();
    for (section, lines) in &sections {
        for line in lines {
            let (key, written, cells) = row(line);
            assert_eq!(cells, 5, "{key}: a row has key, type, default, meaning and when to change it");
            assert_eq!(key.split_once('.').map_or("", |(table, _)| table), *section, "{key} stands in [{section}]");
            assert!(!rows.contains(&key), "{key} has two rows");
            rows.push(key);
            let default = default_of(key);
            match written {
                "required" => assert_eq!(key, "data.dataset"),
                "none" => assert_eq!(default, None, "{key} has a default"),
                written => {
                    let value = format!("value = {}", written.trim_matches('`'));
                    let value =
                        toml::from_str::<toml::Table>(&value).ok().and_then(|table| table.get("value").cloned());
                    assert_eq!(value.as_ref(), default, "docs/recipes.md says {written} of {key}, Recipe {default:?}");
                }
            }
        }
    }
    for key in known_keys() {
        let is_table = known_keys().iter().any(|known| known.starts_with(&format!("{key}.")));
        assert!(is_table || rows.contains(&key.as_str()), "docs/recipes.md has no row for {key}");
    }
    for key in rows {
        assert!(known_keys().iter().any(|known| known == key), "docs/recipes.md has a row for {key}, which is no key");
    }
    Ok(())
}
