//! Packed layers beside stored ones.

use tch::Device;

use super::*;
use crate::{Checkpoint, Weights, save};

/// A block of 6 heads with widths that fill no vector, of the weights of a file.
fn block(weights: &Weights, activation: Activation, order: NormOrder) -> Result<Block> {
    let linear = |name: &str, inputs, outputs| Linear::new(&weights.root().sub(name), inputs, outputs);
    let query = Linear::without_bias(&weights.root().sub("query"), 30, 30)?;
    let (key, value, output) = (linear("key", 30, 30)?, linear("value", 30, 30)?, linear("output", 30, 30)?);
    Ok(Block {
        attention: Attention::new(query, key, value, output, 6)?,
        attention_norm: LayerNorm::new(&weights.root().sub("one"), 30, 1e-5)?,
        mlp: Mlp::new(linear("up", 30, 70)?, linear("down", 70, 30)?, activation)?,
        mlp_norm: LayerNorm::new(&weights.root().sub("other"), 30, 1e-5)?,
        order,
    })
}

#[test]
fn packed_layers_give_what_stored_ones_give() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("block.safetensors");
    let seeded = Weights::fresh(7, Device::Cpu);
    block(&seeded, Activation::Gelu, NormOrder::Before)?;
    let mut named = seeded.into_named();
    for (name, tensor) in &mut named {
        // Fresh biases are 0, and would hide what becomes of them.
        let noise = Tensor::arange(tensor.numel() as i64, (Kind::Float, Device::Cpu)).sin().reshape(tensor.size());
        *tensor = tensor.detach() + if name.ends_with("bias") { 0.3 * noise } else { 0.0 * noise };
    }
    std::fs::write(&path, save(&named, "made", "here")?).unwrap();
    let open = || -> Result<Weights> { Ok(Weights::frozen(Checkpoint::open_file(&path)?, Device::Cpu, Kind::Float)) };
    let wave = Tensor::arange(4 * 9 * 30, (Kind::Float, Device::Cpu)).cos().reshape([4, 9, 30]);
    let mask = Tensor::from_slice2(&[[1; 9], [1, 1, 1, 1, 1, 0, 0, 0, 0], [1; 9], [1, 0, 0, 0, 0, 0, 0, 0, 0]]);
    let bias = attention_bias(&mask, Kind::Float)?;
    let activations = [Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu, Activation::Relu];
    for (activation, order) in activations.into_iter().flat_map(|a| [(a, NormOrder::Before), (a, NormOrder::After)]) {
        let (stored, packed) = (block(&open()?, activation, order)?, block(&open()?.packed(), activation, order)?);
        let is_packed = matches!(packed.mlp.up, Projection::Packed(_));
        assert_eq!(is_packed, packed::is_available(), "{activation:?}");
        for bias in [None, Some(&bias)] {
            let (expected, found) = (stored.forward(&wave, bias, false)?, packed.forward(&wave, bias, false)?);
            let error = (&expected - found).abs().max().double_value(&[]);
            assert!(error < 1e-5 && expected.std(true).double_value(&[]) > 0.1, "{activation:?} {order:?}: {error}");
        }
    }
    Ok(())
}

#[test]
fn libtorch_of_x86_packs_and_what_is_trained_or_not_f32_stays() -> Result<()> {
    assert_eq!(packed::is_available(), cfg!(target_arch = "x86_64"));
    assert!(!Weights::fresh(1, Device::Cpu).packed().root().packs());
    Ok(())
}
