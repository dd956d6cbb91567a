//! What distillation fixed and what it broke: single samples of base beside the best distilled arm.

use std::collections::BTreeMap;

use retort_cache::Dataset;

use crate::examples::{Album, Example, is_right, spread};
use crate::load::{Place, Prediction, Run};
use crate::page::Writer;
use crate::protocol::Arm;
use crate::runs::legend;
use crate::samples::example_card;
use crate::text::{count, escape};

/// Samples shown of each kind.
const SHOWN: usize = 12;

/// Samples that base and the other arm answer differently well.
#[derive(Debug, Default)]
struct Changed<'a> {
    fixed: Vec<Example<'a>>,
    broken: Vec<Example<'a>>,
    /// Samples that both have and whose truth is known.
    compared: u64,
}

/// Writes the section and returns how many samples are shown with their image.
pub(crate) fn write(
    page: &mut Writer,
    arms: &[Arm],
    pair: Option<(usize, usize)>,
    split: Option<&str>,
    dataset: &retort_cache::Result<Dataset>,
) -> usize {
    page.section(
        "What distillation fixed, and what it broke",
        "Samples that base gets wrong and the best distilled arm right, in the mean over seeds, and the other way round. The answers \
         that are shown are of the first seed.",
    );
    let (Some((base, best)), Some(split)) = (pair, split) else {
        page.miss("There is no scored distilled arm beside a base arm, so nothing can be fixed or broken.".to_owned());
        return 0;
    };
    let Changed { fixed, broken, compared } = changed(arms, base, best, split);
    if compared == 0 {
        page.miss(format!("The arms have no scored predictions of the same samples on {split}."));
        return 0;
    }
    let names = [&arms[base].mean.name, &arms[best].mean.name];
    page.html += &format!(
        "<p>On {}, of {} samples {} fixed <strong>{}</strong> that {} gets wrong, and broke <strong>{}</strong>.</p>",
        escape(split),
        count(compared),
        escape(names[1]),
        count(fixed.len() as u64),
        escape(names[0]),
        count(broken.len() as u64),
    );
    let (fixed, broken) = (shown(fixed), shown(broken));
    let album = Album::of(&mut page.gallery, dataset, fixed.iter().chain(&broken).map(|example| example.place));
    if let Some(problem) = &album.problem {
        page.miss(problem.clone());
    }
    let two: Vec<&Run> = vec![&arms[base].mean, &arms[best].mean];
    let all: Vec<&Run> = arms.iter().map(|arm| &arm.mean).collect();
    page.html += &legend(&all, |run| two.iter().any(|shown| shown.name == run.name), "");
    for (title, examples) in [("Fixed", fixed), ("Broken", broken)] {
        let cards: String = examples.iter().map(|example| example_card(example, &all, &album)).collect();
        if !cards.is_empty() {
            page.html += &format!("<h3>{title}</h3><div class=\"grid\">{cards}</div>");
        }
    }
    album.len()
}

/// Those whose first seed shows the change, evenly spread.
fn shown(examples: Vec<Example<'_>>) -> Vec<Example<'_>> {
    let differs = |example: &Example<'_>| match example.predictions.as_slice() {
        [(_, base), (_, best)] => is_right(base) != is_right(best),
        _ => false,
    };
    spread(examples.into_iter().filter(differs).collect(), SHOWN)
}

fn changed<'a>(arms: &'a [Arm], base: usize, best: usize, split: &'a str) -> Changed<'a> {
    let (of_base, of_best) = (means(&arms[base], split), means(&arms[best], split));
    let mut changed = Changed::default();
    for (place, (before, first)) in of_base {
        let Some((after, beside)) = of_best.get(place) else { continue };
        changed.compared += 1;
        let example = Example {
            place,
            text: &first.text,
            truth: first.truth.as_deref(),
            predictions: vec![(base, first), (best, beside)],
        };
        match (before >= 0.5, *after >= 0.5) {
            (false, true) => changed.fixed.push(example),
            (true, false) => changed.broken.push(example),
            _ => {}
        }
    }
    changed
}

/// Of each sample with a truth, its mean score over seeds, and the first seed's prediction.
fn means<'a>(arm: &'a Arm, split: &'a str) -> BTreeMap<&'a Place, (f64, &'a Prediction)> {
    let mut sums: BTreeMap<&Place, (f64, f64, &Prediction)> = BTreeMap::new();
    for prediction in arm.predictions(split).flatten() {
        if let Some(score) = prediction.score {
            let sum = sums.entry(&prediction.place).or_insert((0.0, 0.0, prediction));
            *sum = (sum.0 + f64::from(score), sum.1 + 1.0, sum.2);
        }
    }
    sums.into_iter().map(|(place, (sum, seeds, first))| (place, (sum / seeds, first))).collect()
}
