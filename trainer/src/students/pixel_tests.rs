//! The students that read pixels or a patch grid: against transformers both ways, through their files, and on a few samples
//! that they are to learn.

use std::collections::BTreeMap;
use std::process::Command;

use rand::Rng;
use retort_nn::save;
use tempfile::tempdir;

use super::tests::{Golden, export, objective, python_with_transformers, tokenizer, worst};
use super::*;
use crate::adamw::AdamW;
use crate::losses::class_loss;
use crate::recipe::Optim;

const KINDS: [StudentKind; 2] = [StudentKind::Vilt, StudentKind::ClipGrid];

fn parse(more: &[String]) -> Result<Recipe> {
    let text = "[data]\ndataset = \"none\"\n[teachers]\nimage = \"clip\"\n";
    Recipe::parse(Path::new("test"), text, more)
}

/// Sizes of the golden folders: width, and sides of image and patch; two layers of two heads.
fn sized(width: i64, image: i64) -> Vec<String> {
    [
        format!("student.hidden={width}"),
        format!("student.image_size={image}"),
        "student.patch_size=8".to_owned(),
        "student.layers=2".to_owned(),
        "student.heads=2".to_owned(),
        "student.text_tokens=20".to_owned(),
    ]
    .to_vec()
}

/// A student begun from a golden folder, with what was made of its weights.
fn started(
    folder: &Path,
    settings: Vec<String>,
    outputs: usize,
) -> Result<(Box<dyn Student>, BTreeMap<String, Tensor>)> {
    let recipe = parse(&[settings, vec![format!("student.from={}", folder.display())]].concat())?;
    let weights = first_weights(&recipe, Device::Cpu)?;
    let student = first(&recipe, &weights, &tokenizer()?, Objective::Answers, outputs, None)?;
    Ok((student, weights.into_named()))
}

fn inputs(golden: &Golden, pixels: &str) -> Result<(Text, Visual)> {
    let text = Text { ids: golden.tensor("input_ids")?, mask: golden.tensor("attention_mask")?, segments: None };
    Ok((text, Visual::Pixels(golden.tensor(pixels)?)))
}

/// Largest difference of a student's text states, where there is text, over the largest state.
fn states_differ(views: &Views, golden: &Golden, name: &str) -> Result<f64> {
    let (expected, mask) = (golden.tensor(name)?, golden.tensor("attention_mask")?.unsqueeze(-1));
    Ok(worst(&(&views.h_text * &mask), &(&expected * mask)) / expected.abs().max().double_value(&[]))
}

#[test]
fn vilt_says_what_transformers_says() -> Result<()> {
    let golden = Golden::open("vilt")?;
    let student = Vilt::new(&golden.weights()?.root(), golden.config(), 5)?;
    let (text, visual) = inputs(&golden, "pixel_values")?;
    let views = student.forward(&text, &visual)?;
    let logits = worst(&views.logits, &golden.tensor("logits")?);
    let states = states_differ(&views, &golden, "text_last_hidden_state")?;
    assert!(logits < 1e-5 && states < 1e-5, "{logits} {states}");
    Ok(())
}

