//! Steps against the paper's formulas, and restarts.

use super::*;
use crate::recipe::Decay;
use retort_nn::Error;

/// A step whose gradients are there; their norm.
fn go(adamw: &mut AdamW) -> Result<f64> {
    let norm = adamw.gradient_norm()?;
    adamw.step(norm)?;
    Ok(norm)
}

#[test]
fn two_steps_are_those_of_the_paper() -> Result<()> {
    let w = Tensor::from_slice(&[1.0_f32, -2.0]).reshape([1, 2]).set_requires_grad(true);
    let optim = Optim {
        steps: 100,
        lr: 0.1,
        warmup_steps: 0,
        weight_decay: 0.5,
        betas: [0.9, 0.99],
        clip: 0.0,
        ..Optim::default()
    };
    let mut adamw = AdamW::new(BTreeMap::from([("w".to_owned(), w.shallow_clone())]), &optim)?;
    let (mut expected, mut m, mut v) = ([1.0_f64, -2.0], [0.0; 2], [0.0; 2]);
    for t in 1..=2 {
        let rate = adamw.rate();
        w.f_square()?.f_sum(Kind::Float)?.f_backward()?;
        go(&mut adamw)?;
        for i in 0..2 {
            let g = 2.0 * expected[i];
            m[i] = 0.9 * m[i] + 0.1 * g;
            v[i] = 0.99 * v[i] + 0.01 * g * g;
            let step = (m[i] / (1.0 - 0.9_f64.powi(t))) / ((v[i] / (1.0 - 0.99_f64.powi(t))).sqrt() + EPSILON);
            expected[i] = expected[i] * (1.0 - rate * 0.5) - rate * step;
        }
    }
    let found: Vec<f32> = Vec::try_from(w.detach().view([-1])).map_err(Error::from)?;
    assert!(found.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5), "{found:?} {expected:?}");
    Ok(())
}

#[test]
fn a_parameter_that_is_not_always_used_goes_on_as_if_never_stopped() -> Result<()> {
    let fresh = || -> Result<(Tensor, Tensor, AdamW)> {
        let tensor = |x: f32| Tensor::from_slice(&[x, -x]).reshape([1, 2]).set_requires_grad(true);
        let (always, once) = (tensor(1.0), tensor(2.0));
        let named = [("always", &always), ("once", &once)].map(|(name, w)| (name.to_owned(), w.shallow_clone()));
        let adamw = AdamW::new(BTreeMap::from(named), &Optim::default())?;
        Ok((always, once, adamw))
    };
    let (always, once, mut whole) = fresh()?;
    (always.f_square()?.f_sum(Kind::Float)? + once.f_square()?.f_sum(Kind::Float)?).f_backward()?;
    go(&mut whole)?;
    let saved: BTreeMap<String, Tensor> =
        whole.state()?.into_iter().map(|(name, tensor)| (name, tensor.detach().copy())).collect();
    always.f_square()?.f_sum(Kind::Float)?.f_backward()?;
    go(&mut whole)?;

    let (always_again, once_again, mut restored) = fresh()?;
    restored.restore(1, |name| Ok(saved[name].shallow_clone()))?;
    always_again.f_square()?.f_sum(Kind::Float)?.f_backward()?;
    go(&mut restored)?;
    assert_eq!(always, always_again);
    assert_eq!(once, once_again);
    assert_ne!(once, saved["weight/once"]);
    Ok(())
}

#[test]
fn gradients_are_clipped_to_the_norm() -> Result<()> {
    let w = Tensor::from_slice(&[3.0_f32, 4.0]).set_requires_grad(true);
    let mut adamw = AdamW::new(BTreeMap::from([("w".to_owned(), w.shallow_clone())]), &Optim::default())?;
    w.f_square()?.f_sum(Kind::Float)?.f_backward()?;
    assert!((go(&mut adamw)? - 10.0).abs() < 1e-4);
    Ok(())
}

