//! `retort shift` through the real binary: what it prints, what SQL sees, how it ends.

use retort_cache::{Interrupt, Quiet, verify};
use serde_json::Value;
use tempfile::tempdir;

use crate::support::command::{VqaFiles, retort, succeed, text};
use crate::support::{Result, tree};

#[test]
fn splits_with_changed_priors_are_made_verified_and_traced() -> Result {
    let folder = tempdir()?;
    let dataset = folder.path().join("set");
    assert_eq!(VqaFiles::write(&folder.path().join("vqa"), 24)?.ingest(&dataset, "train")?.code, Some(0));
    let before = tree(&dataset)?;
    let set = text(&dataset);
    let arguments = ["shift", "prior", set, "--from", "train", "--to", "cp", "--test-share", "0.34", "--strict"];
    let made = succeed(&arguments)?;
    assert!(made.starts_with("split cp-train made: "), "{made}");
    assert!(made.contains("total variation after: 1.0000\n"), "{made}");
    // What was there is there still, byte for byte.
    let after = tree(&dataset)?;
    for (path, bytes) in before.iter().filter(|(path, _)| !path.ends_with("dataset.json")) {
        assert_eq!(after.get(path), Some(bytes), "{}", path.display());
    }
    assert!(verify(&dataset, &Quiet, &Interrupt::default())?.damages.is_empty());

    let again = [&arguments[..], &["--format", "json"]].concat();
    let again: Value = serde_json::from_str(&succeed(&again)?)?;
    assert!(again.as_array().is_some_and(|all| all.iter().all(|split| split["skipped_already"] == true)), "{again}");
    assert_eq!(again[0]["counts"]["images of test"], 8);

    let query = "SELECT count(*) AS n FROM samples n \
                 JOIN samples o ON o.sample_id = n.sample_id AND o.split = n.origin \
                 WHERE n.split LIKE 'cp-%' AND n.change IS NULL AND n.label_text = o.label_text \
                 AND n.\"group\" = o.\"group\"";
    let traced = succeed(&["sql", set, "-c", query, "--format", "csv"])?;
    let samples = again[0]["samples"].as_u64().unwrap_or(0) + again[1]["samples"].as_u64().unwrap_or(0);
    assert_eq!(traced, format!("n\n{samples}\n"));
    let query = "SELECT count(*) AS n FROM samples WHERE origin IS NULL";
    assert_eq!(succeed(&["sql", set, "-c", query, "--format", "csv"])?, "n\n48\n");
    Ok(())
}

#[test]
fn what_cannot_be_shifted_is_refused_with_a_hint_and_nothing_is_written() -> Result {
    let folder = tempdir()?;
    let dataset = folder.path().join("set");
    VqaFiles::write(&folder.path().join("vqa"), 4)?.ingest(&dataset, "train")?;
    let before = tree(&dataset)?;
    let set = text(&dataset);
    for (arguments, said) in [
        (["rule-singular", "--from", "val", "--to", "new"], "no split \"val\"; it has train"),
        (["rule-singular", "--from", "train", "--to", "new"], "dropped: not a sample of VCR"),
        (["rule-plural", "--from", "train", "--to", "train"], "over itself"),
        (["hard", "--from", "train", "--to", "a/b"], "it names files"),
    ] {
        let ran = retort(&[&["shift", arguments[0], set], &arguments[1..]].concat())?;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
        assert!(ran.stderr.contains(said), "{arguments:?}: {}", ran.stderr);
    }
    assert_eq!(tree(&dataset)?.len(), before.len());
    // A split of that name that is another.
    succeed(&["shift", "prior", set, "--from", "train", "--to", "cp", "--test-share", "0.5"])?;
    let other = ["shift", "prior", set, "--from", "train", "--to", "cp", "--test-share", "0.25"];
    let ran = retort(&other)?;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("hint:") && ran.stderr.contains("--force"), "{}", ran.stderr);
    succeed(&[&other[..], &["--force"]].concat())?;
    Ok(())
}
