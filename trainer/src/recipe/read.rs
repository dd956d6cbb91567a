//! Reading a recipe: TOML, settings over it, unknown keys refused.

use std::path::{Path, PathBuf};

use retort_nn::nearest;

use super::{
    Adapt, AdaptMode, Adversarial, Arm, Augment, Confidence, Control, Data, Distil, Export, Fit, Log, Optim, Positions,
    Recipe, Selection, Shots, Student, StudentKind, Task, Teachers, Validate, auto, block, kept_images, kept_texts,
    pool, prefetch, train,
};
use crate::{Error, Result};

impl Recipe {
    /// Reads a recipe and puts `key=value` settings over it; `data.dataset` is relative to the current folder.
    ///
    /// # Errors
    /// [`Error::Recipe`]; [`Error::UnknownKey`] with the nearest known key; [`Error::Setting`].
    pub fn read(path: &Path, settings: &[String]) -> Result<Self> {
        Self::parse(path, &retort_cache::read_text(path)?, settings)
    }

    /// As [`Self::read`], from text; `path` is for messages.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(path: &Path, text: &str, settings: &[String]) -> Result<Self> {
        let malformed = |problem: String| Error::Recipe { path: path.to_owned(), problem };
        let mut table: toml::Table = toml::from_str(text).map_err(|error| malformed(error.to_string()))?;
        for setting in settings {
            let (key, value) =
                setting.split_once('=').ok_or_else(|| malformed(format!("--set {setting}: expected key=value")))?;
            set(&mut table, key.trim(), value.trim()).map_err(malformed)?;
        }
        Self::of_table(path, table)
    }

    /// A recipe of the keys of a table; `path` is for messages.
    pub(crate) fn of_table(path: &Path, table: toml::Table) -> Result<Self> {
        let malformed = |problem: String| Error::Recipe { path: path.to_owned(), problem };
        if let Some(unknown) = unknown_key(&table) {
            return Err(Error::UnknownKey { path: path.to_owned(), near: near_key(&unknown), key: unknown });
        }
        let recipe: Self =
            toml::Value::Table(table).try_into().map_err(|error: toml::de::Error| malformed(error.to_string()))?;
        recipe.check()?;
        Ok(recipe)
    }

    /// The resolved recipe as TOML, every key present.
    ///
    /// # Errors
    /// [`Error::Recipe`], which would be a defect of this crate.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|error| Error::Recipe { path: PathBuf::from("resolved"), problem: error.to_string() })
    }

    fn check(&self) -> Result<()> {
        let refuse = |key, problem: &str| Err(Error::Setting { key, problem: problem.to_owned() });
        self.check_ranges()?;
        if self.student.image_size % self.student.patch_size.max(1) != 0 || self.student.patch_size < 1 {
            return refuse("student.patch_size", "does not divide student.image_size");
        }
        if self.student.heads < 1 || self.student.hidden % self.student.heads != 0 {
            return refuse("student.heads", "does not divide student.hidden");
        }
        if self.optim.batch == 0 || self.optim.steps == 0 {
            return refuse("optim", "needs at least one step of one sample");
        }
        for (key, value) in
            [("data.pool_samples", self.data.pool_samples), ("data.block_samples", self.data.block_samples)]
        {
            if value == 0 {
                return refuse(key, "is 0: a stream needs at least one sample in memory");
            }
        }
        let Optim { batch, accumulate, .. } = self.optim;
        if !(1..=batch).contains(&accumulate) {
            let problem = format!("is {accumulate}: expected at least 1 and at most optim.batch, which is {batch}");
            return refuse("optim.accumulate", &problem);
        }
        let adapted = self.adaptation() == AdaptMode::Aft;
        if (self.arm.vision() || adapted) && self.teachers.image.is_none() {
            return refuse("teachers.image", "is needed by this arm: name a teacher of the data set, such as \"clip\"");
        }
        if (self.arm.text() || adapted) && self.teachers.text.is_none() {
            return refuse("teachers.text", "is needed by this arm: name a teacher of the data set, such as \"text\"");
        }
        let explode = self.optim.explode;
        if explode != 0.0 && !(explode > 1.0 && explode.is_finite()) {
            return refuse("optim.explode", &format!("is {explode}: expected more than 1, or 0 for no limit"));
        }
        let Validate { share, export, .. } = self.validate;
        if share == 0.0 && export == Export::Best {
            return refuse(
                "validate.export",
                "is best, and nothing is held out to tell: set validate.share, such as 0.1",
            );
        }
        self.check_regions()?;
        self.check_visual()?;
        self.check_augment()?;
        self.check_adversarial()?;
        self.check_adaptation()
    }

    fn check_regions(&self) -> Result<()> {
        let refuse = |key, problem: &str| Err(Error::Setting { key, problem: problem.to_owned() });
        if self.student.regions == 0 {
            return refuse("student.regions", "is 0: a student needs at least one region of an image");
        }
        Ok(())
    }

    fn check_visual(&self) -> Result<()> {
        let refuse = |key, problem: &str| Err(Error::Setting { key, problem: problem.to_owned() });
        if !self.student.kind.reads_pixels() && self.student.fit != Fit::Crop {
            return refuse("student.fit", "is about pixels, and this student reads none: leave it out");
        }
        let grid =
            matches!(self.student.kind, StudentKind::Vilt | StudentKind::ClipGrid) && self.student.from.is_none();
        if !grid && self.student.positions != Positions::Random {
            let problem =
                "is about a grid of patches that starts from scratch: leave it out for regions, and with student.from";
            return refuse("student.positions", problem);
        }
        if self.student.image_size < self.student.patch_size {
            return refuse("student.image_size", "is less than student.patch_size: an image needs at least one patch");
        }
        if self.student.kind != StudentKind::ClipGrid {
            return Ok(());
        }
        if self.teachers.image.is_none() {
            let problem = "is needed by the student clip-grid, which reads its patch grid: name an image teacher that \
                           `retort teach --patches` has put in the cache, such as \"clip\"";
            return refuse("teachers.image", problem);
        }
        Ok(())
    }

    fn check_adversarial(&self) -> Result<()> {
        let Some(settings) = self.adversarial() else { return Ok(()) };
        let refuse = |key, problem: &str| Err(Error::Setting { key, problem: problem.to_owned() });
        if settings.steps == 0 {
            return refuse("adversarial.steps", "is 0: leave adversarial.enabled out, and train uniter, not villa");
        }
        Ok(())
    }
}

