//! Every formula against numbers that `tests/py/make_losses.py` worked out with numpy, and every loss's gradient against
//! finite differences.

use retort_nn::{Init, Linear, Weights};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::Result;
use crate::balance::Balance;
use crate::confidence::{student_confidence, weights, zero_shot};
use crate::losses::{
    binary_choice_loss, class_loss, distance, distillation, info_nce, masked_token_loss, mean_over_texts, text_loss,
    token_loss, vision_loss, vqa_loss,
};
use crate::recipe::{ConfidenceForm, Distance};
use crate::selection::{probabilities, relevance, select_top};

const DISTANCES: [Distance; 3] = [Distance::L1, Distance::L2, Distance::Cosine];

/// Inputs and expected outputs of one formula.
struct Case(Value);

impl Case {
    fn of(formula: &str) -> Self {
        let all: Value = serde_json::from_str(include_str!("../../tests/data/golden/losses.json")).unwrap();
        Self(all[formula].clone())
    }

    /// A number, or the numbers of nested lists, end to end, with their shape.
    fn numbers(&self, name: &str) -> (Vec<f64>, Vec<i64>) {
        fn collect(value: &Value, depth: usize, numbers: &mut Vec<f64>, shape: &mut Vec<i64>) {
            match value {
                Value::Array(items) => {
                    if shape.len() == depth {
                        shape.push(items.len() as i64);
                    }
                    items.iter().for_each(|item| collect(item, depth + 1, numbers, shape));
                }
                number => numbers.push(number.as_f64().unwrap()),
            }
        }
        let (mut numbers, mut shape) = (Vec::new(), Vec::new());
        assert!(!self.0[name].is_null(), "no {name}");
        collect(&self.0[name], 0, &mut numbers, &mut shape);
        (numbers, shape)
    }

    fn number(&self, name: &str) -> f64 {
        self.numbers(name).0[0]
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.numbers(name).0.into_iter().map(|x| x as f32).collect()
    }

    fn tensor(&self, name: &str) -> Tensor {
        Tensor::from_slice(&self.floats(name)).reshape(self.numbers(name).1)
    }

    fn integers(&self, name: &str) -> Tensor {
        Tensor::from_slice(&self.numbers(name).0.into_iter().map(|x| x as i64).collect::<Vec<_>>())
    }

    /// y = weight x + bias, of this case.
    fn projection(&self) -> Result<Linear> {
        let all = Weights::fresh(1, Device::Cpu);
        let (weight, bias) = (self.tensor("weight"), self.tensor("bias"));
        let (outputs, inputs) = weight.size2()?;
        let scope = all.root().sub("g");
        tch::no_grad(|| -> Result<()> {
            scope.tensor("weight", &[outputs, inputs], Init::Zeros)?.copy_(&weight);
            scope.tensor("bias", &[outputs], Init::Zeros)?.copy_(&bias);
            Ok(())
        })?;
        Ok(Linear::new(&scope, inputs, outputs)?)
    }

    fn expects(&self, name: &str, found: &Tensor) {
        let found: Vec<f64> = Vec::try_from(found.detach().to_kind(Kind::Double).reshape([-1])).unwrap();
        self.expects_numbers(name, &found, 2e-5);
    }

    fn expects_numbers(&self, name: &str, found: &[f64], tolerance: f64) {
        let (expected, _) = self.numbers(name);
        assert_eq!(found.len(), expected.len(), "{name}");
        for (a, b) in found.iter().zip(&expected) {
            assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{name}: {found:?}, expected {expected:?}");
        }
    }
}

/// Holds the gradient of the sum of `f` at `x` against central differences, element by element.
fn check_gradient(name: &str, x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
    const STEP: f32 = 2e-3;
    let value = |x: &Tensor| -> Result<Tensor> { Ok(f(x)?.f_sum(Kind::Float)?) };
    let at = x.detach().copy().set_requires_grad(true);
    value(&at)?.f_backward()?;
    let gradient: Vec<f32> = Vec::try_from(at.grad().reshape([-1])).unwrap();
    let elements: Vec<f32> = Vec::try_from(x.detach().reshape([-1])).unwrap();
    let largest = gradient.iter().fold(0.0_f32, |most, g| most.max(g.abs()));
    assert!(largest > 1e-3, "{name} has no gradient: {gradient:?}");
    for i in 0..elements.len() {
        let moved = |by: f32| -> Result<f64> {
            let mut elements = elements.clone();
            elements[i] += by;
            Ok(value(&Tensor::from_slice(&elements).reshape(x.size()))?.f_double_value(&[])?)
        };
        let difference = (moved(STEP)? - moved(-STEP)?) / f64::from(2.0 * STEP);
        let miss = (difference - f64::from(gradient[i])).abs();
        assert!(miss < 5e-3 * f64::from(largest.max(1.0)), "{name}, element {i}: {difference}, not {}", gradient[i]);
    }
    Ok(())
}

