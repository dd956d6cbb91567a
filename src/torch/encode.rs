//! `retort-torch encode`: vectors of the texts and images that `retort sql` is asked for.

use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Error, Result, bail};
use retort_cache::{Interrupt, Quiet};
use retort_schemas::{Dtype, features};
use retort_teachers::nn::device;
use retort_teachers::nn::pixels::{self, Rgb};
use retort_teachers::{Overrides, Teacher, hub};

use retort::cli::Encode;
use retort::encoding::{Answer, Request, serve};
use retort::failure;

use crate::failures::Torch;

pub fn run(options: &Encode) -> Result<ExitCode> {
    let mut models = Models { device: options.device.clone(), open: Vec::new() };
    let (input, output) = (BufReader::new(std::io::stdin()), std::io::stdout().lock());
    serve(input, output, |request| models.answer(request)).context("cannot go on with whoever asks")?;
    Ok(ExitCode::SUCCESS)
}

/// The models that were asked for: each is opened once.
struct Models {
    device: String,
    open: Vec<(Asked, Teacher)>,
}

/// What decides which teacher is opened: model, what is said of it, and type.
type Asked = (String, Vec<(String, String)>, Dtype);

impl Models {
    fn answer(&mut self, request: &Request) -> Answer {
        match self.encoded(request) {
            Ok((vector, note)) => Answer::Encoded { vector, note },
            Err(error) => {
                let (refused, hint) = failure::words(&error, &Torch);
                let hint = hint.or_else(|| error.downcast_ref().map(|_: &OtherModel| OtherModel::HINT.to_owned()));
                Answer::Refused { refused, hint }
            }
        }
    }

    fn encoded(&mut self, request: &Request) -> Result<(Vec<f32>, Option<String>)> {
        let teacher = self.open(request)?;
        let space = Space { teacher, request };
        match Query::of(&request.query) {
            Query::Image(image) => Ok((space.image(image)?, None)),
            Query::Text(note) => {
                let (vector, truncated) = space.text()?;
                let cut = truncated.then(|| "it is longer than the model takes, and was cut".to_owned());
                let notes: Vec<String> = note.into_iter().chain(cut).collect();
                Ok((vector, (!notes.is_empty()).then(|| notes.join("; "))))
            }
        }
    }

    /// The model of a request, which has the fingerprint of its cache.
    fn open(&mut self, request: &Request) -> Result<&Teacher> {
        let asked = (request.model.clone(), request.settings.clone(), request.compute);
        if let Some(at) = self.open.iter().position(|(kept, _)| *kept == asked) {
            is_of_cache(&self.open[at].1, request)?;
            return Ok(&self.open[at].1);
        }
        let opening = || format!("the model of teacher {}", request.teacher);
        let mut said = Overrides::default();
        for (key, value) in &request.settings {
            said.set(key, value).with_context(opening)?;
        }
        // What asks waits, and its user sees no bar; what is there already is found at once.
        let found = hub::find(&request.model, &Quiet, &Interrupt::default()).with_context(opening)?;
        let teacher = Teacher::open_with(&found.folder, device(&self.device)?, request.compute, said);
        let teacher = teacher.with_context(opening)?;
        is_of_cache(&teacher, request)?;
        self.open.push((asked, teacher));
        Ok(&self.open[self.open.len() - 1].1)
    }
}

/// A converted cache has the identity of the one that it was made from, and the fingerprint of its own store.
fn is_of_cache(teacher: &Teacher, request: &Request) -> Result<()> {
    let found = teacher.fingerprint(request.store);
    if found == request.fingerprint {
        return Ok(());
    }
    let (model, cache) = (request.model.clone(), request.teacher.clone());
    Err(Error::new(OtherModel { model, cache, expected: request.fingerprint.clone(), found }))
}

/// The model is not the one of the cache.
#[derive(Debug)]
struct OtherModel {
    model: String,
    cache: String,
    expected: String,
    found: String,
}

impl OtherModel {
    const HINT: &str = "give the model that `retort teach` was given, and the same --set; `retort cache ls` tells what a cache was made with";
}

impl std::fmt::Display for OtherModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { model, cache, expected, found } = self;
        write!(f, "{model} is not the model that {cache} was made with: expected fingerprint {expected}, found {found}")
    }
}

impl std::error::Error for OtherModel {}

/// How a query is taken.
enum Query {
    Image(Rgb),
    /// With a note where an image may have been meant.
    Text(Option<String>),
}

impl Query {
    /// An existing file that can be decoded is an image, and everything else a text.
    fn of(query: &str) -> Self {
        let path = Path::new(query);
        if path.is_file() {
            let read = std::fs::read(path).map_err(|error| error.to_string());
            return match read.and_then(|bytes| pixels::decode(&bytes).map_err(|error| error.to_string())) {
                Ok(image) => Self::Image(image),
                Err(problem) => {
                    Self::Text(Some(format!("it is a file that is no image, and was taken as a text ({problem})")))
                }
            };
        }
        let image = |extension: &str| EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str());
        let meant = path.extension().and_then(|extension| extension.to_str()).is_some_and(image);
        Self::Text(meant.then(|| "there is no file of this name, and it was taken as a text".to_owned()))
    }
}

/// What names of images end in.
const EXTENSIONS: [&str; 8] = ["png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff"];

/// The space of a table of a teacher.
struct Space<'a> {
    teacher: &'a Teacher,
    request: &'a Request,
}

impl Space<'_> {
    fn image(&self, image: Rgb) -> Result<Vec<f32>> {
        if self.teacher.image.is_none() {
            return self.lacks("image", "a text");
        }
        self.reaches("an image", features::images::NAME)?;
        Ok(self.teacher.embed_images(&[image])?)
    }

    /// The vector, and whether the text was cut.
    fn text(&self) -> Result<(Vec<f32>, bool)> {
        let Some(side) = &self.teacher.text else { return self.lacks("text", "the path of an image") };
        self.reaches("a text", features::texts::NAME)?;
        let encoded = side.tokenizer.encode(&self.request.query)?;
        let (vector, _) = self.teacher.embed_texts(&[&encoded], false)?;
        Ok((vector, encoded.truncated))
    }

    fn lacks<T>(&self, side: &str, other: &str) -> Result<T> {
        let Request { teacher, query, .. } = self.request;
        let taken = if side == "image" { "it is the path of an image" } else { "it is a text" };
        bail!("{taken}, and teacher {teacher} has no {side} encoder: {query:?} must be {other}, a vector or an id")
    }

    /// Whether what is in the space of one table can be compared with the one that is searched.
    fn reaches(&self, what: &str, own: &str) -> Result<()> {
        let Request { teacher, table, .. } = self.request;
        match table.as_str() {
            features::images::NAME | features::texts::NAME if table == own || self.teacher.is_joint() => Ok(()),
            features::images::NAME | features::texts::NAME => {
                bail!(
                    "it is {what}, and teacher {teacher} has texts and images in different spaces: {table} cannot be searched for it"
                )
            }
            _ => bail!("{table} of teacher {teacher} are neither of whole texts nor of whole images"),
        }
    }
}