/// Puts a dotted key into a table; the value is TOML, or else a string.
pub(crate) fn set(table: &mut toml::Table, key: &str, value: &str) -> Result<(), String> {
    let parsed: toml::Value = match toml::from_str::<toml::Table>(&format!("value = {value}")) {
        Ok(mut table) => table.remove("value").unwrap_or_else(|| toml::Value::String(value.to_owned())),
        Err(_) => toml::Value::String(value.to_owned()),
    };
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), parsed);
            Ok(())
        }
        Some((head, rest)) => {
            let inner = table.entry(head.to_owned()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            match inner {
                toml::Value::Table(inner) => set(inner, rest, value),
                _ => Err(format!("--set {key}: {head} is no table")),
            }
        }
    }
}

/// Every key that a recipe may have, with its table: those of a recipe in which everything is present.
pub(super) fn known_keys() -> Vec<String> {
    let full = Recipe {
        arm: Arm::Base,
        control: Control::None,
        seed: 1,
        device: auto(),
        data: Data {
            dataset: PathBuf::new(),
            split: train(),
            shots: Shots::All,
            pool_samples: pool(),
            block_samples: block(),
            prefetch_batches: prefetch(),
            kept_images_bytes: kept_images(),
            kept_texts_bytes: kept_texts(),
        },
        student: Student { tokenizer: Some(PathBuf::new()), from: Some(PathBuf::new()), ..Student::default() },
        task: Task::default(),
        teachers: Teachers { image: Some(String::new()), text: Some(String::new()) },
        distil: Distil::default(),
        selection: Selection::default(),
        confidence: Confidence::default(),
        adapt: Adapt::default(),
        optim: Optim::default(),
        augment: Augment { crop_scale: Some([1.0; 2]), ..Augment::default() },
        log: Log::default(),
        adversarial: Adversarial::default(),
        validate: Validate::default(),
    };
    let mut keys = Vec::new();
    if let Ok(toml::Value::Table(table)) = toml::Value::try_from(full) {
        for (key, value) in table {
            if let toml::Value::Table(inner) = &value {
                keys.extend(inner.keys().map(|inner| format!("{key}.{inner}")));
            }
            keys.push(key);
        }
    }
    keys
}

/// The first key of a table, dotted, that no recipe has.
pub(crate) fn unknown_key(table: &toml::Table) -> Option<String> {
    let known = known_keys();
    let mut found = table.iter().flat_map(|(key, value)| match value {
        toml::Value::Table(inner) if known.contains(key) => {
            inner.keys().map(|inner| format!("{key}.{inner}")).collect::<Vec<_>>()
        }
        _ => vec![key.clone()],
    });
    found.find(|key| !known.contains(key))
}

