//! The page over training runs, section by section: what they are, how well they answer, how they learnt.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use retort_cache::Dataset;
use retort_schemas::runs::Score;

use crate::charts::{Curve, accuracy_bars, colour, curves};
use crate::load::{Run, last_name};
use crate::page::{Page, Writer};
use crate::text::{count, counted, escape, percent};
use crate::{confusion, joint, samples, types, weights};

/// The page over some runs, with images of their data set where it could be opened.
pub(crate) fn build(runs: &[Run], dataset: retort_cache::Result<Dataset>) -> Page {
    let mut page = Writer::default();
    let title = title(runs);
    head(&mut page, runs, &title);
    page.contents();
    accuracy(&mut page, runs);
    joint::write(&mut page, runs);
    types::write(&mut page, runs);
    learning(&mut page, runs, "What each run logged, faint, under its running mean.");
    confusion::of_runs(&mut page, runs, main_split(runs).as_deref());
    weights::write(&mut page, runs);
    let images = samples::write(&mut page, runs, main_split(runs).as_deref(), &dataset);
    page.finish(&title, images)
}

fn title(runs: &[Run]) -> String {
    let data = distinct(runs, |run| last_name(run.info.dataset.as_ref()));
    match runs {
        [run] => format!("{} on {}", run.name, data.join(", ")),
        _ => format!("{} runs on {}", runs.len(), data.join(", ")),
    }
}

/// The distinct values of something, in order of first appearance.
fn distinct(runs: &[Run], value: impl Fn(&Run) -> String) -> Vec<String> {
    let mut seen = BTreeSet::new();
    runs.iter().map(value).filter(|value| seen.insert(value.clone())).collect()
}

fn head(page: &mut Writer, runs: &[Run], title: &str) {
    let students = distinct(runs, |run| run.info.student.clone()).join(", ");
    let one = |value: fn(&Run) -> u64| distinct(runs, |run| value(run).to_string()).len() == 1;
    let mut lead =
        format!("{} ({students})", counted(runs.len() as u64, "student was trained", "students were trained"));
    let first = &runs[0].info;
    if one(|run| run.info.images) && one(|run| run.info.samples) {
        let images = counted(first.images, "image", "images");
        lead += &format!(" on {images} with {}", counted(first.samples, "sample", "samples"));
    }
    if one(|run| run.info.steps) && one(|run| run.info.batch) {
        lead += &format!(
            ", for {} of {}",
            counted(first.steps, "step", "steps"),
            counted(first.batch, "sample", "samples")
        );
    }
    page.html += &format!("<h1>{}</h1><p class=\"lead\">{}.</p>", escape(title), escape(&lead));
    let rows: String = runs.iter().enumerate().map(|(at, run)| run_row(at, run)).collect();
    page.html += &format!(
        "<div class=\"card scroll\"><table><tr><th>run</th><th class=\"left\">arm</th><th class=\"left\">student</th>\
         <th>parameters</th><th class=\"left\">split</th><th>images</th><th>samples</th><th>steps</th><th>batch</th>\
         <th>seed</th><th class=\"left\">state</th></tr>{rows}</table></div>"
    );
    for run in runs.iter().filter(|run| !run.info.complete) {
        let steps = count(run.info.steps);
        page.miss(match last_step(run) {
            Some(step) => format!("{} is not finished: it stands at step {} of {steps}.", run.name, count(step)),
            None => format!("{} is not finished: none of its {steps} steps is logged yet.", run.name),
        });
    }
}

fn last_step(run: &Run) -> Option<u64> {
    let steps = run.metrics.values().filter_map(|points| points.last()).map(|point| point.0);
    steps.reduce(f64::max).map(|step| step as u64)
}

/// A cell with the colour and name of a run.
pub(crate) fn name_cell(at: usize, name: &str) -> String {
    format!("<td><span class=\"key {}\"></span>{}</td>", colour(at), escape(name))
}

