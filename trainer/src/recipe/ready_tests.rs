//! The recipes that come with the project, `trainer/recipes`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Recipe, StudentKind};
use crate::Result;

const KINDS: [StudentKind; 5] =
    [StudentKind::Vilt, StudentKind::VisualBert, StudentKind::Uniter, StudentKind::Villa, StudentKind::ClipGrid];

fn ready(name: &str) -> Result<Recipe> {
    Recipe::read(&folder().join(format!("{name}.toml")), &[])
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes")
}

#[test]
fn each_task_and_student_has_a_small_and_a_base_recipe_and_no_file_is_none() -> Result<()> {
    let mut known = BTreeSet::from(["easy-vqa-vilt-tiny".to_owned(), "easy-vqa-clip-grid-tiny".to_owned()]);
    for (task, data) in [("vcr", "data/vcr"), ("snli-ve", "data/snli-ve"), ("vqa", "data/vqa")] {
        for kind in KINDS {
            let names = ["small", "base"].map(|size| format!("{task}-{kind}-{size}"));
            let [small, base] = [ready(&names[0])?, ready(&names[1])?];
            for (recipe, name) in [&small, &base].into_iter().zip(&names) {
                assert_eq!((recipe.student.kind, recipe.data.dataset.as_path()), (kind, Path::new(data)), "{name}");
                assert!(recipe.teachers.image.is_some() && recipe.teachers.text.is_some(), "{name} names no teachers");
                assert!(recipe.student.text_tokens >= if task == "vcr" { 40 } else { 24 }, "{name} cuts texts");
            }
            assert_eq!((base.student.hidden, base.student.layers, base.student.heads), (768, 12, 12), "{}", names[1]);
            assert!(small.student.hidden < 768 && small.student.layers < 12, "{}", names[0]);
            known.extend(names);
        }
    }
    let files = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path());
    let found = files.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned());
    assert_eq!(found.collect::<BTreeSet<String>>(), known);
    for name in known {
        ready(&name)?;
    }
    Ok(())
}

#[test]
fn region_students_of_base_size_have_the_settings_of_their_authors() -> Result<()> {
    // Method section 9; VILLA's for the other tasks are UNITER's.
    for (task, lr, steps, warmup_steps, head_rate) in
        [("vcr", 6e-5, 8000, 800, 1.0), ("snli-ve", 8e-5, 4000, 400, 1.0), ("vqa", 8e-5, 6000, 600, 10.0)]
    {
        for student in ["uniter", "villa"] {
            let name = format!("{task}-{student}-base");
            let recipe = ready(&name)?;
            let optim = &recipe.optim;
            let found = (optim.lr, optim.steps, optim.warmup_steps, optim.head_rate);
            assert_eq!(found, (lr, steps, warmup_steps, head_rate), "{name}");
            assert_eq!((optim.betas, optim.weight_decay), ([0.9, 0.98], 0.01), "{name}");
            let pressed = recipe.adversarial().map(|settings| (settings.steps, settings.lr, settings.kl));
            assert_eq!(pressed, (student == "villa").then_some((3, 1e-2, 1.5)), "{name}");
        }
    }
    Ok(())
}
