//! One step of training, in the order of the formula.

use retort_nn::{Linear, Weights};
use tch::{Kind, Tensor};

use crate::adamw::AdamW;
use crate::adversarial::Place;
use crate::balance::Balance;
use crate::checkpoint::State;
use crate::descent::{Descent, Losses};
use crate::losses::{
    binary_choice_loss, class_loss, distillation, mean_over_texts, text_loss, token_loss, vision_loss, vqa_loss,
};
use crate::prepare::{Batch, MicroBatch};
use crate::recipe::{ChoiceLoss, Control, Precision, Recipe, Target};
use crate::stream::Part;
use crate::students::{Embedded, Student, Tape, Views};
use crate::tasks::{Objective, in_rows_of_samples};
use crate::zipped::Sources;
use crate::{Result, adversarial, confidence, controls};

/// g_v, g_t, g_w: trained with the student, dropped at export.
pub(crate) struct Heads {
    pub(crate) vision: Option<Linear>,
    pub(crate) text: Option<Linear>,
    pub(crate) words: Option<Linear>,
}

impl Heads {
    /// The heads that the arm needs, as wide as the features of the first shard.
    pub(crate) fn new(recipe: &Recipe, weights: &Weights, sources: &Sources, parts: &[Part]) -> Result<Self> {
        let Some(part) = parts.first() else {
            return Ok(Self { vision: None, text: None, words: None });
        };
        let first = sources.load(&part.shard)?;
        let scope = weights.root().sub("distil");
        let width = recipe.student.hidden;
        let head = |on: bool, name: &str, target: Option<usize>| -> Result<Option<Linear>> {
            let target = target.filter(|_| on);
            Ok(target.map(|target| Linear::new(&scope.sub(name), width, target as i64)).transpose()?)
        };
        let (d_v, d_t) = (first.z_v.as_ref().map(|z| z.width), first.z_t.as_ref().map(|z| z.width));
        let d_w = match recipe.selection.target {
            Target::Token => first.tokens.as_ref().map(|tokens| tokens.width()),
            Target::Sentence => d_t,
            Target::Image => d_v,
        };
        Ok(Self {
            vision: head(recipe.arm.vision(), "vision", d_v)?,
            text: head(recipe.arm.text(), "text", d_t)?,
            words: head(recipe.arm.tokens(), "words", d_w)?,
        })
    }

    /// Lambda of a step, where no loss of the step has a say in it any more: none without distillation.
    fn lambda(&self, balance: &Balance) -> Option<Option<f64>> {
        let distils = [&self.vision, &self.text, &self.words].into_iter().any(Option::is_some);
        if distils { balance.settled().map(Some) } else { Some(None) }
    }
}

/// The distillation terms of a batch, `[batch]` each; absent where the arm has none.
pub(crate) struct Terms {
    pub(crate) l_v: Option<Tensor>,
    pub(crate) l_t: Option<Tensor>,
    pub(crate) l_ts: Option<Tensor>,
}

impl Terms {
    /// Of what the student saw. `r_img` is `[batch, width]` already: once per image, over its candidate texts.
    pub(crate) fn of(
        recipe: &Recipe,
        objective: Objective,
        heads: &Heads,
        batch: &Batch,
        Views { h_cls, h_text, r_img, .. }: &Views,
    ) -> Result<Self> {
        let (kind, texts) = (recipe.distil.distance, objective.texts() as i64);
        let l_v = both(&heads.vision, &batch.z_v).map(|(g_v, z_v)| vision_loss(g_v, r_img, z_v, kind)).transpose()?;
        let l_t = both(&heads.text, &batch.z_t)
            .map(|(g_t, z_t)| mean_over_texts(&text_loss(g_t, h_cls, z_t, kind)?, texts))
            .transpose()?;
        let l_ts = both(&heads.words, &batch.words)
            .map(|(g_w, words)| {
                let each = token_loss(g_w, h_text, &words.members, &words.present, &words.target, kind)?;
                mean_over_texts(&each, texts)
            })
            .transpose()?;
        Ok(Self { l_v, l_t, l_ts })
    }

