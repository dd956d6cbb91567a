//! Students: cross-modal encoders that are trained. One trait, one module each; to add one, read `vilt.rs`, or
//! `visualbert.rs` for one that reads regions, `clip_grid.rs` for one that reads a teacher's patch grid.
//!
//! ```text
//! ids, mask -----\                                       /--> h_cls, h_text, r_img   (what the losses see)
//!                 embed --> [text | visual] --> encode --
//! pixels, ... ---/          one sequence                 \--> logits                  (what the task sees)
//! ```

mod begun;
mod clip_grid;
#[cfg(test)]
mod pixel_tests;
mod regions;
mod tape;
#[cfg(test)]
mod tests;
mod trunk;
mod uniter;
mod vilt;
mod visualbert;
mod waves;

use std::path::Path;

use retort_nn::{Block, Checkpoint, TextTokenizer, Weights};
use tch::{Device, Kind, Tensor};

use crate::recipe::{Positions, Recipe, StudentKind};
use crate::tasks::Objective;
use crate::{Error, Result};

pub(crate) use begun::first_weights;
pub use clip_grid::{ClipGrid, ClipGridConfig};
pub use regions::{Head, mean_of_regions};
pub use tape::Tape;
pub use uniter::{Uniter, UniterConfig, p7};
pub use vilt::{Vilt, ViltConfig, resized_positions};
pub use visualbert::{VisualBert, VisualBertConfig};
pub use waves::sin_cos_grid;

/// The text side of a batch: of each image one text or several candidates, one after another.
#[derive(Debug)]
pub struct Text {
    /// Token ids, `[texts, tokens]`.
    pub ids: Tensor,
    /// 1 for a token, 0 for padding, `[texts, tokens]`.
    pub mask: Tensor,
    /// Which part of its text a token belongs to, `[texts, tokens]`: of VCR 0 the question, 1 the answer, 2 the rationale.
    /// Students that tell segments apart read it; without it every token belongs to part 0.
    pub segments: Option<Tensor>,
}

/// The visual side of a batch. Of `batch` images; `texts` is a multiple of it.
#[derive(Debug)]
pub enum Visual {
    /// `[batch, 3, side, side]`, normalised.
    Pixels(Tensor),
    /// Detected regions.
    Regions {
        /// `[batch, regions, d]`.
        features: Tensor,
        /// Left, top, right, bottom as fractions of the source image's width and height, `[batch, regions, 4]`.
        boxes: Tensor,
        /// 1 for a region, 0 for padding, `[batch, regions]`.
        mask: Tensor,
    },
    /// An image teacher's patch grid, `[batch, places, d]`, row by row from the top left.
    Grid(Tensor),
}

/// What the data set or the cache has of each image, for a student that reads no pixels.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct VisualFeatures {
    /// Elements of a vector.
    pub(crate) width: usize,
    /// Vectors of a patch grid; of regions an image has as many as there are.
    pub(crate) places: usize,
    /// The teacher whose grid it is, `name@fingerprint8`.
    pub(crate) teacher: String,
}

/// Text and image as one sequence: where adversarial training perturbs it.
#[derive(Debug)]
pub struct Embedded {
    /// `[texts, tokens, width]`.
    pub text: Tensor,
    /// `[texts, places, width]`: an image is embedded once and repeated for its candidates.
    pub visual: Tensor,
    /// 1 where there is something, `[texts, tokens + places]`.
    pub mask: Tensor,
    /// Where layers are to be computed again in the backward pass, instead of kept.
    pub tape: Option<Tape>,
    /// What attention and feed-forward parts compute in; normalisations, sums and heads stay in the kind of the embeddings.
    pub compute: Kind,
}

/// What the losses see of a student, from its last layer.
#[derive(Debug)]
pub struct Views {
    /// h_cls: the first text token, `[texts, width]`.
    pub h_cls: Tensor,
    /// h_i: all text tokens, `[texts, tokens, width]`.
    pub h_text: Tensor,
    /// r_img: the whole-image token or, without one, the mean of the visual tokens; seen with each text,
    /// `[texts, width]`.
    pub r_img: Tensor,
    /// Scores of the answers or classes, or one of the text, `[texts, outputs]`.
    pub logits: Tensor,
}

/// A cross-modal encoder with an answer head.
pub trait Student {
    /// Embeds a batch.
    ///
    /// # Errors
    /// If libtorch refuses the shapes, or the visual input is of another kind than this student reads.
    fn embed(&self, text: &Text, visual: &Visual) -> Result<Embedded>;

    /// Encodes what was embedded.
    ///
    /// # Errors
    /// If libtorch refuses the shapes.
    fn encode(&self, embedded: &Embedded) -> Result<Views>;

    /// Reads a batch.
    ///
    /// # Errors
    /// As [`Student::embed`] and [`Student::encode`].
    fn forward(&self, text: &Text, visual: &Visual) -> Result<Views> {
        self.encode(&self.embed(text, visual)?)
    }

    /// The layers that [`Student::encode`] goes through, for a [`Tape`] to go through again.
    fn layers(&self) -> &[Block];

    /// Whether a tensor of this name is the student's own and goes into its export; the rest was for training only.
    fn exports(&self, name: &str) -> bool;

    /// Writes config.json and preprocessor_config.json of the Hugging Face layout, with the answers as labels.
    ///
    /// # Errors
    /// If a file cannot be written.
    fn write_config(&self, folder: &Path, answers: &[String]) -> Result<()>;
}