#[test]
fn vilt_starts_from_a_folder_and_reads_images_of_another_size() -> Result<()> {
    let golden = Golden::open("vilt")?;
    // As many answers: the head too is the folder's. 32 pixels are its own size, 48 are 6 x 6 patches instead of 4 x 4.
    for (side, pixels, logits) in [(32, "pixel_values", "logits"), (48, "large_pixel_values", "large_logits")] {
        let (student, _) = started(&golden.folder, sized(32, side), 5)?;
        let (text, visual) = inputs(&golden, pixels)?;
        let said = student.forward(&text, &visual)?;
        let differs = worst(&said.logits.detach(), &golden.tensor(logits)?);
        assert!(differs < 1e-5, "{side}: {differs}");
        // What is exported has the positions of the new size, and opens as the same student.
        let folder = tempdir().unwrap();
        let (student, named) = started(&golden.folder, sized(32, side), 5)?;
        export(folder.path(), student.as_ref(), named, &["yes", "no", "red", "circle", "2"])?;
        let (opened, _) =
            open(folder.path(), StudentKind::Vilt, &folder.path().join("model.safetensors"), tch::Device::Cpu)?;
        assert_eq!(opened.forward(&text, &visual)?.logits, said.logits);
        let (again, _) = started(folder.path(), sized(32, side), 5)?;
        assert_eq!(again.forward(&text, &visual)?.logits, said.logits);
    }
    // Fewer tokens than the folder has positions for.
    let fewer = [sized(32, 32), vec!["student.text_tokens=9".to_owned()]].concat();
    let (student, _) = started(&golden.folder, fewer, 5)?;
    let (text, visual) = inputs(&golden, "pixel_values")?;
    assert!(worst(&student.forward(&text, &visual)?.logits.detach(), &golden.tensor("logits")?) < 1e-5);
    Ok(())
}

#[test]
fn a_pretrained_vilt_gets_a_head_and_keeps_its_tokenizer() -> Result<()> {
    let golden = Golden::open("vilt-mlm")?;
    let (student, named) = started(&golden.folder, sized(24, 24), 3)?;
    let (text, visual) = inputs(&golden, "pixel_values")?;
    let views = student.forward(&text, &visual)?;
    let states = states_differ(&views, &golden, "text_last_hidden_state")?;
    assert!(states < 1e-5, "{states}");
    assert_eq!(views.logits.size(), [7, 3]);
    // The head is that of the seed, and what the folder has for masked words is gone.
    let fresh = Weights::fresh(1, Device::Cpu);
    let _ = Vilt::new(&fresh.root(), golden.config(), 3)?;
    let fresh = fresh.into_named();
    for part in ["classifier.0.weight", "classifier.3.weight"] {
        assert_eq!(named[part], fresh[part], "{part}");
    }
    assert_ne!(named["vilt.pooler.dense.weight"], fresh["vilt.pooler.dense.weight"]);
    assert!(named.keys().all(|name| !name.starts_with("mlm_score")));
    // Ids as transformers' own reading of vocab.txt has them.
    let tokenizer = crate::vocabulary::of_folder(&golden.folder, 20)?;
    let cases: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(golden.folder.join("cases.json")).unwrap()).unwrap();
    let texts: Vec<&str> = cases["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert_eq!(texts.len(), 7);
    for (row, said) in texts.into_iter().enumerate() {
        let found = tokenizer.encode(said)?.ids;
        let expected = Vec::<i64>::try_from(text.ids.get(row as i64))?;
        let length = text.mask.get(row as i64).sum(Kind::Int64).int64_value(&[]) as usize;
        assert_eq!(found.iter().map(|id| i64::from(*id)).collect::<Vec<_>>(), expected[..length], "{said}");
    }
    Ok(())
}

