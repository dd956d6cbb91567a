//! Texts with their words shaded by what the teachers say of them: what token selection goes by.
//!
//! ```text
//! a_w = cos( E_joint("a photo of w"), z_v )      to the image: a joint teacher's words.prompt and images
//! b_w = cos( E_text(w), z_t )                    to the text: a text teacher's words.isolated and texts
//! ```

use std::collections::{BTreeSet, HashMap};

use arrow::array::{ListArray, StringArray};
use retort_cache::{
    Columns, Dataset, Result, TeacherCache, WordTeachers, column, names_object, vectors, word_embeddings,
};
use retort_schemas::features::{EMBEDDING, images, texts, words};
use retort_schemas::tables::texts as tables;
use retort_schemas::words::{Word, words as words_of};

use super::pictures::{Pictures, by_shard};
use super::sampled::{Sampled, Spot};
use super::vectors::cosine;
use crate::examples::spread;
use crate::page::Writer;
use crate::text::escape;

/// Samples shown.
const SHOWN: usize = 6;
/// Samples among which those with enough words are found.
const LOOKED_AT: usize = 120;
/// Bytes of a text beyond which it is none to look at.
const LONGEST: usize = 400;

/// A sample to be shown.
struct Shown {
    image: Spot,
    text: Spot,
    words: Vec<Word>,
}

/// One relevance: what it is of, the teacher, and the tables and columns that it is computed from.
struct Relevance<'a> {
    name: &'static str,
    teacher: &'a TeacherCache,
    /// Embedding of the image or the text.
    table: &'static str,
    /// Embedding of the word.
    word: &'static str,
}

/// Writes the section, and returns how many images are on it.
///
/// # Errors
/// As [`TeacherCache::read_rows`].
pub(crate) fn write(
    page: &mut Writer,
    dataset: &Dataset,
    sampled: &Sampled,
    teachers: &[TeacherCache],
) -> Result<usize> {
    page.section(
        "Words",
        "Words by their likeness to the image (\u{201c}a photo of\u{201d} the word, in the space of image and text) and to the whole \
         text: what token selection goes by. The shade runs from the least word of a text, which is underlined, to its greatest; \
         their cosines stand above, all of them below. Stop words, and words that name an object of the image, are left out.",
    );
    let Some(kinds) = relevances(page, teachers) else { return Ok(0) };
    let looked_at = looked_at(sampled, &kinds)?;
    let all = read_worded(dataset, sampled, looked_at.iter().map(|(_, text)| *text))?;
    let shown = choose(looked_at, &all);
    if shown.is_empty() {
        page.miss("No text with two words or more was found that the teachers have embedded.".to_owned());
        return Ok(0);
    }
    let scores = kinds.iter().map(|kind| scores(dataset, sampled, kind, &shown)).collect::<Result<Vec<_>>>()?;
    let pictures = Pictures::read(&mut page.gallery, dataset, sampled, shown.iter().map(|sample| sample.image))?;
    page.html += "<div class=\"selections\">";
    for (at, sample) in shown.iter().enumerate() {
        let text = all.get(&sample.text).map(|(text, _)| text.as_str()).unwrap_or_default();
        let lines = kinds.iter().zip(&scores).map(|(kind, scores)| line(kind, text, &sample.words, &scores[at]));
        let lines: String = lines.collect();
        let cosines = cosines(&kinds, text, &sample.words, &scores.iter().map(|kind| &kind[at]).collect::<Vec<_>>());
        let picture = pictures.html(sample.image, text);
        page.html += &format!("<div class=\"example\">{picture}<div class=\"words\">{lines}{cosines}</div></div>");
    }
    page.html += "</div>";
    Ok(shown.len())
}

/// The relevances that the teachers allow; says what is missing.
fn relevances<'a>(page: &mut Writer, teachers: &'a [TeacherCache]) -> Option<Vec<Relevance<'a>>> {
    let WordTeachers { visual, semantic } = WordTeachers::among(teachers);
    if visual.is_none() {
        page.miss("No teacher of images and texts has embedded words, so none is compared with the image: `retort teach --words` does.".to_owned());
    }
    if semantic.is_none() {
        page.miss(
            "No teacher of texts has embedded words, so none is compared with its text: `retort teach --words` does."
                .to_owned(),
        );
    }
    let visual = visual.map(|teacher| Relevance { name: "image", teacher, table: images::NAME, word: words::PROMPT });
    let semantic =
        semantic.map(|teacher| Relevance { name: "text", teacher, table: texts::NAME, word: words::ISOLATED });
    let all: Vec<Relevance<'_>> = visual.into_iter().chain(semantic).collect();
    (!all.is_empty()).then_some(all)
}

