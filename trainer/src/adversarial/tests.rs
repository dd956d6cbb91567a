use std::path::Path;

use super::*;
use crate::students::{Text, Visual};

fn tensor(values: &[f32], shape: &[i64]) -> Result<Tensor> {
    Ok(Tensor::f_from_slice(values)?.f_reshape(shape)?)
}

fn close(found: &Tensor, expected: &[f32]) -> Result<()> {
    let found = Vec::<f32>::try_from(found.detach().f_view([-1])?)?;
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 1e-6, "{found:?} is not {expected:?}");
    }
    Ok(())
}

#[test]
fn the_divergence_counts_both_ways() -> Result<()> {
    // p = (3/4, 1/4), q = (1/2, 1/2): (1/4) ln(3/2) + (-1/4) ln(1/2) = (1/4) ln 3; the second row is equal.
    let one = tensor(&[3.0_f32.ln(), 0.0, 2.0, 5.0], &[2, 2])?;
    let other = tensor(&[0.0, 0.0, 1.0, 4.0], &[2, 2])?;
    close(&symmetric_kl(&one, &other)?, &[3.0_f32.ln() / 8.0])?;
    close(&symmetric_kl(&other, &one)?, &[3.0_f32.ln() / 8.0])
}

#[test]
fn a_step_of_ascent_goes_along_the_gradient_of_its_row() -> Result<()> {
    // Norms 5 and 0: the first row moves by lr (3/5, 4/5), the second stays.
    let delta = tensor(&[1.0, 0.0, 0.5, 0.5], &[2, 1, 2])?;
    let gradient = tensor(&[3.0, 4.0, 0.0, 0.0], &[2, 1, 2])?;
    close(&ascend(&delta, &gradient, 0.5, 0.0)?, &[1.3, 0.4, 0.5, 0.5])?;
    // Projected to norm 0.5: the first by 0.5 / sqrt(1.85), the second by 0.5 / sqrt(0.5).
    let (first, second) = (0.5 / 1.85_f32.sqrt(), 0.5 / 0.5_f32.sqrt());
    let expected = [1.3 * first, 0.4 * first, 0.5 * second, 0.5 * second];
    close(&ascend(&delta, &gradient, 0.5, 0.5)?, &expected)
}

#[test]
fn a_row_within_the_bound_stays() -> Result<()> {
    // A row is all its tokens: (3, 0), (0, 4) has norm 5.
    close(&within(&tensor(&[3.0, 0.0, 0.0, 4.0], &[1, 2, 2])?, 10.0)?, &[3.0, 0.0, 0.0, 4.0])?;
    close(&within(&tensor(&[3.0, 0.0, 0.0, 4.0], &[1, 2, 2])?, 1.0)?, &[0.6, 0.0, 0.0, 0.8])?;
    close(&within(&tensor(&[0.0, 0.0], &[1, 1, 2])?, 1.0)?, &[0.0, 0.0])
}

#[test]
fn a_perturbation_begins_small_on_what_is_there_and_by_seed_and_step() -> Result<()> {
    let like = Tensor::zeros([2, 3, 4], (Kind::Float, tch::Device::Cpu));
    let mask = Tensor::from_slice(&[1_i64, 1, 1, 1, 0, 0]).reshape([2, 3]);
    let draw = |seed, step, what| -> Result<Vec<f32>> {
        Ok(Vec::try_from(
            initial(&like, &mask, 2.0, what, &Place { seed, step, rows_before: 0, share: 1.0 })?.view([-1]),
        )?)
    };
    let found = draw(1, 5, "text")?;
    assert_eq!(found, draw(1, 5, "text")?);
    for other in [draw(2, 5, "text")?, draw(1, 6, "text")?, draw(1, 5, "image")?] {
        assert_ne!(found, other);
    }
    // |u| <= 1: each element of the first row is at most 2 / sqrt(12), of the second 2 / sqrt(4), and 0 at padding.
    assert!(found[..12].iter().all(|x| x.abs() <= 2.0 / 12.0_f32.sqrt() && *x != 0.0), "{found:?}");
    assert!(found[12..16].iter().all(|x| x.abs() <= 1.0 && *x != 0.0), "{found:?}");
    assert!(found[12..16].iter().any(|x| x.abs() > 2.0 / 12.0_f32.sqrt()), "{found:?}");
    assert_eq!(found[16..], [0.0; 8]);
    // The second row alone, as part of a batch, begins as it would in the whole.
    let part = Place { seed: 1, step: 5, rows_before: 1, share: 0.5 };
    close(&initial(&like.narrow(0, 1, 1), &mask.narrow(0, 1, 1), 2.0, "text", &part)?, &found[12..])?;
    close(&initial(&like, &mask, 0.0, "text", &part)?, &[0.0; 24])
}

