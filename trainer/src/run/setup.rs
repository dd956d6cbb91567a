//! What a run needs before its first step: its folder, its samples, their sources, its tokenizer, the words.

use std::collections::BTreeSet;
use std::path::Path;

use retort_cache::{Dataset, TeacherCache, read_text, write_atomic};
use retort_nn::TextTokenizer;
use retort_schemas::features;
use retort_schemas::manifest::{Shard, Split};
use retort_schemas::runs::files;

use crate::controls::RandomTeacher;
use crate::prepare::{Preparer, WordFeatures};
use crate::recipe::{AdaptMode, Recipe, StudentKind, Target};
use crate::sampling::{Candidate, draw, held_out};
use crate::stream::{Part, Plan};
use crate::tasks::Objective;
use crate::zipped::{SampleRow, Sources, samples};
use crate::{Error, Result, record, vocabulary};

/// Makes the run folder this recipe's, or sees that it is.
pub(super) fn claim(run: &Path, recipe: &Recipe) -> Result<()> {
    let path = run.join(files::RECIPE);
    let resolved = recipe.to_toml()?;
    if !path.is_file() {
        return Ok(write_atomic(&path, resolved.as_bytes())?);
    }
    let begun = read_text(&path)?;
    if begun == resolved {
        return Ok(());
    }
    let differ = begun.lines().zip(resolved.lines()).find(|(old, new)| old != new);
    let how = differ.map_or(String::new(), |(old, new)| format!(" ({old:?}, now {new:?})"));
    Err(Error::Run { path: run.to_owned(), problem: format!("was begun with another recipe{how}") })
}

/// Sees that the folder that a student starts from is there.
pub(super) fn begins_somewhere(recipe: &Recipe) -> Result<()> {
    let Some(from) = recipe.student.from.as_ref().filter(|from| !from.is_dir()) else { return Ok(()) };
    let problem = format!(
        "is {}, and there is no such folder: put the pretrained student there, or take the key out of the recipe to start \
         from scratch",
        from.display()
    );
    Err(Error::Setting { key: "student.from", problem })
}

/// The stream of the chosen samples.
pub(super) struct RunPlan {
    pub(super) stream: Plan,
    /// Images trained on.
    pub(super) groups: u64,
    /// What is held out of it for validation, and of how many images.
    pub(super) held_out: Vec<Part>,
    pub(super) held_out_groups: u64,
    pub(super) objective: Objective,
}

pub(super) fn plan(recipe: &Recipe, dataset: &Dataset, split: &Split) -> Result<RunPlan> {
    let mut all = Vec::new();
    for shard in dataset.split_shards(&split.name)? {
        let shard = shard?;
        let samples = samples(dataset, &shard)?;
        all.push((shard, samples));
    }
    let unusable = |problem: String| Error::Data { path: dataset.folder().to_owned(), problem };
    let objective = Objective::of_all(all.iter().flat_map(|(_, samples)| samples)).map_err(unusable)?;
    let candidates: Vec<Candidate> = all
        .iter()
        .flat_map(|(_, samples)| samples.iter().map(|s| Candidate { group: s.group, label: s.label }))
        .collect();
    let groups: BTreeSet<[u8; 16]> = candidates.iter().map(|candidate| candidate.group).collect();
    let (count, share) = (recipe.data.shots.of(groups.len()), recipe.validate.share);
    let drawn = if count == groups.len() && share == 0.0 {
        // All of them, and their order, which takes long with many images and labels, decides nothing.
        groups.iter().copied().collect()
    } else {
        draw(&candidates, count, recipe.seed)
    };
    let apart = held_out(&drawn, share);
    if share > 0.0 && apart.is_empty() {
        let problem = format!("is {share}, which of {} images is none: hold out more, or set it to 0", drawn.len());
        return Err(Error::Setting { key: "validate.share", problem });
    }
    let (held_out_groups, groups) = (apart.len() as u64, (drawn.len() - apart.len()) as u64);
    let drawn: BTreeSet<[u8; 16]> = drawn.into_iter().collect();
    let parts_of = |wanted: &dyn Fn(&[u8; 16]) -> bool| -> Vec<Part> {
        let of_shard = |(shard, samples): &(Shard, Vec<SampleRow>)| {
            let rows = (0..samples.len()).filter(|row| wanted(&samples[*row].group)).collect();
            Part { shard: shard.clone(), rows }
        };
        all.iter().map(of_shard).filter(|part| !part.rows.is_empty()).collect()
    };
    let held_out = parts_of(&|group| apart.contains(group));
    let parts = parts_of(&|group| drawn.contains(group) && !apart.contains(group));
    let Some(objective) = objective.filter(|_| !parts.is_empty()) else {
        return Err(unusable(format!("split {} has no samples", split.name)));
    };
    let stream = Plan {
        parts,
        seed: recipe.seed,
        batch: recipe.optim.batch,
        pool_samples: recipe.data.pool_samples,
        block_samples: recipe.data.block_samples,
    };
    Ok(RunPlan { stream, groups, held_out, held_out_groups, objective })
}

