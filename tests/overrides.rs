//! What the user says of a teacher in the place of what is detected, and what is printed of it.

use std::fs;
use std::path::Path;

use retort_schemas::Dtype;
use retort_teachers::{Overrides, Teacher};
use serde_json::{Value, json};
use tch::Device;
use tempfile::tempdir;

use crate::support::command::{VqaFiles, command, text};
use crate::support::{Result, copy_folder, golden};

/// A golden teacher with settings over it.
fn open(folder: &Path, settings: &[(&str, &str)]) -> Result<Result<Teacher, retort_teachers::Error>> {
    let mut said = Overrides::default();
    for (key, value) in settings {
        said.set(key, value)?;
    }
    Ok(Teacher::open_with(folder, Device::Cpu, Dtype::F32, said))
}

#[test]
fn the_fingerprint_changes_if_and_only_if_what_is_used_does() -> Result {
    for (name, settings, changes) in [
        ("clip", &[("size", "32")][..], false),
        ("clip", &[("size", "40")], true),
        ("clip", &[("crop", "32")], false),
        ("clip", &[("interpolation", "bicubic")], false),
        ("clip", &[("interpolation", "bilinear")], true),
        ("clip", &[("mean", "0.5,0.5,0.5")], true),
        ("clip", &[("mean", "0.48145466,0.4578275,0.40821073"), ("normalize", "false")], false),
        ("clip", &[("std", "0.5,0.5,0.5")], true),
        ("clip", &[("max_length", "32")], false),
        ("clip", &[("max_length", "20")], true),
        ("clip", &[("normalize", "true")], true),
        ("siglip", &[("max_length", "12")], true),
        ("siglip", &[("size", "36")], false),
        ("dinov2", &[("crop", "40"), ("size", "48")], false),
        ("dinov2", &[("crop", "48")], true),
        ("bert", &[("pooling", "pooler")], false),
        ("bert", &[("pooling", "mean")], true),
        ("bert", &[("pooling", "cls")], true),
        ("bert", &[("max_length", "24")], false),
        ("bert", &[("max_length", "10")], true),
        ("bert", &[("normalize", "false")], false),
        ("bert", &[("normalize", "true")], true),
        ("vit", &[("size", "32"), ("interpolation", "bilinear")], false),
        ("open-clip", &[("size", "36")], true),
        ("openai-clip", &[("interpolation", "bilinear")], true),
    ] {
        let before = open(&golden(name), &[])??.fingerprint(Dtype::F16);
        let after = open(&golden(name), settings)?.map_err(|error| format!("{name} {settings:?}: {error}"))?;
        assert_eq!(after.fingerprint(Dtype::F16) != before, changes, "{name} {settings:?}");
    }
    Ok(())
}