/// Image and text of samples in shards that every teacher has, evenly spread.
fn looked_at(sampled: &Sampled, kinds: &[Relevance<'_>]) -> Result<Vec<(Spot, Spot)>> {
    let mut is_taught = Vec::new();
    for of in &sampled.shards {
        let mut all = true;
        for kind in kinds {
            all &= kind.teacher.shard(&of.shard.name)?.is_some_and(|mine| mine.tables.contains_key(kind.table));
        }
        is_taught.push(all);
    }
    let samples: Vec<Spot> = sampled.samples().filter(|sample| is_taught[sample.shard]).collect();
    let pair = |sample: Spot| {
        let (shard, of) = (sample.shard, &sampled.shards[sample.shard]);
        Some((Spot { shard, row: of.images[sample.row] }, Spot { shard, row: of.text_of(sample.row)? }))
    };
    Ok(spread(samples, LOOKED_AT).into_iter().filter_map(pair).collect())
}

/// Samples with two words or more, of different texts.
fn choose(pairs: Vec<(Spot, Spot)>, texts: &HashMap<Spot, (String, Vec<Word>)>) -> Vec<Shown> {
    let mut seen = BTreeSet::new();
    let mut good = Vec::new();
    for (image, text) in pairs {
        let Some((told, words)) = texts.get(&text).filter(|(told, _)| told.len() <= LONGEST) else { continue };
        if words.len() >= 2 && seen.insert(told) {
            good.push(Shown { image, text, words: words.clone() });
        }
    }
    spread(good, SHOWN)
}

/// Texts with their words, without those that name an object of the image: token selection sees none of them.
fn read_worded(
    dataset: &Dataset,
    sampled: &Sampled,
    spots: impl IntoIterator<Item = Spot>,
) -> Result<HashMap<Spot, (String, Vec<Word>)>> {
    let mut all = HashMap::new();
    for (shard, rows) in by_shard(spots) {
        let of = &sampled.shards[shard].shard;
        let batch = dataset.read_rows(of, tables::NAME, Columns::Named(&[tables::TEXT, tables::OBJECTS]), &rows)?;
        let objects: &ListArray = column(&batch, tables::OBJECTS)?;
        let texts = column::<StringArray>(&batch, tables::TEXT)?.iter().flatten().enumerate();
        let worded = texts.map(|(at, text)| {
            let words = words_of(text).into_iter().filter(|word| !names_object(objects, at, word.start..word.end));
            (text.to_owned(), words.collect())
        });
        all.extend(rows.into_iter().map(|row| Spot { shard, row }).zip(worded));
    }
    Ok(all)
}

/// The cosine of each word of each sample, where the teacher has embedded it.
fn scores(
    dataset: &Dataset,
    sampled: &Sampled,
    kind: &Relevance<'_>,
    shown: &[Shown],
) -> Result<Vec<Vec<Option<f64>>>> {
    let spot = |sample: &Shown| if kind.table == images::NAME { sample.image } else { sample.text };
    let mut whole: HashMap<Spot, Vec<f32>> = HashMap::new();
    for (shard, rows) in by_shard(shown.iter().map(spot)) {
        let of = &sampled.shards[shard].shard;
        let batch = kind.teacher.read_rows(dataset, of, kind.table, Columns::Named(&[EMBEDDING]), &rows)?;
        whole.extend(rows.into_iter().map(|row| Spot { shard, row }).zip(vectors::Rows::of(&batch, EMBEDDING)?.each()));
    }
    let wanted = shown.iter().flat_map(|sample| &sample.words).map(|word| word.lower.as_str()).collect();
    let known = word_embeddings(dataset, kind.teacher, kind.word, &wanted)?;
    let score = |sample: &Shown, word: &Word| cosine(known.get(&word.lower)?, whole.get(&spot(sample))?);
    let of = |sample: &Shown| sample.words.iter().map(|word| score(sample, word)).collect();
    Ok(shown.iter().map(of).collect())
}

/// A text with its words shaded from the least of their cosines to the greatest.
fn line(kind: &Relevance<'_>, text: &str, words: &[Word], scores: &[Option<f64>]) -> String {
    let known = || scores.iter().copied().flatten();
    let (low, high) = (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
    let range = if low <= high { format!("{low:.2} to {high:.2}") } else { "not embedded".to_owned() };
    let mut html = String::new();
    let mut written = 0;
    for (word, score) in words.iter().zip(scores) {
        html += &escape(text.get(written..word.start).unwrap_or_default());
        let told = escape(text.get(word.start..word.end).unwrap_or_default());
        html += &match score {
            Some(score) => {
                // Also the least is seen to be a word: by its line.
                let share = if high > low { 0.08 + 0.92 * (score - low) / (high - low) } else { 1.0 };
                let class = if *score == low && high > low { "word least" } else { "word" };
                format!("<span class=\"{class}\" style=\"--p:{share:.2}\" title=\"cosine {score:.3}\">{told}</span>")
            }
            None => told,
        };
        written = word.end;
    }
    html += &escape(text.get(written..).unwrap_or_default());
    let by = escape(kind.teacher.folder_name());
    let name = kind.name;
    format!(
        "<p class=\"soft by\">to the {name}, {range} <code>{by}</code></p><p class=\"sentence\" dir=\"auto\">{html}</p>"
    )
}

/// The cosines that the shades stand for, a row a word, folded.
fn cosines(kinds: &[Relevance<'_>], text: &str, words: &[Word], scores: &[&Vec<Option<f64>>]) -> String {
    let heads: String = kinds.iter().map(|kind| format!("<th>to the {}</th>", kind.name)).collect();
    let row = |(at, word): (usize, &Word)| {
        let cell = |scores: &&Vec<Option<f64>>| {
            let score = scores.get(at).copied().flatten();
            format!("<td>{}</td>", score.map_or("\u{2013}".to_owned(), |score| format!("{score:.3}")))
        };
        let told = escape(text.get(word.start..word.end).unwrap_or_default());
        format!("<tr><td><bdi>{told}</bdi></td>{}</tr>", scores.iter().map(cell).collect::<String>())
    };
    let rows: String = words.iter().enumerate().map(row).collect();
    format!("<details><summary>Cosines</summary><table><tr><th>word</th>{heads}</tr>{rows}</table></details>")
}