    /// Their weighed sum, a scalar: see [`distillation`].
    fn weighed(&self, recipe: &Recipe, w: Option<&Tensor>) -> Result<Option<Tensor>> {
        let (s_v, s_t) = (recipe.distil.vision, recipe.distil.text);
        let shares = [(&self.l_v, s_v), (&self.l_t, s_t), (&self.l_ts, s_t)];
        let [vision, text, tokens] = shares.map(|(loss, share)| loss.as_ref().map(|loss| (loss, share)));
        distillation(vision, text, tokens, w)
    }

    fn detached(&self) -> Result<Self> {
        let detached = |loss: &Option<Tensor>| loss.as_ref().map(Tensor::f_detach).transpose();
        Ok(Self { l_v: detached(&self.l_v)?, l_t: detached(&self.l_t)?, l_ts: detached(&self.l_ts)? })
    }

    /// The terms of a batch of those of its parts.
    fn together<'a>(parts: impl Iterator<Item = &'a Self> + Clone) -> Result<Self> {
        let cat = |term: fn(&Self) -> &Option<Tensor>| -> Result<Option<Tensor>> {
            let all: Vec<&Tensor> = parts.clone().filter_map(|part| term(part).as_ref()).collect();
            if all.is_empty() { Ok(None) } else { Ok(Some(Tensor::f_cat(&all, 0)?)) }
        };
        Ok(Self { l_v: cat(|terms| &terms.l_v)?, l_t: cat(|terms| &terms.l_t)?, l_ts: cat(|terms| &terms.l_ts)? })
    }

    /// Their means over the batch, by tag.
    pub(crate) fn means(&self) -> Result<Losses> {
        let mut means = Vec::new();
        for (tag, loss) in [("loss/vision", &self.l_v), ("loss/text", &self.l_t), ("loss/tokens", &self.l_ts)] {
            if let Some(loss) = loss {
                means.push((tag, loss.f_mean(Kind::Float)?.f_double_value(&[])?));
            }
        }
        Ok(means)
    }
}

/// What the student says of a part of a batch, before anything is weighed.
struct Said {
    embedded: Embedded,
    views: Views,
    /// In rows of samples.
    logits: Tensor,
    task: Tensor,
    terms: Terms,
}

impl Said {
    fn of(
        recipe: &Recipe,
        objective: Objective,
        (student, heads): (&dyn Student, &Heads),
        batch: &Batch,
        embedded: Embedded,
    ) -> Result<Self> {
        let mut views = student.encode(&embedded)?;
        let logits = in_rows_of_samples(&views.logits, objective)?;
        let task = task_loss(recipe, objective, &logits, batch)?;
        // Once per image: the whole-image token, seen with each candidate text.
        views.r_img = mean_over_texts_of(&views.r_img, objective.texts() as i64)?;
        let terms = Terms::of(recipe, objective, heads, batch, &views)?;
        Ok(Self { embedded, views, logits, task, terms })
    }

    /// What the weights of the step need of it, without its graph.
    fn seen(&self, share: f64) -> Result<Seen> {
        let task = self.task.f_double_value(&[])? * share;
        Ok(Seen { logits: self.logits.f_detach()?, task, terms: self.terms.detached()? })
    }
}

/// Of a part of a batch: logits, its part of L_task, and the distillation terms.
struct Seen {
    logits: Tensor,
    task: f64,
    terms: Terms,
}

/// What all samples of a batch have a say in: w(x), `[batch]`, scaled to mean 1 over them, and lambda.
struct Weighing {
    w: Option<Tensor>,
    lambda: Option<f64>,
}