#[test]
fn a_folder_that_does_not_fit_is_refused_by_key() -> Result<()> {
    let refusal = |name: &str, width: i64, more: &str| -> Result<String> {
        let settings = [sized(width, 32), vec![more.to_owned()]].concat();
        Ok(started(&Golden::open(name)?.folder, settings, 3).err().unwrap().to_string())
    };
    for (more, key, word) in [
        ("student.hidden=64", "student.hidden", "hidden_size 64"),
        ("student.layers=3", "student.layers", "num_hidden_layers 3"),
        ("student.heads=4", "student.heads", "num_attention_heads 4"),
        ("student.patch_size=16", "student.patch_size", "patch_size 16"),
        ("student.text_tokens=21", "student.text_tokens", "max_position_embeddings at least 21"),
    ] {
        let said = refusal("vilt", 32, more)?;
        assert!(said.starts_with(key) && said.contains(word) && said.contains("config.json says"), "{said}");
    }
    // Another model, and one that is ViLT by its config alone.
    let said = refusal("visualbert", 24, "student.text_tokens=9")?;
    assert!(said.starts_with("student.from") && said.contains("\"visual_bert\""), "{said}");
    let folder = tempdir().unwrap();
    let copy = |name: &str, file: &str| -> Result<()> {
        std::fs::copy(Golden::open(name)?.folder.join(file), folder.path().join(file)).unwrap();
        Ok(())
    };
    copy("vilt", "config.json")?;
    copy("visualbert", "model.safetensors")?;
    let said = started(folder.path(), sized(32, 32), 3).err().unwrap().to_string();
    assert!(said.contains("has no tensor vilt."), "{said}");
    // A config whose image size is not that of the positions.
    copy("vilt", "model.safetensors")?;
    let path = folder.path().join("config.json");
    let text = std::fs::read_to_string(&path).unwrap().replace("\"image_size\": 32", "\"image_size\": 40");
    std::fs::write(&path, text).unwrap();
    let said = started(folder.path(), sized(32, 48), 3).err().unwrap().to_string();
    assert!(said.contains("position_embeddings") && said.contains("[1, 26, 32]"), "{said}");
    // A folder without any tokenizer.
    let said = crate::vocabulary::of_folder(&Golden::open("vilt")?.folder, 20).err().unwrap().to_string();
    assert!(said.contains("tokenizer.json"), "{said}");
    Ok(())
}

#[test]
fn positions_are_resized_between_corners() -> Result<()> {
    let positions = Tensor::from_slice(&[9.0_f32, 0.0, 2.0, 4.0, 10.0]).reshape([1, 5, 1]);
    let found: Vec<f32> = Vec::try_from(resized_positions(&positions, 2, 3)?.view([-1]))?;
    assert_eq!(found, [9.0, 0.0, 1.0, 2.0, 2.0, 4.0, 6.0, 4.0, 7.0, 10.0]);
    let same: Vec<f32> = Vec::try_from(resized_positions(&positions, 2, 2)?.view([-1]))?;
    assert_eq!(same, [9.0, 0.0, 2.0, 4.0, 10.0]);
    Ok(())
}

/// A student of random weights.
fn small(kind: StudentKind, outputs: usize) -> Result<(Box<dyn Student>, BTreeMap<String, Tensor>)> {
    let recipe = parse(&[sized(24, 16), vec![format!("student.kind={kind}"), "student.layers=1".to_owned()]].concat())?;
    let grid = VisualFeatures { places: 6, width: 10, teacher: "clip@1a2b3c4d".to_owned() };
    let features = Some(&grid).filter(|_| kind == StudentKind::ClipGrid);
    let weights = first_weights(&recipe, Device::Cpu)?;
    let student = first(&recipe, &weights, &tokenizer()?, objective(Head::Answers), outputs, features)?;
    Ok((student, weights.into_named()))
}

/// Images that are noise.
fn visual(kind: StudentKind, images: i64) -> Visual {
    let mut rng = crate::seeds::generator("test", 3, 0, "images");
    let mut noise = |shape: &[i64]| {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-2.0..2.0)).collect();
        Tensor::from_slice(&values).reshape(shape)
    };
    if kind == StudentKind::Vilt {
        Visual::Pixels(noise(&[images, 3, 16, 16]))
    } else {
        Visual::Grid(noise(&[images, 6, 10]))
    }
}

/// Two texts of four tokens, the second of three.
fn text() -> Text {
    let ids = Tensor::from_slice(&[2_i64, 5, 6, 3, 2, 7, 3, 0]).reshape([2, 4]);
    Text { mask: ids.ne(0).to_kind(Kind::Int64), ids, segments: None }
}

