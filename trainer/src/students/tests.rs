//! The region students against their references, through their files, and on a few samples that they are to learn.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use rand::Rng;
use retort_nn::save;
use tempfile::tempdir;

use super::*;
use crate::adamw::AdamW;
use crate::adversarial::{Place, press};
use crate::losses::{class_loss, vqa_loss};
use crate::recipe::Optim;

/// What stands in a golden folder's `expected.safetensors`.
pub(super) struct Golden {
    pub(super) folder: PathBuf,
    expected: Checkpoint,
}

impl Golden {
    pub(super) fn open(name: &str) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/golden").join(name);
        let expected = Checkpoint::open_file(&folder.join("expected.safetensors"))?;
        Ok(Self { folder, expected })
    }

    pub(super) fn tensor(&self, name: &str) -> Result<Tensor> {
        Ok(self.expected.tensor(name)?)
    }

    fn text(&self) -> Result<Text> {
        let segments = Some(self.tensor("parts")?);
        Ok(Text { ids: self.tensor("input_ids")?, mask: self.tensor("attention_mask")?, segments })
    }

    fn visual(&self) -> Result<Visual> {
        let (features, boxes) = (self.tensor("features")?, self.tensor("boxes")?);
        Ok(Visual::Regions { features, boxes, mask: self.tensor("regions_mask")? })
    }

    pub(super) fn config<C: serde::de::DeserializeOwned>(&self) -> C {
        serde_json::from_str(&std::fs::read_to_string(self.folder.join("config.json")).unwrap()).unwrap()
    }

    pub(super) fn weights(&self) -> Result<Weights> {
        Ok(Weights::frozen(Checkpoint::open(&self.folder)?, Device::Cpu, Kind::Float))
    }
}

pub(super) fn worst(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.size(), expected.size());
    (found - expected).abs().max().double_value(&[])
}

fn states(student: &dyn Student, golden: &Golden) -> Result<(Tensor, Views)> {
    let views = student.forward(&golden.text()?, &golden.visual()?)?;
    let text = golden.tensor("last_hidden_state")?.f_narrow(1, 0, 7)?;
    let seen = golden.tensor("attention_mask")?.f_unsqueeze(-1)?;
    Ok(((&views.h_text - text) * seen, views))
}

#[test]
fn visualbert_says_what_transformers_says_under_each_head() -> Result<()> {
    let golden = Golden::open("visualbert")?;
    for (head, name, outputs) in
        [(Head::Answers, "answers_logits", 4), (Head::Class, "class_logits", 4), (Head::Choice, "choice_logits", 1)]
    {
        let weights = golden.weights()?;
        if head == Head::Choice {
            // The score of a text is what the first answer's row makes of it.
            let checkpoint = Checkpoint::open(&golden.folder)?;
            for part in ["cls.weight", "cls.bias"] {
                weights.replace(part, &checkpoint.tensor(part)?.f_narrow(0, 0, 1)?)?;
            }
        }
        let student = VisualBert::new(&weights.root(), golden.config(), head, outputs)?;
        let (difference, views) = states(&student, &golden)?;
        let logits = worst(&views.logits, &golden.tensor(name)?);
        let states = difference.abs().max().double_value(&[]);
        assert!(logits < 1e-5 && states < 1e-5, "{head:?}: {logits} {states}");
    }
    Ok(())
}

#[test]
fn uniter_says_what_its_formulas_say() -> Result<()> {
    let golden = Golden::open("uniter")?;
    for (head, name, outputs) in [(Head::Class, "class_logits", 3), (Head::Choice, "choice_logits", 1)] {
        let student = Uniter::new(&golden.weights()?.root(), golden.config(), head, outputs)?;
        let (difference, views) = states(&student, &golden)?;
        let logits = worst(&views.logits, &golden.tensor(name)?);
        let states = difference.abs().max().double_value(&[]);
        assert!(logits < 1e-5 && states < 1e-5, "{head:?}: {logits} {states}");
    }
    Ok(())
}

const KINDS: [StudentKind; 3] = [StudentKind::VisualBert, StudentKind::Uniter, StudentKind::Villa];

