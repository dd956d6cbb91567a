//! The sections that show single samples: predictions, and token selection.

use std::borrow::Borrow;

use retort_cache::Dataset;

use crate::charts::colour;
use crate::examples::{Album, Example, choose, choose_selection, is_right};
use crate::load::{Place, Run, Selection, Word};
use crate::page::Writer;
use crate::runs::legend;
use crate::text::{escape, percent};

/// Writes both sections and returns how many samples are shown with their image.
pub(crate) fn write(
    page: &mut Writer,
    runs: &[Run],
    split: Option<&str>,
    dataset: &retort_cache::Result<Dataset>,
) -> usize {
    let examples = split.map(|split| choose(runs, split)).unwrap_or_default();
    let selections: Vec<(usize, &Run, Vec<&Selection>)> = runs
        .iter()
        .enumerate()
        .filter(|(_, run)| !run.selection.is_empty())
        .map(|(at, run)| (at, run, choose_selection(run)))
        .collect();
    let shown = selections.iter().flat_map(|(_, _, samples)| samples.iter().map(|sample| &sample.place));
    let places: Vec<&Place> = examples.iter().map(|example| example.place).chain(shown).collect();
    let album = Album::of(&mut page.gallery, dataset, places.iter().copied());

    let split = split.unwrap_or_default();
    let of_split = if split.is_empty() { String::new() } else { format!("From the split {split}. ") };
    page.section(
        "Single samples",
        &format!(
            "{of_split}As far as there are such, half of them are right by every run, so that both kinds can be seen: \
             the share of right ones here says nothing about accuracy. Beside each answer stands the probability that \
             the run gives it."
        ),
    );
    if examples.is_empty() {
        page.miss("No run has predictions for single samples yet.".to_owned());
    }
    if let Some(problem) = album.problem.clone().filter(|_| !places.is_empty()) {
        page.miss(problem);
    }
    let cards: String = examples.iter().map(|example| example_card(example, runs, &album)).collect();
    if !cards.is_empty() {
        page.html += &format!(
            "{}<div class=\"grid\">{cards}</div>",
            legend(runs, |run| run.predictions.contains_key(split), "")
        );
    }
    token_selection(page, &selections, &album);
    album.len()
}

fn picture(album: &Album, place: &Place, alt: &str) -> String {
    album.picture(place).map(|picture| picture.html(alt)).unwrap_or_default()
}

/// A sample with its image, its truth and what runs say to it.
pub(crate) fn example_card<R: Borrow<Run>>(example: &Example<'_>, runs: &[R], album: &Album) -> String {
    let truth = example
        .truth
        .map_or("no truth".to_owned(), |truth| format!("truth: <strong><bdi>{}</bdi></strong>", escape(truth)));
    let answers: String = example
        .predictions
        .iter()
        .map(|(at, prediction)| {
            let verdict = match is_right(prediction) {
                Some(true) => "right",
                Some(false) => "wrong",
                None => "unknown",
            };
            let sure = percent(f64::from(prediction.confidence));
            format!(
                "<li title=\"{}: {verdict}\"><span class=\"key {}\"></span><span class=\"answer {verdict}\"><bdi>{}</bdi></span>\
                 <span class=\"sure\">{sure}</span></li>",
                escape(&runs[*at].borrow().name),
                colour(*at),
                escape(&prediction.answer),
            )
        })
        .collect();
    format!(
        "<div class=\"example\">{}<div class=\"words\"><p class=\"text\" dir=\"auto\">{}</p>{truth}<ul class=\"answers\">{answers}</ul></div></div>",
        picture(album, example.place, example.text),
        escape(example.text),
    )
}

fn token_selection(page: &mut Writer, selections: &[(usize, &Run, Vec<&Selection>)], album: &Album) {
    page.section(
        "Token selection",
        "Which words of a training text are distilled. The stronger a word's shade, the more probable its selection; \
         underlined words were selected. Visual relevance is the word's likeness to the image, semantic relevance its likeness to \
         the whole text.",
    );
    if selections.is_empty() {
        page.miss("No run wrote down a token selection: its arm may not select tokens.".to_owned());
    }
    for (at, (run, words, samples)) in selections.iter().enumerate() {
        let open = if at == 0 { " open" } else { "" };
        let cards: String = samples.iter().map(|sample| selection_card(sample, album)).collect();
        page.html += &format!(
            "<details{open}><summary><span class=\"key {}\"></span>{}</summary><div class=\"selections\">{cards}</div></details>",
            colour(*run),
            escape(&words.name),
        );
    }
}

fn selection_card(sample: &Selection, album: &Album) -> String {
    let highest = sample.words.iter().map(|word| word.probability).fold(f32::MIN_POSITIVE, f32::max);
    let mut sentence = String::new();
    let mut rows = String::new();
    let mut written = 0;
    for word in &sample.words {
        // Offsets that do not fit the text are left out rather than believed.
        let (Some(before), Some(text)) = (sample.text.get(written..word.start), sample.text.get(word.start..word.end))
        else {
            continue;
        };
        let chosen = if word.selected { " chosen" } else { "" };
        let visual = word.visual.map_or("\u{2013}".to_owned(), |visual| format!("{visual:.2}"));
        let Word { probability, semantic, .. } = word;
        sentence += &format!(
            "{}<span class=\"word{chosen}\" style=\"--p:{:.2}\" title=\"probability {probability:.2}, visual {visual}, \
             semantic {semantic:.2}\">{}</span>",
            escape(before),
            probability / highest,
            escape(text),
        );
        rows += &format!(
            "<tr><td>{}{}</td><td>{probability:.2}</td><td>{visual}</td><td>{semantic:.2}</td></tr>",
            escape(text),
            if word.selected { " \u{2713}" } else { "" },
        );
        written = word.end;
    }
    sentence += &escape(sample.text.get(written..).unwrap_or_default());
    format!(
        "<div class=\"example\">{}<div class=\"words\"><p class=\"sentence\" dir=\"auto\">{sentence}</p><table><tr><th>word</th>\
         <th>probability</th><th>visual</th><th>semantic</th></tr>{rows}</table></div></div>",
        picture(album, &sample.place, &sample.text),
    )
}
