//! One step of training, in the order of the formula.

use retort_nn::{Linear, Weights};
use tch::{Kind, Tensor};

use crate::adamw::AdamW;
use crate::adversarial::Pressed;
use crate::checkpoint::State;
use crate::losses::{
    binary_choice_loss, class_loss, distillation, mean_over_texts, text_loss, token_loss, vision_loss, vqa_loss,
};
use crate::prepare::Batch;
use crate::recipe::{ChoiceLoss, Control, Recipe, Target};
use crate::stream::Part;
use crate::students::{Embedded, Student, Tape, Views};
use crate::tasks::{Objective, in_rows_of_samples};
use crate::zipped::Sources;
use crate::{Error, Result, adversarial, confidence, controls};

/// g_v, g_t, g_w: trained with the student, dropped at export.
pub(crate) struct Heads {
    pub(crate) vision: Option<Linear>,
    pub(crate) text: Option<Linear>,
    pub(crate) words: Option<Linear>,
}

/// What is logged of a step, by tag.
pub(crate) type Losses = Vec<(&'static str, f64)>;

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

/// One step: the whole objective in the order of the formula.
///
/// ```text
/// L = L_task + lambda * w(x) [ s_v L_v + s_t (L_t + L_TS) ]
/// ```
pub(crate) fn step(
    recipe: &Recipe,
    objective: Objective,
    student: &dyn Student,
    heads: &Heads,
    batch: &Batch,
    adamw: &mut AdamW,
    state: &mut State,
) -> Result<Losses> {
    let embedded = embed(recipe, student, batch)?;
    let mut views = student.encode(&embedded)?;
    let logits = in_rows_of_samples(&views.logits, objective)?;
    let task = task_loss(recipe, objective, &logits, batch)?;

    // Once per image: the whole-image token, seen with each candidate text.
    views.r_img = mean_over_texts_of(&views.r_img, objective.texts() as i64)?;
    let terms = Terms::of(recipe, objective, heads, batch, &views)?;
    let w = match &batch.confidence {
        Some((c_t, right)) => {
            let c_s = confidence::student_confidence(&logits, &batch.labels)?;
            let w = confidence::weights(recipe.confidence.form, c_t, &c_s, right)?;
            Some(match (recipe.control, batch.ids_of_samples.first()) {
                (Control::ShuffledWeights, Some(first)) => controls::shuffled(&w, recipe.seed, state.step, first)?,
                _ => w,
            })
        }
        None => None,
    };
    let (s_v, s_t) = (recipe.distil.vision, recipe.distil.text);
    let distil = distillation(
        terms.l_v.as_ref().map(|loss| (loss, s_v)),
        terms.l_t.as_ref().map(|loss| (loss, s_t)),
        terms.l_ts.as_ref().map(|loss| (loss, s_t)),
        w.as_ref(),
    )?;

    let mut losses = vec![("loss/task", task.f_double_value(&[])?)];
    losses.extend(terms.means()?);
    let total = match &distil {
        Some(distil) => {
            let lambda = state.balance.lambda(losses[0].1, distil.f_double_value(&[])?);
            losses.push(("lambda", lambda));
            task.f_add(&distil.f_mul_scalar(lambda)?)?
        }
        None => task,
    };
    let pressed = match recipe.adversarial() {
        Some(settings) => Some(adversarial::press(
            settings,
            (recipe.seed, state.step),
            student,
            (&embedded, &views.logits),
            &|said| task_loss(recipe, objective, &in_rows_of_samples(said, objective)?, batch),
            &|said| predictions(recipe, objective, said),
        )?),
        None => None,
    };
    descend(&total, (student, &embedded), pressed.as_ref(), batch, adamw, state.step, losses)
}

/// The beginning of every step: the batch as one sequence, on a tape where layers are to be computed again.
pub(crate) fn embed(recipe: &Recipe, student: &dyn Student, batch: &Batch) -> Result<Embedded> {
    let embedded = student.embed(&batch.text, &batch.visual)?;
    if recipe.optim.recompute { Tape::under(embedded) } else { Ok(embedded) }
}

/// The end of every step: sees that the loss is finite, and goes down its gradient. `done` steps were before. Perturbed
/// passes have left their own gradients.
pub(crate) fn descend(
    total: &Tensor,
    (student, embedded): (&dyn Student, &Embedded),
    pressed: Option<&Pressed>,
    batch: &Batch,
    adamw: &mut AdamW,
    done: u64,
    mut losses: Losses,
) -> Result<Losses> {
    let finite = |value: f64| {
        let error = || Error::NotFinite { step: done + 1, value, samples: batch.named(), checkpoint: None };
        if value.is_finite() { Ok(value) } else { Err(error()) }
    };
    let value = finite(total.f_double_value(&[])?)?;
    match pressed {
        Some(pressed) => {
            finite(pressed.task + pressed.divergence)?;
            losses.extend([("loss/adversarial", pressed.task), ("loss/divergence", pressed.divergence)]);
            total.f_add(&pressed.through_clean)?.f_backward()?;
        }
        None => total.f_backward()?,
    }
    if let Some(tape) = &embedded.tape {
        tape.replay(student.layers())?;
    }
    let norm = finite(adamw.gradient_norm()?)?;
    adamw.step(norm)?;
    losses.insert(0, ("loss/total", value));
    losses.push(("gradient_norm", norm));
    Ok(losses)
}

/// L_task of `logits` `[batch, classes]` or, of a choice, `[batch, K]`.
pub(crate) fn task_loss(recipe: &Recipe, objective: Objective, logits: &Tensor, batch: &Batch) -> Result<Tensor> {
    match (objective, &batch.targets) {
        (Objective::Answers, Some(targets)) => vqa_loss(logits, targets),
        (Objective::Choice(_), _) if recipe.task.choice_loss == ChoiceLoss::Binary => {
            binary_choice_loss(logits, &batch.labels)
        }
        _ => class_loss(logits, &batch.labels),
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