fn recipe(kind: StudentKind) -> Recipe {
    let text = "[data]\ndataset = \"none\"\n[student]\nhidden = 24\nlayers = 2\nheads = 2\ntext_tokens = 9\n";
    Recipe::parse(Path::new("test"), text, &[format!("student.kind={kind}")]).unwrap()
}

fn regions_of(width: usize) -> VisualFeatures {
    VisualFeatures { width, ..VisualFeatures::default() }
}

pub(super) fn tokenizer() -> Result<TextTokenizer> {
    crate::vocabulary::from_texts(["abcdefgh a b c d e f g h"].into_iter(), 9)
}

pub(super) fn objective(head: Head) -> Objective {
    match head {
        Head::Answers => Objective::Answers,
        Head::Class => Objective::Class,
        Head::Choice => Objective::Choice(3),
    }
}

/// A student of random weights; of texts and regions as the golden files have them.
fn small(kind: StudentKind, head: Head, outputs: usize) -> Result<(Box<dyn Student>, BTreeMap<String, Tensor>)> {
    let (recipe, tokenizer) = (recipe(kind), tokenizer()?);
    let weights = first_weights(&recipe, Device::Cpu)?;
    let student = first(&recipe, &weights, &tokenizer, objective(head), outputs, Some(&regions_of(12)))?;
    Ok((student, weights.into_named()))
}

fn text() -> Result<Text> {
    let golden = Golden::open("visualbert")?;
    let Text { ids, mask, segments } = golden.text()?;
    Ok(Text { ids: ids.f_remainder(20)?, mask, segments })
}

/// Writes an export, as a run does.
pub(super) fn export(
    folder: &Path,
    student: &dyn Student,
    named: BTreeMap<String, Tensor>,
    answers: &[&str],
) -> Result<()> {
    let own = named.into_iter().filter(|(name, _)| student.exports(name)).collect();
    std::fs::write(folder.join("model.safetensors"), save(&own, "format", "pt")?).unwrap();
    student.write_config(folder, &answers.iter().map(|answer| (*answer).to_owned()).collect::<Vec<_>>())
}

#[test]
fn an_export_opens_as_the_same_student() -> Result<()> {
    let (text, visual) = (text()?, Golden::open("visualbert")?.visual()?);
    for kind in KINDS {
        for (head, answers) in
            [(Head::Answers, &["yes", "no"][..]), (Head::Class, &["a", "b", "c"]), (Head::Choice, &["score"])]
        {
            let folder = tempdir().unwrap();
            let (student, named) = small(kind, head, answers.len())?;
            let said = student.forward(&text, &visual)?.logits;
            assert_eq!(said.size(), [3, answers.len() as i64]);
            export(folder.path(), student.as_ref(), named, answers)?;
            let (opened, labels) =
                open(folder.path(), kind, &folder.path().join("model.safetensors"), tch::Device::Cpu)?;
            assert_eq!(labels, answers);
            assert_eq!(opened.forward(&text, &visual)?.logits, said, "{kind} {head:?}");
        }
    }
    Ok(())
}

#[test]
fn exports_have_the_names_of_the_references() -> Result<()> {
    for (kind, golden, head, outputs) in
        [(StudentKind::VisualBert, "visualbert", Head::Answers, 4), (StudentKind::Uniter, "uniter", Head::Choice, 1)]
    {
        let (student, named) = small(kind, head, outputs)?;
        let ours: Vec<&String> = named.keys().filter(|name| student.exports(name)).collect();
        let reference = Checkpoint::open(&Golden::open(golden)?.folder)?;
        // UNITER's golden has both heads, a model one.
        let theirs: Vec<&str> = reference.names().filter(|name| !name.starts_with("vqa_output")).collect();
        assert_eq!(ours, theirs);
    }
    Ok(())
}

/// The Python that `make golden` prepares.
pub(super) fn python_with_transformers() -> Result<PathBuf, String> {
    let home = std::env::var_os("XDG_CACHE_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cache"))).unwrap_or_default();
    let python = home.join("retort/golden-venv/bin/python");
    let absent = || format!("skipped: there is no {}; `make golden` prepares it", python.display());
    if python.is_file() { Ok(python) } else { Err(absent()) }
}