impl Weighing {
    /// Of all parts of a batch in order.
    fn of(recipe: &Recipe, batch: &Batch, seen: &[Seen], state: &mut State) -> Result<Self> {
        let w = match &batch.confidence {
            Some((c_t, right)) => {
                let logits: Vec<&Tensor> = seen.iter().map(|part| &part.logits).collect();
                let c_s = confidence::student_confidence(&Tensor::f_cat(&logits, 0)?, &batch.labels)?;
                let w = confidence::weights(recipe.confidence.form, c_t, &c_s, right)?;
                Some(match (recipe.control, batch.ids_of_samples.first()) {
                    (Control::ShuffledWeights, Some(first)) => controls::shuffled(&w, recipe.seed, state.step, first)?,
                    _ => w,
                })
            }
            None => None,
        };
        let task = seen.iter().map(|part| part.task).sum();
        let lambda = match Terms::together(seen.iter().map(|part| &part.terms))?.weighed(recipe, w.as_ref())? {
            Some(distil) => Some(state.balance.lambda(task, distil.f_double_value(&[])?)),
            None => None,
        };
        Ok(Self { w, lambda })
    }

    /// The same of a batch that is seen part by part, where its samples have a say: of passes that leave no graph. None of
    /// the students has dropout, so what is seen is what the passes with a graph will say.
    fn ahead(
        recipe: &Recipe,
        objective: Objective,
        (student, heads): (&dyn Student, &Heads),
        batch: &Batch,
        parts: &[MicroBatch],
        state: &mut State,
    ) -> Result<Self> {
        if batch.confidence.is_none()
            && let Some(lambda) = heads.lambda(&state.balance)
        {
            return Ok(Self { w: None, lambda });
        }
        let _guard = tch::no_grad_guard();
        let seen: Vec<Seen> = parts
            .iter()
            .map(|MicroBatch { batch, labelled, .. }| {
                let embedded = student.embed(&batch.text, &batch.visual)?;
                Said::of(recipe, objective, (student, heads), batch, embedded)?.seen(*labelled)
            })
            .collect::<Result<_>>()?;
        Self::of(recipe, batch, &seen, state)
    }
}

/// One step: the whole objective in the order of the formula.
///
/// ```text
/// L = L_task + lambda * w(x) [ s_v L_v + s_t (L_t + L_TS) ]
/// ```
///
/// With `optim.accumulate` the batch comes in parts, whose gradients add up to that of the whole: each loss is a mean, and
/// the part's counts by its share; w(x) and lambda are those of the whole batch, found in passes before ([`Weighing`]).
pub(crate) fn step(
    recipe: &Recipe,
    objective: Objective,
    student: &dyn Student,
    heads: &Heads,
    batch: &Batch,
    adamw: &mut AdamW,
    state: &mut State,
) -> Result<Losses> {
    let parts = batch.micro_batches(recipe.optim.accumulate, objective)?;
    let say = |part: &MicroBatch| {
        Said::of(recipe, objective, (student, heads), &part.batch, embed(recipe, student, &part.batch)?)
    };
    let mut first = None;
    let Weighing { w, lambda } = match parts.as_slice() {
        [whole] => {
            let said = first.insert(say(whole)?);
            Weighing::of(recipe, batch, &[said.seen(whole.labelled)?], state)?
        }
        several => Weighing::ahead(recipe, objective, (student, heads), batch, several, state)?,
    };
    let (mut sum, mut at) = (Descent::default(), 0);
    for part in &parts {
        let said = first.take().map_or_else(|| say(part), Ok)?;
        let samples = part.batch.ids_of_samples.len() as i64;
        let w = w.as_ref().map(|w| w.f_narrow(0, at, samples)).transpose()?;
        at += samples;
        let task = said.task.f_mul_scalar(part.labelled)?;
        sum.log("loss/task", task.f_double_value(&[])?);
        for (tag, mean) in said.terms.means()? {
            sum.log(tag, mean * part.samples);
        }
        let total = match (said.terms.weighed(recipe, w.as_ref())?, lambda) {
            (Some(distil), Some(lambda)) => {
                sum.set("lambda", lambda);
                task.f_add(&distil.f_mul_scalar(lambda * part.samples)?)?
            }
            _ => task,
        };
        let pressed = match recipe.adversarial() {
            Some(settings) => Some(adversarial::press(
                settings,
                &Place { seed: recipe.seed, step: state.step, rows_before: part.texts_before, share: part.samples },
                student,
                (&said.embedded, &said.views.logits),
                &|logits| {
                    let task = task_loss(recipe, objective, &in_rows_of_samples(logits, objective)?, &part.batch)?;
                    Ok(task.f_mul_scalar(part.labelled)?)
                },
                &|logits| predictions(recipe, objective, logits),
            )?),
            None => None,
        };
        sum.add(&total, (student, &said.embedded), pressed.as_ref())?;
    }
    sum.descend(batch, adamw, state.step)
}

