//! Protocol files: TOML over recipes, unknown keys refused.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::part::Whole;
use retort_nn::nearest;

use crate::recipe::{Recipe, near_key, set, unknown_key};
use crate::{Error, Result};

/// What is compared with what, where, and how often.
#[derive(Debug, Clone, PartialEq)]
pub struct Protocol {
    /// The file, for messages.
    pub path: PathBuf,
    /// Its name, of which the output folder is named.
    pub name: String,
    /// What is compared, in the order of the table.
    pub arms: Vec<ArmEntry>,
    /// Where it is compared.
    pub conditions: Vec<Condition>,
    /// How often: one run of every arm in every condition for each.
    pub seeds: Vec<u64>,
    /// How many of each the file has, of which these may be a part.
    pub(super) whole: Whole,
    /// The recipe of all arms that name none of their own.
    recipe: Table,
    /// What is put over the recipe of every run.
    shared: Table,
    /// Settings of the command line, over everything.
    settings: Vec<String>,
}

/// An arm: what it is called, and the keys of recipes in which it differs.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmEntry {
    /// What the table calls it.
    pub name: String,
    /// A recipe of its own, where the protocol's does not suit it: that of another student.
    recipe: Option<Table>,
    settings: Table,
}

/// A condition: how much is trained on, how long, and what is tested.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// What the table calls it.
    pub name: String,
    /// Splits tested on, at least one.
    pub tests: Vec<String>,
    /// Another split of the same data set, which is tested on too: what a student is worth where the data are shifted.
    pub shift: Option<String>,
    settings: Table,
}

impl Condition {
    /// All splits that are tested on, each with whether it is the shifted one.
    pub fn splits(&self) -> impl Iterator<Item = (&str, bool)> {
        let tests = self.tests.iter().map(|split| (split.as_str(), false));
        tests.chain(self.shift.iter().map(|split| (split.as_str(), true)))
    }
}

const KEYS: [&str; 6] = ["name", "recipe", "settings", "arms", "conditions", "seeds"];
const CONDITION_KEYS: [&str; 5] = ["name", "shots", "steps", "test", "shift"];