fn run_row(at: usize, run: &Run) -> String {
    let info = &run.info;
    let words = |words: &str| format!("<td class=\"left\">{}</td>", escape(words));
    let number = |number: u64| format!("<td>{}</td>", count(number));
    [
        "<tr>".to_owned(),
        name_cell(at, &run.name),
        words(&info.arm),
        words(&info.student),
        number(info.parameters),
        words(&info.split),
        number(info.images),
        number(info.samples),
        number(info.steps),
        number(info.batch),
        format!("<td>{}</td>", info.seed),
        words(if info.complete { "complete" } else { "not finished" }),
        "</tr>".to_owned(),
    ]
    .concat()
}

/// The split that most runs were scored on; `test` where there are several such.
pub(crate) fn main_split(runs: &[Run]) -> Option<String> {
    let mut splits: BTreeMap<&String, usize> = BTreeMap::new();
    for split in runs.iter().flat_map(|run| run.evaluations.keys().chain(run.predictions.keys())) {
        *splits.entry(split).or_default() += 1;
    }
    let best = splits.into_iter().rev().max_by_key(|(split, runs)| (*runs, split.as_str() == "test"));
    best.map(|(split, _)| split.clone())
}

fn accuracy(page: &mut Writer, runs: &[Run]) {
    page.section(
        "Accuracy",
        "Each run beside two guessers who never see an image: one always says the commonest answer of the training \
         data, the other says the commonest training answer to the same question. What a student has above the second \
         line, it has from looking.",
    );
    let splits: BTreeSet<&String> = runs.iter().flat_map(|run| run.evaluations.keys()).collect();
    if splits.is_empty() {
        page.miss("No run has been scored on a split yet, so there is no accuracy to show.".to_owned());
        return;
    }
    for split in splits {
        let scores: Vec<(usize, &str, &Score)> = runs
            .iter()
            .enumerate()
            .filter_map(|(at, run)| Some((at, run.name.as_str(), &run.evaluations.get(split)?.overall)))
            .collect();
        let metric = runs.iter().find_map(|run| Some(&run.evaluations.get(split)?.metric));
        let metric = metric.map(String::as_str).unwrap_or_default();
        let samples = scores.first().map_or(0, |(_, _, score)| score.samples);
        page.html += &format!(
            "<div class=\"card\"><h3>Split {}: {} <code>{}</code></h3>{}</div>{}",
            escape(split),
            counted(samples, "sample", "samples"),
            escape(metric),
            accuracy_bars(&scores),
            accuracy_table(&scores),
        );
        let unscored: Vec<&Run> = runs.iter().filter(|run| !run.evaluations.contains_key(split)).collect();
        page.miss_runs(&unscored, &format!("no scores on the split {split}"));
    }
    page.html += "<p class=\"soft\">The 95\u{202f}% interval is Wilson's, for the choice of these samples; it does not \
                  tell how much another seed would change.</p>";
}

fn accuracy_table(scores: &[(usize, &str, &Score)]) -> String {
    let row = |(at, name, score): &(usize, &str, &Score)| {
        let (low, high) = interval(score.accuracy, score.samples);
        let gain = (score.accuracy - score.question_only) * 100.0;
        format!(
            "<tr>{}<td><strong>{}</strong></td><td>{:.1} to {:.1}</td><td>{gain:+.1}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            name_cell(*at, name),
            percent(score.accuracy),
            low * 100.0,
            high * 100.0,
            percent(score.question_only),
            percent(score.majority),
            count(score.samples),
        )
    };
    let rows: String = scores.iter().map(row).collect();
    format!(
        "<div class=\"card scroll\"><table><tr><th>run</th><th>accuracy</th><th>95\u{202f}% interval</th>\
         <th>above question alone</th><th>question alone</th><th>commonest answer</th><th>samples</th></tr>{rows}</table></div>"
    )
}

/// Wilson's 95 % interval of a share.
fn interval(share: f64, samples: u64) -> (f64, f64) {
    const Z: f64 = 1.96;
    let n = samples.max(1) as f64;
    let centre = share + Z * Z / (2.0 * n);
    let reach = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).max(0.0).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((centre - reach) / scale).max(0.0), ((centre + reach) / scale).min(1.0))
}