pub(super) fn sources(recipe: &Recipe, dataset: &Dataset) -> Result<Sources> {
    let open = |wanted: bool, name: &Option<String>| -> Result<Option<TeacherCache>> {
        let name = name.as_ref().filter(|_| wanted);
        Ok(name.map(|name| TeacherCache::open(dataset, name)).transpose()?)
    };
    Ok(Sources {
        image_teacher: open(recipe.arm.vision() || recipe.arm.tokens(), &recipe.teachers.image)?,
        text_teacher: open(recipe.arm.text(), &recipe.teachers.text)?,
        with_tokens: recipe.arm.tokens() && recipe.selection.target == Target::Token,
        with_pixels: recipe.student.kind.reads_pixels(),
        with_regions: recipe.student.kind.reads_regions(),
        random: RandomTeacher::of(recipe),
        grid_teacher: open(recipe.student.kind == StudentKind::ClipGrid, &recipe.teachers.image)?,
        dataset: dataset.clone(),
    })
}

/// The recipe's tokenizer, or the one that this run made of its texts.
pub(super) fn tokenizer(recipe: &Recipe, run: &Path, sources: &Sources, plan: &RunPlan) -> Result<TextTokenizer> {
    let longest = recipe.student.text_tokens;
    let own = run.join(files::STUDENT).join(record::TOKENIZER);
    if own.is_file() {
        return Ok(TextTokenizer::open(&own, longest)?);
    }
    // Weights that are begun with know the ids of their own tokenizer alone.
    let made = match (&recipe.student.tokenizer, &recipe.student.from) {
        (Some(path), _) => TextTokenizer::open(path, longest)?,
        (None, Some(folder)) => vocabulary::of_folder(folder, longest)?,
        (None, None) => {
            let texts_alone = Sources { image_teacher: None, text_teacher: None, ..sources.without_pictures() };
            let mut texts: BTreeSet<String> = BTreeSet::new();
            for part in &plan.stream.parts {
                let zipped = texts_alone.load(&part.shard)?;
                let rows = part.rows.iter().flat_map(|row| &zipped.samples[*row].texts);
                texts.extend(rows.map(|row| zipped.texts.value(*row).to_owned()));
            }
            vocabulary::from_texts(texts.iter().map(String::as_str), longest)?
        }
    };
    write_atomic(&own, made.to_json()?.as_bytes())?;
    Ok(made)
}

/// What to say of token selection where no teacher sees images and words in one space: method section 4 then has an
/// alpha of 0.
pub(super) fn said_of_selection(recipe: &Recipe, dataset: &Dataset) -> Result<Option<String>> {
    let selects = recipe.arm.tokens() || recipe.adaptation() == AdaptMode::Aft;
    let Some(name) = recipe.teachers.image.as_ref().filter(|_| selects && recipe.selection.alpha > 0.0) else {
        return Ok(None);
    };
    let teacher = TeacherCache::open(dataset, name)?;
    Ok((!teacher.manifest().joint).then(|| {
        format!(
            "words are selected by the text alone, as if selection.alpha were 0: teacher {} reads no texts into the space of \
             its images",
            teacher.folder_name()
        )
    }))
}

pub(super) fn prepare_words(recipe: &Recipe, sources: &Sources, preparer: &mut Preparer) -> Result<()> {
    if !recipe.arm.tokens() {
        return Ok(());
    }
    if let Some(text) = &sources.text_teacher {
        preparer.semantic_words = Some(WordFeatures::read(sources, text, features::words::ISOLATED)?);
    }
    if let Some(joint) = sources.image_teacher.as_ref().filter(|teacher| teacher.manifest().joint) {
        preparer.visual_words = Some(WordFeatures::read(sources, joint, features::words::PROMPT)?);
    }
    Ok(())
}