/// The key of recipes that is nearest to an unknown one.
pub(crate) fn near_key(key: &str) -> Option<String> {
    nearest(key, known_keys().iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, settings: &[&str]) -> Result<Recipe> {
        let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        Recipe::parse(Path::new("recipe.toml"), text, &settings)
    }

    #[test]
    fn the_resolved_recipe_reads_back_as_itself() -> Result<()> {
        let text =
            "arm = \"kd\"\n[data]\ndataset = \"d\"\nshots = \"5%\"\n[teachers]\nimage = \"clip\"\ntext = \"text\"";
        let recipe = parse(text, &["optim.lr=0.5", "seed=7", "student.tokenizer=t.json"])?;
        assert_eq!((recipe.optim.lr, recipe.seed, recipe.data.shots), (0.5, 7, Shots::Share(0.05)));
        assert_eq!(parse(&recipe.to_toml()?, &[])?, recipe);
        Ok(())
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest() {
        for (text, settings, near) in [
            ("[data]\ndataset = \"d\"\n[optim]\nstesp = 3", vec![], "optim.steps"),
            ("[data]\ndataset = \"d\"\n[optin]\nsteps = 3", vec![], "optim"),
            ("[data]\ndataset = \"d\"", vec!["distil.kd_ration=1"], "distil.kd_ratio"),
            ("[data]\ndataset = \"d\"\npool_shards = 8", vec![], "data.pool_samples"),
        ] {
            let refusal = parse(text, &settings).unwrap_err().to_string();
            assert!(refusal.contains(&format!("did you mean {near:?}")), "{refusal}");
        }
    }

    #[test]
    fn settings_that_do_not_suit_a_student_are_refused_by_key() {
        let regions = ["student.kind=uniter"];
        for (settings, key, word) in [
            (vec!["student.kind=uniter", "augment.flip=true"], "augment ", "reads regions"),
            (vec!["student.kind=uniter", "student.regions=0"], "student.regions ", "at least one"),
            (vec!["data.pool_samples=0"], "data.pool_samples ", "at least one"),
            (vec!["data.block_samples=0"], "data.block_samples ", "at least one"),
            (vec!["optim.accumulate=0"], "optim.accumulate ", "at least 1"),
            (vec!["optim.accumulate=9", "optim.batch=8"], "optim.accumulate ", "which is 8"),
            (vec!["task.label_smoothing=1.0"], "task.label_smoothing ", "is 1"),
            (vec!["task.label_smoothing=nan"], "task.label_smoothing ", "NaN"),
            (vec!["student.image_size=0"], "student.image_size ", "at least one patch"),
            (vec!["student.kind=uniter", "student.fit=squash"], "student.fit ", "reads none"),
            (vec!["student.kind=uniter", "student.positions=waves"], "student.positions ", "grid of patches"),
            (vec!["student.from=folder", "student.positions=waves"], "student.positions ", "from scratch"),
            (vec!["student.kind=clip-grid"], "teachers.image ", "--patches"),
            (vec!["student.kind=clip-grid", "teachers.image=c", "augment.flip=true"], "augment ", "patch grid"),
            (vec!["student.kind=villa", "adversarial.steps=0"], "adversarial.steps ", "uniter"),
            (vec!["student.kind=villa", "adversarial.kl=-1"], "adversarial.kl ", "-1"),
            (vec!["adversarial.enabled=true", "adversarial.lr=nan"], "adversarial.lr ", "NaN"),
            (vec!["optim.explode=1.0"], "optim.explode ", "more than 1"),
            (vec!["optim.explode=inf"], "optim.explode ", "more than 1"),
            (vec!["validate.share=1.0"], "validate.share ", "less than 1"),
            (vec!["validate.share=nan"], "validate.share ", "NaN"),
            (vec!["validate.export=best"], "validate.export ", "nothing is held out"),
        ] {
            let refusal = parse("[data]\ndataset = \"d\"", &settings).unwrap_err().to_string();
            assert!(refusal.starts_with(key) && refusal.contains(word), "{refusal}");
        }
        let uniter = parse("[data]\ndataset = \"d\"", &regions).unwrap();
        assert!(uniter.adversarial().is_none());
        assert!(parse("[data]\ndataset = \"d\"", &["student.kind=villa"]).unwrap().adversarial().is_some());
    }

    #[test]
    fn an_arm_names_the_teachers_that_it_needs() {
        let refusal = parse("arm = \"kd\"\n[data]\ndataset = \"d\"", &[]).unwrap_err().to_string();
        assert!(refusal.contains("teachers.image is needed"), "{refusal}");
    }
}