impl Protocol {
    /// Reads a protocol and puts `key=value` settings over all its runs. The file of `recipe` is relative to the
    /// protocol's folder; paths within recipes are relative to the current folder, as ever.
    ///
    /// # Errors
    /// [`Error::Protocol`] if it is no protocol, with the key and the nearest known one; those of recipes.
    pub fn read(path: &Path, settings: &[String]) -> Result<Self> {
        let text = retort_cache::read_text(path)?;
        let file: Table = toml::from_str(&text).map_err(|error| fault(path, error.to_string()))?;
        refuse_unknown(path, "", &file, &KEYS)?;
        let recipe = file.get("recipe").map(|named| recipe_of(path, "recipe", named)).transpose()?;
        let shared = match file.get("settings") {
            Some(own) => table_of(path, "settings", own)?.clone(),
            None => Table::new(),
        };
        refuse_unknown(path, "settings", &shared, &[])?;
        let arms = list_of(path, &file, "arms")?;
        let arms = arms.iter().enumerate().map(|(at, arm)| ArmEntry::of(path, &format!("arms[{}]", at + 1), arm));
        let conditions = list_of(path, &file, "conditions")?.iter().enumerate();
        let conditions =
            conditions.map(|(at, condition)| Condition::of(path, &format!("conditions[{}]", at + 1), condition));
        let seeds = list_of(path, &file, "seeds")?.iter().map(|seed| {
            let number = seed.as_integer().and_then(|seed| u64::try_from(seed).ok());
            number.ok_or_else(|| fault(path, format!("seeds: expected numbers of at least 0, found {seed}")))
        });
        let name = match file.get("name") {
            Some(name) => text_of(path, "name", name)?.to_owned(),
            None => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        };
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
            return Err(fault(path, format!("name is {name:?}, which cannot be that of a folder")));
        }
        let (arms, conditions, seeds) = (
            arms.collect::<Result<Vec<_>>>()?,
            conditions.collect::<Result<Vec<_>>>()?,
            seeds.collect::<Result<Vec<_>>>()?,
        );
        let protocol = Self {
            name,
            whole: Whole { arms: arms.len(), conditions: conditions.len(), seeds: seeds.len() },
            arms,
            conditions,
            seeds,
            path: path.to_owned(),
            recipe: recipe.unwrap_or_default(),
            shared,
            settings: settings.to_vec(),
        };
        no_twins(path, "arms", protocol.arms.iter().map(|arm| arm.name.clone()))?;
        no_twins(path, "conditions", protocol.conditions.iter().map(|condition| condition.name.clone()))?;
        no_twins(path, "seeds", protocol.seeds.iter().map(u64::to_string))?;
        Ok(protocol)
    }

    /// The recipe of one run: the protocol's or the arm's own, with `[settings]` over it, the condition's settings, the arm's,
    /// the seed, and at last those of the command line.
    ///
    /// # Errors
    /// Those of recipes, with the arm and the condition.
    pub fn recipe(&self, arm: &ArmEntry, condition: &Condition, seed: u64) -> Result<Recipe> {
        let place = |problem: String| {
            fault(&self.path, format!("arm {:?} in condition {:?}: {problem}", arm.name, condition.name))
        };
        let mut table = arm.recipe.as_ref().unwrap_or(&self.recipe).clone();
        merge(&mut table, &self.shared);
        merge(&mut table, &condition.settings);
        merge(&mut table, &arm.settings);
        let number = i64::try_from(seed).map_err(|_| place(format!("the seed {seed} is too large")))?;
        table.insert("seed".to_owned(), Value::Integer(number));
        for setting in &self.settings {
            let malformed = || place(format!("--set {setting}: expected key=value"));
            let (key, value) = setting.split_once('=').ok_or_else(malformed)?;
            if key.trim() == "seed" || key.trim() == "arm" {
                return Err(place(format!("--set {setting}: the protocol decides {}", key.trim())));
            }
            set(&mut table, key.trim(), value.trim()).map_err(place)?;
        }
        let recipe = Recipe::of_table(&self.path, table).map_err(|error| match error {
            error @ (Error::UnknownKey { .. } | Error::Recipe { .. }) => error,
            other => place(other.to_string()),
        })?;
        if !["auto", "cpu", "cuda"].contains(&recipe.device.as_str()) {
            let problem = format!(
                "device is {:?}: expected auto, cpu or cuda, as runs are spread over the devices",
                recipe.device
            );
            return Err(place(problem));
        }
        Ok(recipe)
    }
}

impl ArmEntry {
    /// `"kd+ts"`, or `{ arm = "kd+ts", control = "random-words" }` with a name or without.
    fn of(path: &Path, place: &str, value: &Value) -> Result<Self> {
        let mut settings = match value {
            Value::String(arm) => Table::from_iter([("arm".to_owned(), Value::String(arm.clone()))]),
            other => table_of(path, place, other)?.clone(),
        };
        let name =
            settings.remove("name").map(|name| text_of(path, &format!("{place}.name"), &name).map(str::to_owned));
        let recipe = settings.remove("recipe").map(|named| recipe_of(path, &format!("{place}.recipe"), &named));
        refuse_unknown(path, place, &settings, &["name", "recipe"])?;
        let name = match name {
            Some(name) => name?,
            None => usual_name(&settings),
        };
        Ok(Self { name, recipe: recipe.transpose()?, settings })
    }
}

/// The arm with everything by which it differs from the plain one, as [`Recipe::label`] has it.
fn usual_name(settings: &Table) -> String {
    let word = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("").to_owned();
    let arm = word(settings.get("arm"));
    let mut name = if arm.is_empty() { "base".to_owned() } else { arm.clone() };
    let mode = word(settings.get("adapt").and_then(Value::as_table).and_then(|adapt| adapt.get("mode")));
    if arm != "mad" && !["", "none", "auto"].contains(&mode.as_str()) {
        name += &format!("+{mode}");
    }
    let control = word(settings.get("control"));
    if !["", "none"].contains(&control.as_str()) {
        name += &format!("+{control}");
    }
    name
}