#[test]
fn distances() -> Result<()> {
    let case = Case::of("distances");
    let (g, z) = (case.tensor("projected"), case.tensor("target"));
    for kind in DISTANCES {
        case.expects(&kind.to_string(), &distance(&g, &z, kind)?);
        check_gradient(&format!("distance {kind}"), &g, |g| distance(g, &z, kind))?;
    }
    Ok(())
}

#[test]
fn vision_and_text_distillation() -> Result<()> {
    let case = Case::of("pooled");
    let (g, h, z) = (case.projection()?, case.tensor("student"), case.tensor("teacher"));
    for kind in DISTANCES {
        case.expects(&kind.to_string(), &vision_loss(&g, &h, &z, kind)?);
        case.expects(&kind.to_string(), &text_loss(&g, &h, &z, kind)?);
        check_gradient(&format!("L_v {kind}"), &h, |h| vision_loss(&g, h, &z, kind))?;
        check_gradient(&format!("L_t {kind}"), &h, |h| text_loss(&g, h, &z, kind))?;
    }
    Ok(())
}

#[test]
fn token_selective_distillation() -> Result<()> {
    let case = Case::of("tokens");
    let (g, h, target) = (case.projection()?, case.tensor("student"), case.tensor("target"));
    let (members, present) = (case.tensor("members"), case.tensor("present"));
    for kind in DISTANCES {
        case.expects(&kind.to_string(), &token_loss(&g, &h, &members, &present, &target, kind)?);
        check_gradient(&format!("L_TS {kind}"), &h, |h| token_loss(&g, h, &members, &present, &target, kind))?;
    }
    Ok(())
}

#[test]
fn contrastive_knowledge() -> Result<()> {
    let case = Case::of("info_nce");
    let (g, h, z, tau) = (case.projection()?, case.tensor("student"), case.tensor("teacher"), case.number("tau"));
    let ids = case.integers("ids");
    case.expects("loss", &info_nce(&g, &h, &z, &ids, tau)?);
    let distinct = Tensor::arange(6, (Kind::Int64, Device::Cpu));
    case.expects("all_others_negative", &info_nce(&g, &h, &z, &distinct, tau)?);
    check_gradient("InfoNCE", &h, |h| info_nce(&g, h, &z, &ids, 0.5))?;
    // A batch of one image has nothing to tell it from.
    let same = info_nce(&g, &h, &z, &Tensor::zeros([6], (Kind::Int64, Device::Cpu)), tau)?;
    assert!(same.double_value(&[]).abs() < 1e-6);
    Ok(())
}

#[test]
fn masked_language_modelling() -> Result<()> {
    let case = Case::of("masked_tokens");
    let (logits, truth) = (case.tensor("logits"), case.integers("truth"));
    case.expects("loss", &masked_token_loss(&logits, &truth)?);
    check_gradient("masked tokens", &logits, |logits| masked_token_loss(logits, &truth))?;
    let none = (Kind::Int64, Device::Cpu);
    let empty = masked_token_loss(&logits.narrow(0, 0, 0), &Tensor::zeros([0], none))?;
    assert!(empty.double_value(&[]).abs() < 1e-12);
    Ok(())
}

#[test]
fn task_losses() -> Result<()> {
    let case = Case::of("vqa");
    let (logits, targets) = (case.tensor("logits"), case.tensor("targets"));
    let smoothing = case.number("smoothing");
    case.expects("loss", &vqa_loss(&logits, &targets, 0.0)?);
    case.expects("smoothed", &vqa_loss(&logits, &targets, smoothing)?);
    check_gradient("VQA", &logits, |logits| vqa_loss(logits, &targets, 0.0))?;
    check_gradient("VQA, smoothed", &logits, |logits| vqa_loss(logits, &targets, smoothing))?;

    let case = Case::of("classes");
    let (logits, labels) = (case.tensor("logits"), case.integers("labels"));
    let smoothing = case.number("smoothing");
    case.expects("loss", &class_loss(&logits, &labels, 0.0)?);
    case.expects("smoothed", &class_loss(&logits, &labels, smoothing)?);
    check_gradient("classes", &logits, |logits| class_loss(logits, &labels, 0.0))?;
    check_gradient("classes, smoothed", &logits, |logits| class_loss(logits, &labels, smoothing))?;

    let case = Case::of("binary_choice");
    let (scores, labels) = (case.tensor("scores"), case.integers("labels"));
    let smoothing = case.number("smoothing");
    case.expects("loss", &binary_choice_loss(&scores, &labels, 0.0)?);
    case.expects("smoothed", &binary_choice_loss(&scores, &labels, smoothing)?);
    check_gradient("binary choice", &scores, |scores| binary_choice_loss(scores, &labels, 0.0))?;
    check_gradient("binary choice, smoothed", &scores, |scores| binary_choice_loss(scores, &labels, smoothing))
}