/// A setting gives what a folder that says the same gives, down to the fingerprint.
#[test]
fn settings_are_as_good_as_the_folder() -> Result {
    let folder = tempdir()?;
    copy_folder(&golden("bert"), folder.path())?;
    fs::create_dir(folder.path().join("1_Pooling"))?;
    fs::write(folder.path().join("1_Pooling/config.json"), r#"{"pooling_mode_mean_tokens": true}"#)?;
    fs::write(folder.path().join("sentence_bert_config.json"), r#"{"max_seq_length": 12}"#)?;
    let modules = r#"[{"path": "1_Pooling", "type": "models.Pooling"}, {"type": "models.Normalize"}]"#;
    fs::write(folder.path().join("modules.json"), modules)?;
    let by_folder = open(folder.path(), &[])??;
    let settings = [("pooling", "mean"), ("max_length", "12"), ("normalize", "true")];
    let said = open(&golden("bert"), &settings)??;
    assert_eq!(said.identity, by_folder.identity);
    let embed = |teacher: &Teacher| -> Result<Vec<f32>> {
        let words = "is there a red circle in the image and a blue triangle, and what else is there to be seen?";
        let encoded = teacher.text.as_ref().ok_or("no text encoder")?.tokenizer.encode(words)?;
        assert_eq!((encoded.ids.len(), encoded.truncated), (12, true));
        Ok(teacher.embed_texts(&[&encoded], false)?.0)
    };
    assert_eq!(embed(&said)?, embed(&by_folder)?);
    // And the other way: the folder's own say is taken back.
    let plain = open(folder.path(), &[("pooling", "pooler"), ("max_length", "24"), ("normalize", "false")])??;
    assert_eq!(plain.identity, open(&golden("bert"), &[])??.identity);
    Ok(())
}

#[test]
fn embeddings_of_length_one_are_those_of_before_divided_by_theirs() -> Result {
    let [plain, unit] = [open(&golden("clip"), &[])??, open(&golden("clip"), &[("normalize", "true")])??];
    let side = plain.image.as_ref().ok_or("no image encoder")?;
    let [height, width] = side.input_size();
    let pixels: Vec<f32> = (0..3 * height * width).map(|n| (n % 7) as f32 / 7.0 - 0.5).collect();
    let encoded = plain.text.as_ref().ok_or("no text encoder")?.tokenizer.encode("a red circle")?;
    let both = |teacher: &Teacher| -> Result<[Vec<f32>; 2]> {
        Ok([teacher.embed_pixels(&pixels, 1)?, teacher.embed_texts(&[&encoded], false)?.0])
    };
    for (plain, unit) in both(&plain)?.iter().zip(both(&unit)?) {
        let norm = plain.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!(!(0.9..=1.1).contains(&norm), "{norm}");
        for (plain, unit) in plain.iter().zip(unit) {
            assert!((plain / norm - unit).abs() < 1e-5, "{plain} / {norm}, {unit}");
        }
    }
    Ok(())
}

#[test]
fn what_a_teacher_has_no_place_for_is_refused() -> Result {
    for (name, key, value, says) in [
        ("clip", "crop", "40", "images come out as [40, 40], the model takes 32 x 32"),
        ("clip", "pooling", "mean", "pooling is of text encoders that give a feature a token"),
        ("clip", "max_length", "33", "max_length is 33, and the model has 32 positions"),
        ("clip", "max_length", "2", "it adds 2 special tokens to a text, the longest has 2"),
        ("bert", "size", "32", "size is of images, and this teacher has no image encoder"),
        ("bert", "max_length", "600", "max_length is 600, and the model has 24 positions"),
        ("vit", "max_length", "8", "max_length is of texts, and this teacher has no text encoder"),
        ("vit", "pooling", "mean", "pooling is of texts"),
        ("distilbert", "pooling", "pooler", "pooling is pooler, and the weights have none"),
        ("openai-clip", "crop", "16", "images come out as [16, 16]"),
    ] {
        let said = open(&golden(name), &[(key, value)])?.err().ok_or_else(|| format!("{name} opened: {key}"))?;
        assert!(said.to_string().contains(says), "{name}, {key}: {said}");
    }
    Ok(())
}

/// `retort teach` prints what was detected, and the manifest has it.
#[test]
fn what_was_detected_is_printed_and_recorded() -> Result {
    let folder = tempdir()?;
    let (dataset, files) = (folder.path().join("set"), VqaFiles::write(&folder.path().join("vqa"), 2)?);
    assert_eq!(files.ingest(&dataset, "train")?.code, Some(0));
    let teach = |settings: &[&str]| -> Result<(Option<i32>, String)> {
        let teacher = format!("clip={}", text(&golden("clip")));
        let mut arguments = vec!["teach", text(&dataset), "--teacher", &teacher];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        let output = command(&arguments).output()?;
        Ok((output.status.code(), String::from_utf8(output.stderr)?))
    };
    let (code, said) = teach(&["clip.interpolation=bilinear", "clip.max_length=20", "clip.normalize=true"])?;
    assert_eq!(code, Some(0), "{said}");
    let cache = fs::read_dir(dataset.join("cache"))?.next().ok_or("no teacher")??.path();
    let manifest: Value = serde_json::from_slice(&fs::read(cache.join("teacher.json"))?)?;
    let fingerprint = manifest["fingerprint"].as_str().ok_or("no fingerprint")?;
    for line in [
        format!("teacher clip: clip, computed in f32, stored as f16, fingerprint {fingerprint}\n"),
        "teacher clip: images: shorter side to 32 px, bilinear, crop 32x32, mean 0.48145467,0.4578275,0.40821072, std \
         0.26862955,0.2613026,0.2757771; 24 dimensions, 16 patches of 40\n"
            .to_owned(),
        "teacher clip: texts: at most 20 tokens; 24 dimensions, 32 a token\n".to_owned(),
        "teacher clip: pooling: projection of class token / end-of-text token, normalised to length one\n".to_owned(),
    ] {
        assert_eq!(said.matches(&line).count(), 1, "{said} does not say once {line:?}");
    }
    // What would add to this cache says it all again.
    let set = "--set clip.interpolation=bilinear --set clip.max_length=20 --set clip.normalize=true --dtype f32";
    let output = command(&["summary", text(&dataset)]).output()?;
    let summary = String::from_utf8(output.stdout)?;
    assert!(
        summary.contains(&format!(
            "--teacher clip={} {set} --store f16 --patches --tokens --words",
            text(&golden("clip"))
        )),
        "{summary}"
    );
    // Queries are encoded in the same way, unless another is said.
    let ask = |settings: &[&str]| -> Result<(Option<i32>, String)> {
        let teacher = format!("clip={}", text(&golden("clip")));
        let query = "SELECT count(*) FROM nearest('clip.images', 'a red circle', 2)";
        let mut arguments = vec!["sql", text(&dataset), "--teacher", &teacher, "--format", "csv", "-c", query];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        let output = command(&arguments).output()?;
        Ok((output.status.code(), String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?))
    };
    for settings in [&["clip.interpolation=bilinear", "clip.max_length=20", "clip.normalize=true"][..], &[]] {
        let (code, said) = ask(settings)?;
        assert!(code == Some(0) && said.contains("\n2\n"), "{said}");
    }
    let (code, said) = ask(&["clip.max_length=20"])?;
    assert!(code == Some(2) && said.contains("is not the model that") && said.contains("the same --set"), "{said}");
    let (code, said) = ask(&["clop.max_length=20"])?;
    assert!(code == Some(2) && said.contains("no --teacher has that name: expected one of clip"), "{said}");
    let details = &manifest["identity"]["details"];
    assert_eq!(manifest["identity"]["compute"], "f32");
    assert_eq!(details["preprocessing"]["filter"], "bilinear");
    assert_eq!(details["preprocessing"]["resize"], json!({ "shortest_edge": 32 }));
    assert_eq!(details["preprocessing"]["crop"], json!([32, 32]));
    assert_eq!(
        (&details["longest"], &details["normalise"], &details["projection"]),
        (&json!(20), &json!(true), &json!(24))
    );
    for (setting, says) in [
        ("clp.size=3", "no teacher of this call has that name: expected one of clip; did you mean \"clip\"?"),
        ("clip.sise=3", "there is no setting \"sise\" of a teacher: expected one of pooling, "),
        ("clip.sise=3", "did you mean \"size\"?"),
        ("clip.size=small", "size is \"small\", expected a side in pixels"),
        ("clip.size", "expected NAME.KEY=VALUE"),
        ("clip.pooling=mean", "this model has its own pooling"),
    ] {
        let (code, said) = teach(&[setting])?;
        assert!(code == Some(2) && said.contains(says), "{setting}: {said}");
    }
    Ok(())
}
