//! Files of teachers that were deleted: `retort summary` says so, and `retort teach` computes them again.

use std::fs;
use std::path::{Path, PathBuf};

use retort_schemas::manifest::CACHE_FOLDER;

use crate::support::command::{VqaFiles, retort, succeed, text};
use crate::support::{Result, golden, tree};

/// A data set of two shards and the arguments that teach it with a model folder, its tokens too.
fn ingested(folder: &Path, model: &Path) -> Result<(PathBuf, Vec<String>)> {
    let dataset = folder.join("set");
    let ran = VqaFiles::write(&folder.join("vqa"), 4)?.ingest(&dataset, "train")?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let teacher = format!("clip={}", model.display());
    let arguments = ["teach", text(&dataset), "--teacher", &teacher, "--tokens"].map(str::to_owned).to_vec();
    Ok((dataset, arguments))
}

fn strs(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// What the table says, and the command that it ends with, as a shell takes it apart.
fn summary(dataset: &Path) -> Result<(String, Vec<String>)> {
    let said = succeed(&["summary", text(dataset)])?;
    let command = said.lines().find_map(|line| line.strip_prefix("  retort ")).unwrap_or_default();
    let words = command.split(' ').map(str::to_owned).collect();
    Ok((said, words))
}

#[test]
fn what_is_gone_is_said_and_the_command_that_is_told_computes_it_again() -> Result {
    let folder = tempfile::tempdir()?;
    let (dataset, arguments) = ingested(folder.path(), &golden("clip"))?;
    let ran = succeed(&strs(&arguments))?;
    assert!(ran.contains(": 2 shards computed, "), "{ran}");
    let cache = fs::read_dir(dataset.join(CACHE_FOLDER))?.next().ok_or("no teacher")??.path();
    let name = cache.file_name().ok_or("no name")?.to_string_lossy().into_owned();
    let expected = tree(&cache)?;
    assert!(summary(&dataset)?.0.contains("2 of 2 shards whole"));
    for (table, shard) in [("tokens", 0), ("tokens", 1), ("images", 1)] {
        fs::remove_file(cache.join(format!("{table}/train-0000{shard}.parquet")))?;
    }
    let (said, told) = summary(&dataset)?;
    for line in [
        "0 of 2 shards whole\n",
        &format!("gone: 1 file of images that the manifest names, cache/{name}/images/train-00001.parquet\n"),
        &format!(
            "gone: 2 files of tokens that the manifest names, the first cache/{name}/tokens/train-00000.parquet\n"
        ),
        "missing: images of 1 shard, tokens of 2 shards; this would:\n",
    ] {
        assert!(said.contains(line), "{said} lacks {line:?}");
    }
    // What was not asked for is not computed, and not passed over either.
    let ran = succeed(&strs(&arguments[..4]))?;
    for says in [
        ": 1 shard computed, 1 was there, 1 file was gone and computed again, ",
        &format!("\n{name}: 2 files of tokens are gone: run it again with --tokens\n"),
    ] {
        assert!(ran.contains(says), "{ran} lacks {says:?}");
    }
    let ran = succeed(&strs(&told))?;
    assert!(ran.contains(": 2 shards computed, 2 files were gone and computed again, "), "{ran}");
    assert!(tree(&cache)? == expected, "what was computed again is not what was there");
    let ran = succeed(&strs(&told))?;
    assert_eq!(ran, format!("{name}: 0 shards computed, 2 were there\n"));
    succeed(&["verify", text(&dataset)])?;
    Ok(())
}

#[test]
fn the_word_for_a_model_that_nobody_knows_is_refused_with_a_hint() -> Result {
    let folder = tempfile::tempdir()?;
    let model = folder.path().join("model");
    fs::create_dir(&model)?;
    for file in fs::read_dir(golden("clip"))?.flatten().filter(|file| file.path().is_file()) {
        fs::copy(file.path(), model.join(file.file_name()))?;
    }
    let (dataset, arguments) = ingested(folder.path(), &model)?;
    succeed(&strs(&arguments))?;
    let (said, told) = summary(&dataset)?;
    assert!(said.contains("not computed: patches, words; this would:\n") && !said.contains("FOLDER"), "{said}");
    assert_eq!(told[3], format!("clip={}", model.display()));
    fs::remove_dir_all(&model)?;
    let (said, told) = summary(&dataset)?;
    let gone = format!(
        "in the place of FOLDER goes the model's folder, or its id of the hub: it was {}, which is gone\n",
        model.display()
    );
    assert!(said.contains(&gone), "{said}");
    assert_eq!(told[3], "clip=FOLDER");
    let refused = retort(&strs(&told))?;
    assert_eq!(refused.code, Some(2));
    for says in
        ["error: teacher clip: FOLDER stands for a model", "hint: put the folder that the teacher's model lies in"]
    {
        assert!(refused.stderr.contains(says), "{}", refused.stderr);
    }
    // With the model of the same weights, the command goes on with the same cache.
    let teacher = format!("clip={}", text(&golden("clip")));
    let told: Vec<&str> =
        told.iter().map(|word| if word == "clip=FOLDER" { &teacher } else { word.as_str() }).collect();
    assert!(succeed(&told)?.contains(": 2 shards computed"));
    assert_eq!(fs::read_dir(dataset.join(CACHE_FOLDER))?.count(), 1);
    Ok(())
}