#[test]
fn transformers_loads_an_exported_visualbert_and_says_the_same() -> Result<()> {
    let python = match python_with_transformers() {
        Ok(python) => python,
        Err(skipped) => {
            println!("{skipped}");
            return Ok(());
        }
    };
    let (text, visual) = (text()?, Golden::open("visualbert")?.visual()?);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/py/check_visualbert.py");
    for (head, answers) in
        [(Head::Answers, &["yes", "no"][..]), (Head::Class, &["a", "b", "c"]), (Head::Choice, &["score"])]
    {
        let folder = tempdir().unwrap();
        let (student, named) = small(StudentKind::VisualBert, head, answers.len())?;
        let logits = student.forward(&text, &visual)?.logits.detach();
        export(folder.path(), student.as_ref(), named, answers)?;
        let Visual::Regions { features, mask, .. } = &visual else { panic!("no regions") };
        let said = BTreeMap::from([
            ("input_ids".to_owned(), text.ids.shallow_clone()),
            ("attention_mask".to_owned(), text.mask.shallow_clone()),
            ("token_type_ids".to_owned(), text.segments.as_ref().unwrap().clamp(0, 1)),
            ("visual_embeds".to_owned(), features.shallow_clone()),
            ("visual_attention_mask".to_owned(), mask.shallow_clone()),
            ("logits".to_owned(), logits),
        ]);
        std::fs::write(folder.path().join("said.safetensors"), save(&said, "format", "pt")?).unwrap();
        let ran = Command::new(&python).arg(&script).arg(folder.path()).output().unwrap();
        assert!(ran.status.success(), "{head:?}: {}", String::from_utf8_lossy(&ran.stderr));
        assert!(String::from_utf8_lossy(&ran.stdout).contains("differs by"), "{ran:?}");
    }
    Ok(())
}

#[test]
fn a_student_starts_from_a_folder_with_a_head_of_its_own() -> Result<()> {
    let golden = Golden::open("visualbert")?;
    let from = golden.folder.display().to_string();
    let started = |kind: StudentKind, settings: &[&str], head: Head, outputs: usize, width: usize| -> Result<_> {
        let mut all = vec![format!("student.kind={kind}")];
        all.extend(settings.iter().map(|setting| (*setting).to_owned()));
        let text = "[data]\ndataset = \"none\"\n[student]\nhidden = 24\nlayers = 2\nheads = 2\ntext_tokens = 9\n";
        let recipe = Recipe::parse(Path::new("test"), text, &all)?;
        let weights = first_weights(&recipe, Device::Cpu)?;
        let student = first(&recipe, &weights, &tokenizer()?, objective(head), outputs, Some(&regions_of(width)))?;
        Ok((student, weights.into_named()))
    };
    let setting = format!("student.from={from}");
    // As many answers: the head too is the folder's.
    let (student, _) = started(StudentKind::VisualBert, &[&setting], Head::Answers, 4, 12)?;
    let (_, views) = states(student.as_ref(), &golden)?;
    assert!(worst(&views.logits.detach(), &golden.tensor("answers_logits")?) < 1e-5);
    // Another number: a new head on the same states.
    let (student, named) = started(StudentKind::VisualBert, &[&setting], Head::Answers, 7, 12)?;
    let (difference, views) = states(student.as_ref(), &golden)?;
    assert_eq!((views.logits.size(), named["cls.weight"].size()), (vec![3, 7], vec![7, 24]));
    assert!(difference.abs().max().double_value(&[]) < 1e-5);

    for (more, key, word) in [
        ("student.hidden=32", "student.hidden", "hidden_size 32"),
        ("student.layers=3", "student.layers", "num_hidden_layers 3"),
        ("student.text_tokens=10", "student.text_tokens", "max_position_embeddings at least 10"),
    ] {
        let refusal = started(StudentKind::VisualBert, &[&setting, more], Head::Class, 3, 12).err().unwrap();
        let refusal = refusal.to_string();
        assert!(
            refusal.starts_with(key) && refusal.contains(word) && refusal.contains("config.json says"),
            "{refusal}"
        );
    }
    let refusal = started(StudentKind::VisualBert, &[&setting], Head::Class, 3, 13).err().unwrap().to_string();
    assert!(refusal.contains("visual_embedding_dim 13") && refusal.contains("says 12"), "{refusal}");
    // A student of other names is no beginning.
    let refusal = started(StudentKind::Uniter, &[&setting], Head::Class, 3, 12).err().unwrap().to_string();
    assert!(refusal.contains("uniter."), "{refusal}");
    Ok(())
}