#[test]
fn an_export_opens_as_the_same_student() -> Result<()> {
    for kind in KINDS {
        let (folder, visual) = (tempdir().unwrap(), visual(kind, 2));
        let (student, named) = small(kind, 3)?;
        let said = student.forward(&text(), &visual)?.logits;
        export(folder.path(), student.as_ref(), named, &["a", "b", "c"])?;
        let (opened, labels) = open(folder.path(), kind, &folder.path().join("model.safetensors"), tch::Device::Cpu)?;
        assert_eq!(labels, ["a", "b", "c"]);
        assert_eq!(opened.forward(&text(), &visual)?.logits, said, "{kind}");
        let teacher = (kind == StudentKind::ClipGrid).then(|| "clip@1a2b3c4d".to_owned());
        assert_eq!(grid_teacher(folder.path())?, teacher, "{kind}");
    }
    Ok(())
}

#[test]
fn candidates_share_their_image_and_inputs_of_another_kind_are_refused() -> Result<()> {
    for (kind, other, says) in [
        (StudentKind::Vilt, StudentKind::ClipGrid, "reads pixels, given a patch grid"),
        (StudentKind::ClipGrid, StudentKind::Vilt, "reads a patch grid, given pixels"),
    ] {
        let (student, _) = small(kind, 1)?;
        let twice = match visual(kind, 1) {
            Visual::Pixels(pixels) => Visual::Pixels(pixels.repeat([2, 1, 1, 1])),
            Visual::Grid(grid) => Visual::Grid(grid.repeat([2, 1, 1])),
            Visual::Regions { .. } => panic!("no student here reads regions"),
        };
        let one = student.forward(&text(), &visual(kind, 1))?;
        assert!(worst(&one.logits, &student.forward(&text(), &twice)?.logits) < 1e-6, "{kind}");
        let refusal = student.forward(&text(), &visual(other, 2)).unwrap_err().to_string();
        assert!(refusal.contains(says), "{refusal}");
    }
    let (student, _) = small(StudentKind::ClipGrid, 3)?;
    let wrong = Visual::Grid(Tensor::zeros([2, 5, 10], (Kind::Float, Device::Cpu)));
    assert!(student.forward(&text(), &wrong).is_err(), "five places where there are positions for six");
    Ok(())
}

#[test]
fn clip_grid_goes_on_from_its_own_export_with_another_head() -> Result<()> {
    let folder = tempdir().unwrap();
    let (student, named) = small(StudentKind::ClipGrid, 3)?;
    let before = student.forward(&text(), &visual(StudentKind::ClipGrid, 2))?;
    export(folder.path(), student.as_ref(), named, &["a", "b", "c"])?;
    let more = ["student.kind=clip-grid".to_owned(), format!("student.from={}", folder.path().display())];
    let recipe = parse(&[sized(24, 16), more.to_vec(), vec!["student.layers=1".to_owned()]].concat())?;
    let begin = |places: usize, width: usize| -> Result<Box<dyn Student>> {
        let grid = VisualFeatures { places, width, teacher: "clip@5e6f7a8b".to_owned() };
        let weights = first_weights(&recipe, Device::Cpu)?;
        first(&recipe, &weights, &tokenizer()?, objective(Head::Answers), 5, Some(&grid))
    };
    let after = begin(6, 10)?.forward(&text(), &visual(StudentKind::ClipGrid, 2))?;
    assert_eq!((after.h_text, after.logits.size()), (before.h_text, vec![2, 5]));
    let refusal = begin(6, 11).err().unwrap().to_string();
    assert!(refusal.contains("grid_dim 11") && refusal.contains("says 10"), "{refusal}");
    let refusal = begin(7, 10).err().unwrap().to_string();
    assert!(refusal.contains("position_embeddings"), "{refusal}");
    Ok(())
}