#[test]
fn heads_go_faster_and_averages_follow() -> Result<()> {
    let names =
        ["classifier.weight", "vilt.encoder.layer.0.weight", "vilt.encoder.layer.1.weight", "vilt.embeddings.weight"];
    let factors = [10.0, 0.25, 0.5, 0.125];
    let tensors = names.map(|_| Tensor::from_slice(&[1.0_f32, -2.0]).reshape([1, 2]).set_requires_grad(true));
    let named = names.iter().zip(&tensors).map(|(name, w)| ((*name).to_owned(), w.shallow_clone())).collect();
    let (lr, ema) = (0.01, 0.9);
    let optim = Optim {
        head_rate: 10.0,
        layer_decay: 0.5,
        decay: Decay::Constant,
        warmup_steps: 0,
        weight_decay: 0.0,
        clip: 0.0,
        lr,
        ema,
        ..Optim::default()
    };
    let mut adamw = AdamW::new(named, &optim)?;
    for _ in 0..2 {
        let loss = tensors.iter().map(|w| w.sum(Kind::Float)).reduce(|a, b| a + b).unwrap();
        loss.f_backward()?;
        go(&mut adamw)?;
    }
    // A gradient of one: each step goes by the rate, whatever the moments.
    let trained = adamw.trained()?;
    for ((name, w), factor) in names.iter().zip(&tensors).zip(factors) {
        let found = Vec::<f32>::try_from(w.detach().view([-1])).map_err(Error::from)?;
        let steps = [1.0 - lr * factor, 1.0 - 2.0 * lr * factor];
        assert!((f64::from(found[0]) - steps[1]).abs() < 1e-6, "{name}: {found:?}");
        // d is min(0.9, 2/11) and then min(0.9, 3/12).
        let first = 2.0 / 11.0 + 9.0 / 11.0 * steps[0];
        let average = 0.25 * first + 0.75 * steps[1];
        let found = Vec::<f32>::try_from(trained[*name].view([-1])).map_err(Error::from)?;
        assert!((f64::from(found[0]) - average).abs() < 1e-6, "{name}: {found:?} is not {average}");
    }
    Ok(())
}

#[test]
fn a_parameter_that_was_never_used_stays_as_it_is() -> Result<()> {
    let tensor = |x: f32| Tensor::from_slice(&[x, x]).reshape([1, 2]).set_requires_grad(true);
    let (used, unused) = (tensor(1.0), tensor(3.0));
    let named = [("a", &unused), ("b", &used)].map(|(name, w)| (name.to_owned(), w.shallow_clone()));
    let mut adamw = AdamW::new(BTreeMap::from(named), &Optim { weight_decay: 0.5, ..Optim::default() })?;
    used.f_square()?.f_sum(Kind::Float)?.f_backward()?;
    go(&mut adamw)?;
    assert_eq!(unused, tensor(3.0));
    assert_ne!(used, tensor(1.0));
    Ok(())
}

#[test]
fn a_step_is_the_same_however_it_is_cut_into_pieces() -> Result<()> {
    assert_eq!((piece_of(Device::Cpu), piece_of(Device::Cuda(1))), (PIECE, PIECE_ON_GPU));
    let size = 5000;
    let optim = Optim { warmup_steps: 0, lr: 0.5, clip: 0.0, ..Optim::default() };
    let stepped = |piece: i64| -> Result<(f64, Vec<f32>)> {
        let w = (Tensor::arange(size, (Kind::Float, Device::Cpu)) / 100.0).set_requires_grad(true);
        let mut adamw = AdamW::new(BTreeMap::from([("w".to_owned(), w.shallow_clone())]), &optim)?;
        adamw.piece = piece;
        w.f_square()?.f_sum(Kind::Float)?.f_backward()?;
        let norm = go(&mut adamw)?;
        Ok((norm, Vec::try_from(w.detach()).map_err(Error::from)?))
    };
    // One piece; several with a shorter last; and as many as numbers.
    let (norm, whole) = stepped(PIECE_ON_GPU)?;
    let expected = (0..size).map(|x| (x as f64 / 50.0).powi(2)).sum::<f64>().sqrt();
    assert!((norm - expected).abs() < 1e-3 * expected, "{norm}, not {expected}");
    assert!(whole.iter().enumerate().skip(1).all(|(at, w)| (at as f32 / 100.0 - w - 0.5).abs() < 1e-2), "{whole:?}");
    for piece in [1999, 1] {
        let (of_pieces, pieces) = stepped(piece)?;
        assert!((norm - of_pieces).abs() < 1e-3 * norm && whole == pieces, "pieces of {piece}");
    }
    Ok(())
}