#[test]
fn uniter_learns_the_segments_of_vcr_from_the_question() -> Result<()> {
    // A checkpoint that knows two segments: that of a student for classes.
    let folder = tempdir().unwrap();
    let (student, named) = small(StudentKind::Uniter, Head::Class, 3)?;
    let two: Vec<f32> = Vec::try_from(named["uniter.embeddings.token_type_embeddings.weight"].view([-1]))?;
    export(folder.path(), student.as_ref(), named, &["a", "b", "c"])?;
    let mut recipe = recipe(StudentKind::Uniter);
    recipe.student.from = Some(folder.path().to_owned());
    let weights = first_weights(&recipe, Device::Cpu)?;
    let student = first(&recipe, &weights, &tokenizer()?, Objective::Choice(3), 1, Some(&regions_of(12)))?;
    let (text, visual) = (text()?, Golden::open("visualbert")?.visual()?);
    let scores = student.forward(&text, &visual)?.logits;
    assert_eq!(scores.size(), [3, 1]);
    let four = weights.into_named().remove("uniter.embeddings.token_type_embeddings.weight").unwrap();
    let four: Vec<f32> = Vec::try_from(four.view([-1]))?;
    assert_eq!(four, [&two[..], &two[..24], &two[..24]].concat());
    // So far the parts of a text are alike.
    let plain = Text { segments: None, ids: text.ids, mask: text.mask };
    assert_eq!(student.forward(&plain, &visual)?.logits, scores);
    Ok(())
}

#[test]
fn candidates_share_their_image_and_padding_changes_nothing() -> Result<()> {
    let Visual::Regions { features, boxes, mask } = Golden::open("visualbert")?.visual()? else { panic!("no regions") };
    let text = text()?;
    let last = |x: &Tensor| x.narrow(0, 2, 1); // three of its five regions are there
    let one = Visual::Regions { features: last(&features), boxes: last(&boxes), mask: last(&mask) };
    let thrice = |x: &Tensor| last(x).repeat_interleave_self_int(3, 0, None);
    let three = Visual::Regions { features: thrice(&features), boxes: thrice(&boxes), mask: thrice(&mask) };
    let cut = |x: &Tensor| last(x).narrow(1, 0, 3);
    let bare = Visual::Regions { features: cut(&features), boxes: cut(&boxes), mask: cut(&mask) };
    for kind in KINDS {
        let (student, _) = small(kind, Head::Choice, 1)?;
        let shared = student.forward(&text, &one)?;
        assert_eq!(student.embed(&text, &one)?.visual.size()[0], 3);
        assert_eq!(shared.logits, student.forward(&text, &three)?.logits, "{kind}");
        let without = student.forward(&text, &bare)?;
        assert!(worst(&shared.logits, &without.logits) < 1e-5 && worst(&shared.r_img, &without.r_img) < 1e-5, "{kind}");
        // Boxes matter to UNITER alone, the parts of a text to all.
        let Visual::Regions { features, mask, boxes } = &one else { panic!("no regions") };
        let (features, mask) = (features.shallow_clone(), mask.shallow_clone());
        let moved = student.forward(&text, &Visual::Regions { features, mask, boxes: boxes * 0.5 })?;
        assert_eq!(worst(&moved.logits, &shared.logits) > 1e-5, kind != StudentKind::VisualBert, "{kind}");
        let plain = Text { segments: None, ids: text.ids.shallow_clone(), mask: text.mask.shallow_clone() };
        assert!(worst(&student.forward(&plain, &one)?.logits, &shared.logits) > 1e-5, "{kind}");
    }
    Ok(())
}