#[test]
fn sides_alternate_by_step() {
    assert_eq!([0, 1, 2].map(|step| sides(Side::Alternate, step)), [(true, false), (false, true), (true, false)]);
    assert_eq!(
        [Side::Text, Side::Image, Side::Both].map(|side| sides(side, 1)),
        [(true, false), (false, true), (true, true)]
    );
}

/// Embeds a sample as a(theta) = theta (1, 2) for its text and theta (0.5, -1) for its image, and says
/// [sum of tanh, product of the first two elements] of them times phi.
struct Toy {
    theta: Tensor,
    phi: Tensor,
}

impl Student for Toy {
    fn embed(&self, _: &Text, _: &Visual) -> Result<Embedded> {
        let part = |values: &[f32]| -> Result<Tensor> { Ok(tensor(values, &[1, 1, 2])?.f_mul(&self.theta)?) };
        let mask = Tensor::from_slice(&[1_i64, 1]).reshape([1, 2]);
        Ok(Embedded { text: part(&[1.0, 2.0])?, visual: part(&[0.5, -1.0])?, mask, tape: None, compute: Kind::Float })
    }

    fn encode(&self, embedded: &Embedded) -> Result<Views> {
        let all = Tensor::f_cat(&[&embedded.text, &embedded.visual], 1)?.f_view([1, 4])?;
        let sum = all.f_tanh()?.f_sum_dim_intlist([1_i64].as_slice(), true, Kind::Float)?;
        let product = all.f_narrow(1, 0, 1)?.f_mul(&all.f_narrow(1, 2, 1)?)?;
        let logits = Tensor::f_cat(&[sum, product], 1)?.f_mul(&self.phi)?;
        let none = || logits.shallow_clone();
        Ok(Views { h_cls: none(), h_text: none(), r_img: none(), logits: none() })
    }

    fn layers(&self) -> &[retort_nn::Block] {
        &[]
    }

    fn exports(&self, _: &str) -> bool {
        false
    }

    fn write_config(&self, _: &Path, _: &[String]) -> Result<()> {
        Ok(())
    }
}

fn toy(theta: f32, phi: f32) -> Result<(Toy, Embedded, Tensor)> {
    let parameter = |x: f32| -> Result<Tensor> { Ok(Tensor::f_from_slice(&[x])?.f_set_requires_grad(true)?) };
    let toy = Toy { theta: parameter(theta)?, phi: parameter(phi)? };
    let nothing = || Tensor::zeros([1, 1], (Kind::Int64, tch::Device::Cpu));
    let embedded = toy.embed(&Text { ids: nothing(), mask: nothing(), segments: None }, &Visual::Pixels(nothing()))?;
    let logits = toy.encode(&embedded)?.logits;
    Ok((toy, embedded, logits))
}

const PLACE: Place = Place { seed: 3, step: 0, rows_before: 0, share: 1.0 };

fn task(logits: &Tensor) -> Result<Tensor> {
    crate::losses::class_loss(logits, &Tensor::from_slice(&[1_i64]), 0.0)
}

fn same(logits: &Tensor) -> Result<Tensor> {
    Ok(logits.shallow_clone())
}

/// The gradients of `clean + R_at + alpha R_kl` at theta 0.4, phi 0.7.
fn gradients(settings: &Adversarial, with_clean: bool) -> Result<([f64; 2], Pressed)> {
    let (toy, embedded, logits) = toy(0.4, 0.7)?;
    let pressed = press(settings, &PLACE, &toy, (&embedded, &logits), &task, &same)?;
    let mut total = pressed.through_clean.shallow_clone();
    if with_clean {
        total = total.f_add(&task(&logits)?)?;
    }
    total.f_backward()?;
    Ok(([toy.theta.grad().f_double_value(&[0])?, toy.phi.grad().f_double_value(&[0])?], pressed))
}