/// The beginning of every step: the batch as one sequence, on a tape where layers are to be computed again.
pub(crate) fn embed(recipe: &Recipe, student: &dyn Student, batch: &Batch) -> Result<Embedded> {
    let embedded = student.embed(&batch.text, &batch.visual)?;
    let compute = match recipe.optim.precision {
        Precision::F32 => embedded.compute,
        Precision::Bf16 => Kind::BFloat16,
    };
    let embedded = Embedded { compute, ..embedded };
    if recipe.optim.recompute { Tape::under(embedded) } else { Ok(embedded) }
}

/// L_task of `logits` `[batch, classes]` or, of a choice, `[batch, K]`.
pub(crate) fn task_loss(recipe: &Recipe, objective: Objective, logits: &Tensor, batch: &Batch) -> Result<Tensor> {
    let smoothing = recipe.task.label_smoothing;
    match (objective, &batch.targets) {
        (Objective::Answers, Some(targets)) => vqa_loss(logits, targets, smoothing),
        (Objective::Choice(_), _) if recipe.task.choice_loss == ChoiceLoss::Binary => {
            binary_choice_loss(logits, &batch.labels, smoothing)
        }
        _ => class_loss(logits, &batch.labels, smoothing),
    }
}

/// Logits of what is chosen from: the classes, answers or candidates of a sample or, of a choice that judges each
/// candidate alone, right and wrong of a text.
fn predictions(recipe: &Recipe, objective: Objective, said: &Tensor) -> Result<Tensor> {
    match objective {
        Objective::Choice(_) if recipe.task.choice_loss == ChoiceLoss::Binary => {
            Ok(Tensor::f_cat(&[said, &said.f_zeros_like()?], -1)?)
        }
        _ => in_rows_of_samples(said, objective),
    }
}

/// `[texts, width]` to `[batch, width]`.
pub(crate) fn mean_over_texts_of(features: &Tensor, texts: i64) -> Result<Tensor> {
    let width = features.size2()?.1;
    Ok(features.f_view([-1, texts, width])?.f_mean_dim([1_i64].as_slice(), false, Kind::Float)?)
}

fn both<'a, A, B>(a: &'a Option<A>, b: &'a Option<B>) -> Option<(&'a A, &'a B)> {
    a.as_ref().zip(b.as_ref())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn predictions_are_of_what_the_task_chooses_from() -> Result<()> {
        let said = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0]).reshape([4, 1]);
        let predicted = |settings: &[String], objective, said: &Tensor| {
            predictions(&Recipe::parse(Path::new("test"), "[data]\ndataset = \"d\"", settings)?, objective, said)
        };
        // One of two candidates; or right against wrong of each, by the log-odds that the score is.
        let choice = predicted(&[], Objective::Choice(2), &said)?;
        assert_eq!((choice.size(), Vec::<f32>::try_from(choice.view([-1]))?), (vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]));
        let binary = predicted(&["task.choice_loss=binary".to_owned()], Objective::Choice(2), &said)?;
        let expected = vec![1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 4.0, 0.0];
        assert_eq!((binary.size(), Vec::<f32>::try_from(binary.view([-1]))?), (vec![4, 2], expected));
        assert_eq!(predicted(&[], Objective::Class, &said.reshape([2, 2]))?.size(), [2, 2]);
        Ok(())
    }
}