#[test]
fn what_a_student_does_not_read_is_refused() -> Result<()> {
    let pixels = Visual::Pixels(Tensor::zeros([3, 3, 8, 8], (Kind::Float, Device::Cpu)));
    let (student, _) = small(StudentKind::Uniter, Head::Class, 3)?;
    let refusal = student.forward(&text()?, &pixels).unwrap_err().to_string();
    assert_eq!(refusal, "student.kind names a student that reads regions, given pixels");
    let weights = Weights::fresh(1, Device::Cpu);
    let vilt = Vilt::new(&weights.root(), ViltConfig::of(&recipe(StudentKind::Uniter).student, 40), 3)?;
    let refusal = vilt.forward(&text()?, &Golden::open("uniter")?.visual()?).unwrap_err().to_string();
    assert!(refusal.contains("reads pixels, given regions"), "{refusal}");
    Ok(())
}

/// Eight samples that nothing but their regions and texts together tell apart.
#[test]
fn each_region_student_learns_eight_samples_by_heart() -> Result<()> {
    let mut rng = crate::seeds::generator("test", 7, 0, "regions");
    let mut uniform = |count: usize| -> Vec<f32> { (0..count).map(|_| rng.random_range(0.0..1.0)).collect() };
    let ids = Tensor::from_slice(&[5_i64, 6, 5, 6, 5, 6, 5, 6]).reshape([8, 1]);
    let ends = |id: i64| Tensor::full([8, 1], id, (Kind::Int64, Device::Cpu));
    let ids = Tensor::cat(&[ends(2), ids, ends(3)], 1);
    let four = Tensor::from_slice(&uniform(4 * 3 * 12)).reshape([4, 3, 12]) * 4.0 - 2.0;
    let boxes = Tensor::from_slice(&uniform(8 * 3 * 4)).reshape([8, 3, 2, 2]).sort(2, false).0.reshape([8, 3, 4]);
    let visual = Visual::Regions {
        features: four.repeat_interleave_self_int(2, 0, None),
        boxes,
        mask: Tensor::ones([8, 3], (Kind::Int64, Device::Cpu)),
    };
    let text = Text { mask: ids.ones_like(), ids, segments: None };
    let labels = Tensor::from_slice(&[0_i64, 1, 1, 0, 2, 0, 1, 2]);
    for kind in KINDS {
        for head in [Head::Answers, Head::Class, Head::Choice] {
            let outputs = if head == Head::Choice { 1 } else { 3 };
            let (student, named) = small(kind, head, outputs)?;
            let optim = Optim { steps: 150, lr: 3e-3, warmup_steps: 10, ..Optim::default() };
            let mut adamw = AdamW::new(named, &optim)?;
            let mut last = f64::INFINITY;
            for step in 0..optim.steps {
                let embedded = student.embed(&text, &visual)?;
                let logits = student.encode(&embedded)?.logits;
                let task = |logits: &Tensor| match head {
                    Head::Answers => vqa_loss(logits, &labels.one_hot(3).to_kind(Kind::Float), 0.0),
                    Head::Class => class_loss(logits, &labels, 0.0),
                    // Of each two texts with one image, the one that comes first in the alphabet of labels.
                    Head::Choice => class_loss(&logits.view([4, 2]), &Tensor::from_slice(&[0_i64, 1, 1, 0]), 0.0),
                };
                let loss = task(&logits)?;
                last = loss.double_value(&[]);
                let loss = match recipe(kind).adversarial() {
                    Some(settings) => {
                        let alone = |logits: &Tensor| -> Result<Tensor> { Ok(logits.shallow_clone()) };
                        let clean = (&embedded, &logits);
                        let place = Place { seed: 1, step, rows_before: 0, share: 1.0 };
                        let found = press(settings, &place, student.as_ref(), clean, &task, &alone)?;
                        loss + found.through_clean
                    }
                    None => loss,
                };
                loss.f_backward()?;
                let norm = adamw.gradient_norm()?;
                adamw.step(norm)?;
            }
            assert!(last < 0.02, "{kind} {head:?}: {last}");
        }
    }
    Ok(())
}