/// Colours and names of the runs that something is shown of.
pub(crate) fn legend<R: Borrow<Run>>(runs: &[R], shown: impl Fn(&Run) -> bool, more: &str) -> String {
    let item =
        |(at, run): (usize, &Run)| format!("<li><span class=\"key {}\"></span>{}</li>", colour(at), escape(&run.name));
    let all = runs.iter().map(Borrow::borrow).enumerate();
    let items: String = all.filter(|(_, run)| shown(run)).map(item).collect();
    format!("<ul class=\"legend\">{items}{more}</ul>")
}

/// What a tag means, and its place on the page; those without a place come last, in order of name.
fn tag_title(tag: &str) -> (usize, String) {
    let known = [
        ("loss/task", "Task loss"),
        ("loss/total", "Loss, all terms"),
        ("loss/vision", "Distillation: vision"),
        ("loss/text", "Distillation: text"),
        ("loss/tokens", "Distillation: selected tokens"),
        ("val/accuracy", "Accuracy on held-out images"),
        ("val/loss", "Task loss on held-out images"),
        ("lambda", "Weight of distillation"),
        ("lr", "Learning rate"),
        ("samples_per_sec", "Samples a second"),
        ("data_wait", "Waiting for data"),
        ("adapt/loss/total", "Before the task: loss, all terms"),
        ("adapt/loss/vision", "Before the task: vision"),
        ("adapt/loss/text", "Before the task: text"),
        ("adapt/loss/tokens", "Before the task: selected tokens"),
        ("adapt/loss/contrast_images", "Before the task: contrast of images"),
        ("adapt/loss/contrast_texts", "Before the task: contrast of texts"),
    ];
    let found = known.iter().enumerate().find(|(_, (name, _))| *name == tag);
    found.map_or((known.len(), String::new()), |(at, (_, title))| (at, (*title).to_owned()))
}

pub(crate) fn learning(page: &mut Writer, runs: &[Run], words: &str) {
    page.section("Learning curves", words);
    let silent: Vec<&Run> = runs.iter().filter(|run| run.metrics.is_empty()).collect();
    page.miss_runs(&silent, "logged no metrics");
    let mut tags: Vec<&String> =
        runs.iter().flat_map(|run| run.metrics.keys()).collect::<BTreeSet<_>>().into_iter().collect();
    if tags.is_empty() {
        return;
    }
    tags.sort_by_key(|tag| (tag_title(tag).0, (*tag).clone()));
    let panel = |tag: &String| {
        let logged = runs.iter().map(|run| run.metrics.get(tag)).enumerate();
        let drawn: Vec<Curve<'_>> = logged.filter_map(|(run, points)| Some(Curve { run, points: points? })).collect();
        let title = tag_title(tag).1;
        let label = if title.is_empty() { tag.clone() } else { title.clone() };
        let heading = format!("{} <code>{}</code>", escape(&title), escape(tag));
        format!("<div class=\"card\"><h3>{}</h3>{}</div>", heading.trim(), curves(&label, &drawn))
    };
    let (learnt, machinery): (Vec<&String>, Vec<&String>) =
        tags.into_iter().partition(|tag| tag.contains("loss") || tag.contains("accuracy"));
    let panels = |tags: &[&String]| -> String { tags.iter().map(|tag| panel(tag)).collect() };
    page.html +=
        &format!("{}<div class=\"panels\">{}</div>", legend(runs, |run| !run.metrics.is_empty(), ""), panels(&learnt));
    if !machinery.is_empty() {
        let panels = panels(&machinery);
        page.html += &format!(
            "<details><summary>Rates, weights and speed</summary><div class=\"panels\">{panels}</div></details>"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_wilsons() {
        let (low, high) = interval(0.5, 100);
        assert!((low - 0.4038).abs() < 1e-3 && (high - 0.5962).abs() < 1e-3, "{low} {high}");
        assert_eq!(interval(0.0, 0).0, 0.0);
    }
}
