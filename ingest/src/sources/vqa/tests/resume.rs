//! The same bytes whatever happened on the way.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// Asks to stop once this many images were read.
struct StopAfter {
    images: AtomicU64,
    most: u64,
    interrupt: Interrupt,
}

impl Progress for StopAfter {
    fn begin(&self, stage: &str, total: u64, unit: &'static str) {
        assert_eq!((stage, total, unit), ("ingest train", 10, "images"));
    }

    fn advance(&self, units: u64) {
        if self.images.fetch_add(units, Ordering::Relaxed) + units >= self.most {
            self.interrupt.request();
        }
    }

    fn note(&self, _: &str) {}

    fn end(&self) {}
}

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// Ten images in shards of three; one is missing, and one annotation has no question.
fn lossy() -> (Fixture, VqaSource) {
    let fixture = Fixture::wide(10);
    std::fs::remove_file(fixture.path("images/train2014/COCO_train2014_000000000004.jpg")).unwrap();
    fixture.annotations((0..11).map(|id| annotation(id, "yes", &["yes"; 10])).collect());
    let source = VqaSource { shard_images: 3, ..fixture.source() };
    (fixture, source)
}

#[test]
fn an_interrupted_run_continues_to_the_same_bytes() -> Result<()> {
    let (whole, source) = lossy();
    let expected = whole.ingest(&source)?;
    assert_eq!((expected.shards, expected.samples, expected.rejected()), (4, 9, 3));

    let (killed, source) = lossy();
    let mut committed = Vec::new();
    for most in [2, 5, 8] {
        let interrupt = Interrupt::default();
        let progress = StopAfter { images: AtomicU64::new(0), most, interrupt: interrupt.clone() };
        // With one thread it is certain which images were read before the stop.
        let stopped = pool(1).install(|| ingest_vqa(&source, &killed.out(), &progress, &interrupt));
        let error = stopped.unwrap_err();
        assert!(matches!(error, Error::Cache(retort_cache::Error::Interrupted)), "{error}");
        committed.push(Dataset::open(&killed.out()).map_or(0, |dataset| dataset.shard_count()));
    }
    assert_eq!(committed, [0, 1, 2]);
    assert_eq!(killed.ingest(&source)?, expected);
    assert_eq!(files(&killed.out()), files(&whole.out()));
    Ok(())
}

#[test]
fn the_number_of_threads_changes_no_byte() -> Result<()> {
    let (one, source) = lossy();
    pool(1).install(|| one.ingest(&source))?;
    let (many, source) = lossy();
    pool(8).install(|| many.ingest(&source))?;
    let (one, many) = (files(&one.out()), files(&many.out()));
    assert_eq!(one.len(), 4 * 4 + 1);
    assert_eq!(one, many);
    Ok(())
}

#[test]
fn a_complete_split_is_left_alone() -> Result<()> {
    let (fixture, source) = lossy();
    let first = fixture.ingest(&source)?;
    let before = files(&fixture.out());
    // No image is read again.
    std::fs::remove_dir_all(fixture.path("images/train2014")).unwrap();
    let again = fixture.ingest(&source)?;
    assert_eq!(again, IngestReport { skipped_already: true, ..first });
    assert_eq!(files(&fixture.out()), before);
    Ok(())
}

#[test]
fn another_content_or_option_is_another_split() -> Result<()> {
    let (fixture, source) = lossy();
    fixture.ingest(&source)?;
    let refused = |source: &VqaSource| {
        let error = fixture.ingest(source).unwrap_err();
        assert!(matches!(error, Error::Cache(retort_cache::Error::SplitExists { .. })), "{error}");
    };
    refused(&VqaSource { shard_images: 4, ..source.clone() });
    refused(&VqaSource { image_pattern: "{id}.jpg".to_owned(), ..source.clone() });
    refused(&VqaSource { answers: AnswerPlan::Existing, ..source.clone() });
    // A limit decides when to stop, not what is written.
    assert!(fixture.ingest(&VqaSource { max_rejects: RejectLimit::Count(0), ..source.clone() })?.skipped_already);
    fixture.annotations(json!([annotation(1, "no", &["no"; 10])]));
    refused(&source);
    Ok(())
}
