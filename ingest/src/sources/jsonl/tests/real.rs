//! NLVR's sentences and images, which are not part of the project: without them these tests say so and pass.

use std::collections::HashSet;

use super::*;
use crate::sources::testing::shared_data;

/// The mapping that the module's own page shows, for one of the six orders of the boxes in an image.
fn mapping(order: usize) -> String {
    let page = include_str!("../mod.rs").lines().filter_map(|line| line.strip_prefix("//!"));
    let shown = page.skip_while(|line| !line.contains("```toml")).skip(1).take_while(|line| !line.contains("```"));
    let shown: String = shown.map(|line| format!("{line}\n")).collect();
    let image = format!("-{order}.png");
    shown.replace("-0.png", &image)
}

#[test]
fn all_sentences_of_nlvr_with_all_images() -> Result<()> {
    let Some(data) = shared_data("nlvr_dev") else { return Ok(()) };
    let fixture = Fixture::with_photos(&[]);
    // Told by the text alone.
    let text = std::fs::read_to_string(data.join("dev.json")).unwrap();
    let cell = |line: &str, key: &str| {
        let rest = line.split_once(&format!("\"{key}\":\"")).unwrap().1.to_owned();
        rest.split('"').next().unwrap().to_owned()
    };
    let labels: Vec<String> = text.lines().map(|line| cell(line, "label")).collect();
    let count = |label: &str| labels.iter().filter(|found| *found == label).count();
    assert_eq!((labels.len(), count("true"), count("false")), (989, 547, 442));
    let sentences: HashSet<String> = text.lines().map(|line| cell(line, "sentence").trim().to_owned()).collect();

    let mut images = 0;
    for order in 0..6 {
        let split = format!("dev{order}");
        let source = Jsonl::open(&JsonlFiles {
            file: data.join("dev.json"),
            mapping: fixture.write("nlvr.toml", mapping(order)),
            images: data.clone(),
            parts: Vec::new(),
        })?;
        let report = fixture.ingest(&source, &split)?;
        assert_eq!((report.samples, report.shards, report.rejected()), (989, 1, 0), "{split}");
        assert_eq!(report.texts, sentences.len() as u64);
        let image = |line: &str| {
            let (folder, id) = (cell(line, "directory"), cell(line, "identifier"));
            std::fs::read(data.join(format!("images/{folder}/dev-{id}-{order}.png"))).unwrap()
        };
        // Some images have the bytes of another.
        assert_eq!(report.images, text.lines().map(image).collect::<HashSet<_>>().len() as u64, "{split}");
        images += report.samples;
    }
    assert_eq!(images, 5_934);
    let samples = fixture.samples();
    let found = samples.iter().map(|sample| (sample.id.clone(), sample.label_text.clone().unwrap()));
    let listed = text.lines().map(|line| (cell(line, "identifier"), cell(line, "label")));
    let mut listed: Vec<_> = (0..6).flat_map(|_| listed.clone()).collect();
    let mut found: Vec<_> = found.collect();
    found.sort();
    listed.sort();
    assert_eq!(found, listed);
    assert_eq!((samples[0].id.as_str(), samples[0].label), ("1572-0", Some(1)));
    assert_eq!(strings(&fixture.table(0, image_table::NAME), image_table::SOURCE)[0], "images/2/dev-1572-0-0.png");
    assert_eq!(classes(&fixture), ["false", "true"]);
    Ok(())
}