#[test]
fn transformers_loads_an_exported_vilt_and_says_the_same() -> Result<()> {
    let python = match python_with_transformers() {
        Ok(python) => python,
        Err(skipped) => {
            println!("{skipped}");
            return Ok(());
        }
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/py/check_vilt.py");
    let golden = Golden::open("vilt")?;
    let (golden_text, golden_visual) = inputs(&golden, "large_pixel_values")?;
    // A student of our own, and one that began from a folder with images of another size.
    for (begun, (student, named), text, visual) in [
        (false, small(StudentKind::Vilt, 3)?, text(), visual(StudentKind::Vilt, 2)),
        (true, started(&golden.folder, sized(32, 48), 3)?, golden_text, golden_visual),
    ] {
        let folder = tempdir().unwrap();
        let logits = student.forward(&text, &visual)?.logits.detach();
        export(folder.path(), student.as_ref(), named, &["a", "b", "c"])?;
        let Visual::Pixels(pixels) = visual else { panic!("no pixels") };
        let said = BTreeMap::from([
            ("input_ids".to_owned(), text.ids),
            ("attention_mask".to_owned(), text.mask),
            ("pixel_values".to_owned(), pixels),
            ("logits".to_owned(), logits),
        ]);
        std::fs::write(folder.path().join("said.safetensors"), save(&said, "format", "pt")?).unwrap();
        let ran = Command::new(&python).arg(&script).arg(folder.path()).output().unwrap();
        assert!(ran.status.success(), "{begun}: {}", String::from_utf8_lossy(&ran.stderr));
        assert!(String::from_utf8_lossy(&ran.stdout).contains("differs by"), "{ran:?}");
    }
    Ok(())
}

/// Eight samples that nothing but image and text together tell apart: four images, two texts.
#[test]
fn each_learns_eight_samples_by_heart() -> Result<()> {
    let ids = Tensor::from_slice(&[5_i64, 6, 5, 6, 5, 6, 5, 6]).reshape([8, 1]);
    let ends = |id: i64| Tensor::full([8, 1], id, (Kind::Int64, Device::Cpu));
    let ids = Tensor::cat(&[ends(2), ids, ends(3)], 1);
    let text = Text { mask: ids.ones_like(), ids, segments: None };
    let labels = Tensor::from_slice(&[0_i64, 1, 1, 0, 2, 0, 1, 2]);
    for kind in KINDS {
        let (student, named) = small(kind, 3)?;
        let visual = visual(kind, 4);
        let optim = Optim { steps: 150, lr: 3e-3, warmup_steps: 10, ..Optim::default() };
        let mut adamw = AdamW::new(named, &optim)?;
        let mut last = f64::INFINITY;
        for _ in 0..optim.steps {
            let loss = class_loss(&student.forward(&text, &visual)?.logits, &labels, 0.0)?;
            last = loss.double_value(&[]);
            loss.f_backward()?;
            let norm = adamw.gradient_norm()?;
            adamw.step(norm)?;
        }
        assert!(last < 0.02, "{kind}: {last}");
    }
    Ok(())
}

#[test]
fn positions_of_a_new_student_begin_as_the_recipe_says() -> Result<()> {
    let begun = |positions: &str| -> Result<Tensor> {
        let settings = [sized(24, 24), vec![format!("student.positions={positions}")]].concat();
        let recipe = parse(&settings)?;
        let weights = first_weights(&recipe, Device::Cpu)?;
        first(&recipe, &weights, &tokenizer()?, Objective::Answers, 3, None)?;
        Ok(weights.into_named()["vilt.embeddings.position_embeddings"].shallow_clone())
    };
    let (waves, random) = (begun("waves")?, begun("random")?);
    let width = waves.size()[2];
    assert_eq!(waves.size(), [1, 1 + 9, width]);
    assert_eq!(Vec::<f32>::try_from(waves.flatten(0, -1))?, sin_cos_grid(9, width as usize));
    assert!(waves.requires_grad(), "it is trained as any other");
    assert_ne!(random, waves);
    Ok(())
}
