//! Real pairs with their photographs, which are not part of the project: without them these tests say so and pass.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::sources::testing::shared_data;

/// Hypothesis and label of each pair by its id, read as plain JSON.
fn listed(data: &Path) -> BTreeMap<String, (String, String)> {
    let text = std::fs::read_to_string(data.join("snli_ve_dev.jsonl")).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let cell = |row: &Value, key: &str| row[key].as_str().unwrap().trim().to_owned();
    rows.map(|row| (cell(&row, "pairID"), (cell(&row, "sentence2"), cell(&row, "gold_label")))).collect()
}

#[test]
fn real_pairs_with_their_photos() -> Result<()> {
    let Some(data) = shared_data("flickr8k_snlive") else { return Ok(()) };
    let listed = listed(&data);
    assert_eq!(listed.len(), 3_217);
    let mut tables = Vec::new();
    for name in ["snli_ve_dev.jsonl", "esnlive_dev.csv"] {
        let fixture = Fixture::with_photos(&[]);
        let files = SnliVeFiles {
            pairs: vec![data.join(name)],
            images: data.join("images"),
            part: SnliVePart::All,
            id_map: Some(data.join("flickr30k_id_map.csv")),
        };
        let report = fixture.ingest(&SnliVe::open(&files)?, "dev")?;
        assert_eq!((report.samples, report.images, report.shards, report.rejected()), (3_217, 233, 1, 0), "{name}");
        let samples = fixture.samples();
        let labelled = |class: u32| samples.iter().filter(|sample| sample.label == Some(class)).count();
        // Entailment, neutral, contradiction.
        assert_eq!([0, 1, 2].map(labelled), [1_188, 769, 1_260], "{name}");
        assert_eq!(samples[0].id, "2181846120.jpg#2r1c");
        let told = |sample: Sample| (sample.id, (sample.texts.join("|"), sample.label_text.unwrap_or_default()));
        assert_eq!(samples.into_iter().map(told).collect::<BTreeMap<_, _>>(), listed, "{name}");
        tables.push(fixture.tables());
    }
    assert_eq!(tables[0], tables[1]);
    Ok(())
}