#[test]
fn one_step_from_nothing_is_the_clean_loss_again() -> Result<()> {
    let settings = Adversarial { steps: 1, side: Side::Both, ..Adversarial::default() };
    let (alone, pressed) = gradients(&settings, false)?;
    let (both, _) = gradients(&settings, true)?;
    let (toy, _, logits) = toy(0.4, 0.7)?;
    let clean = task(&logits)?;
    clean.f_backward()?;
    let expected = [toy.theta.grad().f_double_value(&[0])?, toy.phi.grad().f_double_value(&[0])?];
    for ((alone, both), expected) in alone.into_iter().zip(both).zip(expected) {
        assert!((alone - expected).abs() < 1e-6 && (both - 2.0 * expected).abs() < 1e-6, "{alone} {both} {expected}");
    }
    assert!((pressed.task - clean.f_double_value(&[])?).abs() < 1e-6 && pressed.divergence.abs() < 1e-9);
    Ok(())
}

#[test]
fn gradients_through_every_step_agree_with_differences() -> Result<()> {
    let settings =
        Adversarial { steps: 2, lr: 0.3, kl: 1.5, initial_norm: 0.5, side: Side::Both, ..Adversarial::default() };
    // The perturbations of both steps, found once: theta moves, they stay.
    let (at, embedded, logits) = toy(0.4, 0.7)?;
    let mask = |from| embedded.mask.f_narrow(1, from, 1);
    let clean = logits.f_detach()?;
    let mut deltas = vec![[
        initial(&embedded.text.f_detach()?, &mask(0)?, 0.5, "text", &PLACE)?,
        initial(&embedded.visual.f_detach()?, &mask(1)?, 0.5, "image", &PLACE)?,
    ]];
    let leaf = |x: &Tensor, d: &Tensor| -> Result<Tensor> { Ok(x.f_detach()?.f_add(d)?.f_set_requires_grad(true)?) };
    let (text, visual) = (leaf(&embedded.text, &deltas[0][0])?, leaf(&embedded.visual, &deltas[0][1])?);
    let moved = Embedded {
        text: text.shallow_clone(),
        visual: visual.shallow_clone(),
        mask: embedded.mask.shallow_clone(),
        tape: None,
        compute: embedded.compute,
    };
    let said = at.encode(&moved)?.logits;
    task(&said)?.f_add(&symmetric_kl(&clean, &said)?.f_mul_scalar(1.5)?)?.f_backward()?;
    deltas.push([ascend(&deltas[0][0], &text.grad(), 0.3, 0.0)?, ascend(&deltas[0][1], &visual.grad(), 0.3, 0.0)?]);

    let value = |theta: f32, phi: f32| -> Result<f64> {
        let (toy, embedded, logits) = toy(theta, phi)?;
        let mut total = 0.0;
        for [d_text, d_image] in &deltas {
            let text = embedded.text.f_add(d_text)?;
            let visual = embedded.visual.f_add(d_image)?;
            let said = toy
                .encode(&Embedded {
                    text,
                    visual,
                    mask: embedded.mask.shallow_clone(),
                    tape: None,
                    compute: embedded.compute,
                })?
                .logits;
            let kl = symmetric_kl(&logits, &said)?.f_double_value(&[])?;
            total += (task(&said)?.f_double_value(&[])? + 1.5 * kl) / 2.0;
        }
        Ok(total)
    };
    let (found, pressed) = gradients(&settings, false)?;
    let by = 1e-2;
    let expected = [
        (value(0.4 + by, 0.7)? - value(0.4 - by, 0.7)?) / f64::from(2.0 * by),
        (value(0.4, 0.7 + by)? - value(0.4, 0.7 - by)?) / f64::from(2.0 * by),
    ];
    for (found, expected) in found.into_iter().zip(expected) {
        assert!((found - expected).abs() < 2e-3, "{found} is not {expected}");
    }
    assert!((pressed.task + 1.5 * pressed.divergence - value(0.4, 0.7)?).abs() < 1e-6);
    assert!(pressed.divergence > 1e-3, "{}", pressed.divergence);
    Ok(())
}