/// The recipe's student with a head of so many outputs; `features` are those of images that it reads instead of pixels.
pub(crate) fn first(
    recipe: &Recipe,
    weights: &Weights,
    tokenizer: &TextTokenizer,
    objective: Objective,
    outputs: usize,
    features: Option<&VisualFeatures>,
) -> Result<Box<dyn Student>> {
    let (vocabulary, outputs) = (tokenizer.vocabulary_size() as i64, outputs as i64);
    let (size, root) = (&recipe.student, weights.root());
    let head = Head::of(objective);
    let region_width = features.map_or(0, |features| features.width) as i64;
    Ok(match size.kind {
        StudentKind::Vilt => {
            let known: Option<ViltConfig> =
                begun::config(size, vocabulary, ("student.patch_size", "patch_size", size.patch_size))?;
            let config = known.map(|known| known.resized(weights, size.image_size)).transpose()?;
            if size.positions == Positions::Waves {
                waves::begin(
                    weights,
                    "vilt",
                    (size.image_size / size.patch_size.max(1)).saturating_pow(2),
                    size.hidden,
                )?;
            }
            Box::new(Vilt::new(&root, config.unwrap_or_else(|| ViltConfig::of(size, vocabulary)), outputs)?)
        }
        StudentKind::ClipGrid => {
            let grid = features.cloned().unwrap_or_default();
            let known: Option<ClipGridConfig> =
                begun::config(size, vocabulary, ("student.from", "grid_dim", grid.width as i64))?;
            let fresh = ClipGridConfig::of(size, vocabulary, &grid);
            let (places, teacher) = (fresh.grid_places, fresh.grid_teacher.clone());
            if size.positions == Positions::Waves {
                waves::begin(weights, "grid", places, size.hidden)?;
            }
            // The grid is that of the cache, whatever the folder says: its places have to fit the positions.
            let config = known.map(|known| ClipGridConfig { grid_places: places, grid_teacher: teacher, ..known });
            Box::new(ClipGrid::new(&root, config.unwrap_or(fresh), outputs)?)
        }
        StudentKind::VisualBert => {
            let known = begun::config(size, vocabulary, ("student.from", "visual_embedding_dim", region_width))?;
            let config = known.unwrap_or_else(|| VisualBertConfig::of(size, vocabulary, region_width));
            Box::new(VisualBert::new(&root, config, head, outputs)?)
        }
        StudentKind::Uniter | StudentKind::Villa => {
            let known: Option<UniterConfig> =
                begun::config(size, vocabulary, ("student.from", "img_dim", region_width))?;
            let config = known.unwrap_or_else(|| UniterConfig::of(size, vocabulary, region_width, head));
            Box::new(Uniter::new(&root, config.grown(weights, head)?, head, outputs)?)
        }
    })
}

fn read_config(path: &Path) -> Result<serde_json::Value> {
    let malformed = |error: serde_json::Error| Error::Run { path: path.to_owned(), problem: error.to_string() };
    serde_json::from_str(&retort_cache::read_text(path)?).map_err(malformed)
}

/// The teacher whose patch grid an exported student reads, `name@fingerprint8`.
pub(crate) fn grid_teacher(folder: &Path) -> Result<Option<String>> {
    Ok(ClipGrid::teacher_of(&read_config(&folder.join("config.json"))?).map(str::to_owned))
}

/// An exported student, with the names of its outputs.
pub(crate) fn open(
    folder: &Path,
    kind: StudentKind,
    weights: &Path,
    device: Device,
) -> Result<(Box<dyn Student>, Vec<String>)> {
    let path = folder.join("config.json");
    let malformed = |error: serde_json::Error| Error::Run { path: path.clone(), problem: error.to_string() };
    let json = read_config(&path)?;
    let labels = json.get("id2label").and_then(serde_json::Value::as_object);
    let label = |id: usize| labels.and_then(|labels| labels.get(&id.to_string())?.as_str());
    let outputs: Vec<String> = (0..).map_while(label).map(str::to_owned).collect();
    let weights = Weights::frozen(Checkpoint::open_file(weights)?, device, Kind::Float);
    let (root, count) = (weights.root(), outputs.len() as i64);
    let student: Box<dyn Student> = match kind {
        StudentKind::Vilt => {
            let config = serde_json::from_value(json.clone()).map_err(malformed)?;
            Box::new(Vilt::new(&root, config, count)?)
        }
        StudentKind::ClipGrid => {
            let config = serde_json::from_value(json.clone()).map_err(malformed)?;
            Box::new(ClipGrid::new(&root, config, count)?)
        }
        StudentKind::VisualBert => {
            let config = serde_json::from_value(json.clone()).map_err(malformed)?;
            Box::new(VisualBert::new(&root, config, VisualBert::head_of(&json, &path)?, count)?)
        }
        StudentKind::Uniter | StudentKind::Villa => {
            let config = serde_json::from_value(json.clone()).map_err(malformed)?;
            Box::new(Uniter::new(&root, config, Uniter::head_of(&json, &path)?, count)?)
        }
    };
    Ok((student, outputs))
}

/// A student that reads `wanted` was given something else.
fn unread(wanted: &str, visual: &Visual) -> Error {
    let found = match visual {
        Visual::Pixels(_) => "pixels",
        Visual::Regions { .. } => "regions",
        Visual::Grid(_) => "a patch grid",
    };
    Error::Setting { key: "student.kind", problem: format!("names a student that reads {wanted}, given {found}") }
}
