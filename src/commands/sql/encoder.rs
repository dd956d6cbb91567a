//! Texts and images of `nearest` as vectors, by a `retort-torch encode` that is started when it is first needed.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};
use retort_cache::TeacherCache;
use retort_schemas::Dtype;
use retort_sql::{Error, QueryEncoder};
use serde::Deserialize;

use super::child::Child;
use crate::cli::{NamedTeacher, TeacherSetting};
use crate::encoding::{Answer, Request};

/// Knows where models are, and has them at work while it lives.
#[derive(Debug)]
pub(super) struct Encoder {
    models: BTreeMap<String, Model>,
    child: Mutex<Option<Child>>,
}

/// Where a model is, and what is said over what its folder says.
#[derive(Debug, Clone)]
struct Model {
    /// A folder, or an id of the hub.
    place: String,
    settings: Vec<(String, String)>,
}

impl Encoder {
    /// # Errors
    /// If a teacher is named twice, or something is said of one that is not named.
    pub(super) fn of(teachers: &[NamedTeacher], settings: &[TeacherSetting]) -> Result<Self> {
        let mut models: BTreeMap<String, Model> = BTreeMap::new();
        for NamedTeacher { name, model } in teachers {
            let new = Model { place: model.clone(), settings: Vec::new() };
            if let Some(other) = models.insert(name.clone(), new) {
                bail!("--teacher {name} is given twice, with {} and {}", other.place, model);
            }
        }
        for TeacherSetting { teacher, key, value } in settings {
            let Some(model) = models.get_mut(teacher) else {
                let names = models.into_keys().collect::<Vec<_>>().join(", ");
                bail!("--set {teacher}.{key}: no --teacher has that name: expected one of {names}");
            };
            model.settings.push((key.clone(), value.clone()));
        }
        Ok(Self { models, child: Mutex::new(None) })
    }

    fn request(&self, teacher: &TeacherCache, table: &str, query: &str) -> Result<Request, Problem> {
        let manifest = teacher.manifest();
        let Some(model) = self.models.get(&manifest.name) else {
            return Err(Problem::new(
                format!("that takes the model of its teacher; give --teacher {}=MODEL", manifest.name),
                Some("MODEL is the one that `retort teach` was given; a vector or an id takes none".to_owned()),
            ));
        };
        let compute = Dtype::deserialize(&manifest.identity["compute"]);
        let compute = compute.map_err(|error| {
            Problem::new(format!("the manifest of {} has no type to compute in: {error}", teacher.folder_name()), None)
        })?;
        Ok(Request {
            teacher: teacher.folder_name().to_owned(),
            model: model.place.clone(),
            // As it was taught, unless something else is said.
            settings: if model.settings.is_empty() {
                manifest.settings.clone().into_iter().collect()
            } else {
                model.settings.clone()
            },
            compute,
            store: manifest.store,
            fingerprint: manifest.fingerprint.clone(),
            table: table.to_owned(),
            query: query.to_owned(),
        })
    }

    /// Asks the child that is there, or a new one where that has ended, as by Ctrl-C. One that fails is let go of.
    fn ask(&self, request: &Request) -> Result<Answer, Problem> {
        // Whoever panicked has let go of the child.
        let mut kept = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = match kept.take().and_then(|mut child| child.is_alive().then_some(child)) {
            Some(child) => child,
            None => Child::start()?,
        };
        let answer = child.ask(request)?;
        *kept = Some(child);
        Ok(answer)
    }

    fn vector(&self, teacher: &TeacherCache, table: &str, query: &str) -> Result<Vec<f32>, Problem> {
        match self.ask(&self.request(teacher, table, query)?)? {
            Answer::Encoded { vector, note } => {
                if let Some(note) = note {
                    tell(&format!("note: {query:?}: {note}"));
                }
                Ok(vector)
            }
            Answer::Refused { refused, hint } => Err(Problem::new(refused, hint)),
        }
    }
}

impl QueryEncoder for Encoder {
    fn encode(
        &self,
        teacher: &TeacherCache,
        table: &str,
        query: &str,
    ) -> Result<Vec<f32>, Box<dyn StdError + Send + Sync>> {
        self.vector(teacher, table, query).map_err(|problem| match problem {
            Problem::Fault { words, hint } => {
                Error::NotEncoded { query: query.to_owned(), problem: words, hint }.into()
            }
            Problem::Interrupted => Error::Interrupted.into(),
        })
    }
}

/// Why there is no vector, and what to do next.
#[derive(Debug)]
pub(super) enum Problem {
    Fault {
        words: String,
        hint: Option<String>,
    },
    /// Ctrl-C, which the terminal sends to what encodes as well.
    Interrupted,
}

impl Problem {
    pub(super) const fn new(words: String, hint: Option<String>) -> Self {
        Self::Fault { words, hint }
    }
}

/// Every `--teacher` is one of the folder's.
///
/// # Errors
/// [`retort_cache::Error::NoTeacher`] with the names there are.
pub(super) fn check(teachers: &[NamedTeacher], folder: &Path, known: &BTreeSet<String>) -> Result<()> {
    match teachers.iter().find(|teacher| !known.contains(&teacher.name)) {
        None => Ok(()),
        Some(NamedTeacher { name, .. }) => {
            let known =
                if known.is_empty() { "none".to_owned() } else { known.iter().cloned().collect::<Vec<_>>().join(", ") };
            Err(retort_cache::Error::NoTeacher { path: folder.to_owned(), name: name.clone(), known }.into())
        }
    }
}

/// To stderr.
#[expect(clippy::print_stderr, reason = "what is no answer is no data")]
fn tell(line: &str) {
    eprintln!("{line}");
}