#[test]
fn confidence_weights() -> Result<()> {
    let case = Case::of("confidence");
    let logits = case.tensor("logits").set_requires_grad(true);
    let c_s = student_confidence(&logits, &case.integers("labels"))?;
    case.expects("student", &c_s);
    assert!(!c_s.requires_grad(), "c_S is not detached");
    let (c_t, right) = (case.tensor("teacher").set_requires_grad(true), case.tensor("right"));
    for (form, name) in
        [(ConfidenceForm::Ratio, "ratio"), (ConfidenceForm::Teacher, "teacher_form"), (ConfidenceForm::Gate, "gate")]
    {
        let w = weights(form, &c_t, &c_s, &right)?;
        case.expects(name, &w);
        assert!(!w.requires_grad(), "{name} is not detached");
    }
    Ok(())
}

#[test]
fn zero_shot_probabilities() {
    let case = Case::of("zero_shot");
    let z_t = case.floats("z_t");
    let texts: Vec<&[f32]> = z_t.chunks(6).collect();
    let p: Vec<f64> = zero_shot(&case.floats("z_v"), &texts).into_iter().map(f64::from).collect();
    // The temperature makes a hundred of each rounding.
    case.expects_numbers("p", &p, 1e-4);
}

#[test]
fn selection_probabilities() {
    let case = Case::of("selection");
    let relevances = |words: &str, width: usize, whole: &str| -> Vec<f32> {
        let whole = case.floats(whole);
        case.floats(words).chunks(width).map(|word| relevance(word, &whole)).collect()
    };
    let (a, b) = (relevances("prompts", 4, "z_v"), relevances("isolated", 6, "z_t"));
    let doubles = |numbers: &[f32]| numbers.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
    case.expects_numbers("a", &doubles(&a), 1e-6);
    case.expects_numbers("b", &doubles(&b), 1e-6);
    let [alpha, tau_a, tau_b] = ["alpha", "tau_a", "tau_b"].map(|name| case.number(name) as f32);
    let p = probabilities(Some(&a), &b, alpha, tau_a, tau_b);
    case.expects_numbers("p", &doubles(&p), 2e-5);
    case.expects_numbers("without_joint", &doubles(&probabilities(None, &b, alpha, tau_a, tau_b)), 2e-5);
    let top: Vec<f64> = select_top(&p, 3).into_iter().map(|word| word as f64).collect();
    case.expects_numbers("top_three", &top, 0.0);
}

#[test]
fn the_whole_distillation_term_and_lambda() -> Result<()> {
    let case = Case::of("whole");
    let [l_v, l_t, l_ts, w] = ["l_v", "l_t", "l_ts", "w"].map(|name| case.tensor(name));
    let (s_v, s_t) = (case.number("s_v"), case.number("s_t"));
    let term = |l_v: &Tensor, w: Option<&Tensor>| -> Result<Tensor> {
        Ok(distillation(Some((l_v, s_v)), Some((&l_t, s_t)), Some((&l_ts, s_t)), w)?.unwrap())
    };
    case.expects("term", &term(&l_v, Some(&w))?);
    case.expects("unweighted", &term(&l_v, None)?);
    check_gradient("the whole term", &l_v, |l_v| term(l_v, Some(&w)))?;

    let mut balance = Balance::new(case.number("kd_ratio"), case.number("balance_steps") as u64);
    let (task, distil) = (case.numbers("task").0, case.numbers("distillation").0);
    let lambdas: Vec<f64> = task.iter().zip(&distil).map(|(task, distil)| balance.lambda(*task, *distil)).collect();
    case.expects_numbers("lambda", &lambdas, 1e-12);
    Ok(())
}

#[test]
fn means_over_candidate_texts() -> Result<()> {
    let case = Case::of("candidates");
    let losses = case.tensor("losses");
    case.expects("mean", &mean_over_texts(&losses, 3)?);
    check_gradient("mean over texts", &losses, |losses| mean_over_texts(losses, 3))
}