impl Condition {
    fn of(path: &Path, place: &str, value: &Value) -> Result<Self> {
        let mut settings = table_of(path, place, value)?.clone();
        refuse_unknown(path, place, &settings, &CONDITION_KEYS)?;
        let key = |key: &str| format!("{place}.{key}");
        let Some(name) = settings.remove("name") else {
            return Err(fault(path, format!("{place} has no name, which the table needs")));
        };
        for (short, table, long) in [("shots", "data", "shots"), ("steps", "optim", "steps")] {
            let Some(value) = settings.remove(short) else { continue };
            let inner = settings.entry(table).or_insert_with(|| Value::Table(Table::new()));
            let inner = inner.as_table_mut().ok_or_else(|| fault(path, format!("{} is no table", key(table))))?;
            if inner.insert(long.to_owned(), value).is_some() {
                return Err(fault(path, format!("{place} has both {short} and {table}.{long}: leave one out")));
            }
        }
        let tests = match settings.remove("test") {
            None => vec!["test".to_owned()],
            Some(Value::String(split)) => vec![split],
            Some(Value::Array(splits)) if !splits.is_empty() => {
                let names = splits.iter().map(|split| text_of(path, &key("test"), split).map(str::to_owned));
                names.collect::<Result<_>>()?
            }
            Some(other) => {
                return Err(fault(path, format!("{}: expected a split or a list of them, found {other}", key("test"))));
            }
        };
        let shift = settings.remove("shift");
        let shift = shift.map(|split| text_of(path, &key("shift"), &split).map(str::to_owned)).transpose()?;
        no_twins(path, &format!("{place}: splits"), tests.iter().chain(&shift).cloned())?;
        Ok(Self { name: text_of(path, &key("name"), &name)?.to_owned(), tests, shift, settings })
    }
}

pub(super) fn fault(path: &Path, problem: String) -> Error {
    Error::Protocol { path: path.to_owned(), problem }
}

/// Refuses keys that are neither `own` nor, but at the top, keys of recipes; and those that the protocol decides.
fn refuse_unknown(path: &Path, place: &str, table: &Table, own: &[&str]) -> Result<()> {
    let top = place.is_empty();
    let unknown = if top {
        table.keys().find(|key| !own.contains(&key.as_str())).cloned()
    } else {
        let rest = table.iter().filter(|(key, _)| !own.contains(&key.as_str()));
        unknown_key(&rest.map(|(key, value)| (key.clone(), value.clone())).collect())
    };
    if let Some(key) = unknown {
        let near = nearest(&key, own.iter().copied()).or_else(|| (!top).then(|| near_key(&key)).flatten());
        let near = near.map_or(String::new(), |near| format!(": did you mean {near:?}?"));
        let place = if top { "the protocol".to_owned() } else { place.to_owned() };
        return Err(fault(path, format!("{place} has an unknown key {key:?}{near}")));
    }
    if !top && table.contains_key("seed") {
        return Err(fault(path, format!("{place}.seed: the protocol's seeds decide that, leave it out")));
    }
    Ok(())
}

/// The keys of a recipe file, which is named relative to the protocol's folder.
fn recipe_of(path: &Path, place: &str, named: &Value) -> Result<Table> {
    let recipe = path.parent().unwrap_or(Path::new("")).join(text_of(path, place, named)?);
    toml::from_str(&retort_cache::read_text(&recipe)?)
        .map_err(|error| Error::Recipe { path: recipe, problem: error.to_string() })
}

fn list_of<'a>(path: &Path, file: &'a Table, key: &str) -> Result<&'a Vec<Value>> {
    let list = file.get(key).and_then(Value::as_array).filter(|list| !list.is_empty());
    list.ok_or_else(|| fault(path, format!("{key}: expected a list of at least one")))
}

fn table_of<'a>(path: &Path, place: &str, value: &'a Value) -> Result<&'a Table> {
    value.as_table().ok_or_else(|| fault(path, format!("{place}: expected a table of settings, found {value}")))
}

fn text_of<'a>(path: &Path, place: &str, value: &'a Value) -> Result<&'a str> {
    value.as_str().ok_or_else(|| fault(path, format!("{place}: expected text, found {value}")))
}

fn no_twins(path: &Path, place: &str, names: impl Iterator<Item = String>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.clone()) {
            let problem = format!("{place}: {name:?} is there twice; rows of the table need names of their own");
            return Err(fault(path, problem));
        }
    }
    Ok(())
}

/// Puts the keys of a table over another, table by table.
fn merge(under: &mut Table, over: &Table) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => merge(under, over),
            _ => {
                under.insert(key.clone(), value.clone());
            }
        }
    }
}
