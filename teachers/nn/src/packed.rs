//! Linear layers of frozen weights on a CPU: laid out once as oneDNN reads them, what follows a product computed in the
//! same pass.
//!
//! `libtorch` multiplies f32 matrices with MKL, which on AMD is slower than oneDNN by an eighth, and lays the weights out anew for
//! every product. Two operators that torch.compile uses do better, `mkldnn::_reorder_linear_weight` and
//! `mkldnn::_linear_pointwise`; they have no function in the C++ interface, and so none in tch, but TorchScript can call them.
//! `packed.pt` is a module without weights whose methods do nothing else (`tests/py/make_packed.py` makes it).

use tch::{CModule, Kind, Tensor};

use crate::{Activation, Result};

/// The module.
const OPERATORS: &[u8] = include_bytes!("packed.pt");

thread_local! {
    /// The module, opened by each thread that computes: it cannot be shared. None where libtorch has no such operators.
    static OPENED: Option<CModule> = opened();
}

/// Opens the module, and tries it.
fn opened() -> Option<CModule> {
    // On ARM both come from other libraries, and which is faster was not measured.
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    let module = CModule::load_data(&mut { OPERATORS }).ok()?;
    let _guard = tch::no_grad_guard();
    let row = Tensor::f_ones([1, 16], (Kind::Float, tch::Device::Cpu)).ok()?;
    let weight = module.method_ts("pack", &[&row]).ok()?;
    let bias = Tensor::f_zeros([1], (Kind::Float, tch::Device::Cpu)).ok()?;
    let product = module.forward_ts(&[&row, &weight, &bias]).ok()?;
    (f64::try_from(&product).ok()? == 16.0).then_some(module)
}

/// Whether layers can be packed.
pub(crate) fn is_available() -> bool {
    OPENED.with(Option::is_some)
}

/// y = x W^T + b of a packed W, in f32.
#[derive(Debug)]
pub(crate) struct Packed {
    weight: Tensor,
    bias: Tensor,
}

impl Packed {
    /// Packs `weight` `[outputs, inputs]` with `bias` `[outputs]`, 0 where there is none; none where layers cannot be packed.
    ///
    /// # Errors
    /// [`crate::Error::Torch`].
    pub(crate) fn new(weight: &Tensor, bias: Option<&Tensor>) -> Result<Option<Self>> {
        let _guard = tch::no_grad_guard();
        let bias = match bias {
            Some(bias) => bias.shallow_clone(),
            None => Tensor::f_zeros(&weight.size()[..1], (weight.kind(), weight.device()))?,
        };
        let pack = |module: &CModule| module.method_ts("pack", &[weight.f_contiguous()?]);
        let weight = OPENED.with(|opened| opened.as_ref().map(pack).transpose())?;
        Ok(weight.map(|weight| Self { weight, bias }))
    }

    /// `[.., inputs]` to `[.., outputs]`.
    ///
    /// # Errors
    /// [`crate::Error::Torch`].
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.call("forward", x, None)
    }

    /// The same plus `to`, `[.., outputs]`.
    ///
    /// # Errors
    /// [`crate::Error::Torch`].
    pub(crate) fn added(&self, x: &Tensor, to: &Tensor) -> Result<Tensor> {
        self.call("add", x, Some(to))
    }

    /// The same through an activation. Of [`Activation::QuickGelu`] it is 1.702 times the value, where weight and bias
    /// were multiplied by that before they were packed: x sigmoid(1.702 x) = silu(1.702 x) / 1.702.
    ///
    /// # Errors
    /// [`crate::Error::Torch`].
    pub(crate) fn activated(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        let method = match activation {
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_tanh",
            Activation::QuickGelu => "silu",
            Activation::Relu => "relu",
        };
        self.call(method, x, None)
    }

    fn call(&self, method: &str, x: &Tensor, to: Option<&Tensor>) -> Result<Tensor> {
        let x = x.f_contiguous()?;
        let mut given = vec![&x, &self.weight, &self.bias];
        let to = to.map(Tensor::f_contiguous).transpose()?;
        given.extend(&to);
        let product = OPENED.with(|opened| opened.as_ref().map(|module| module.method_ts(method, &given)));
        // A thread that packed a layer has the module, and so has any other: they open the same bytes.
        let absent = || tch::TchError::Torch("a packed layer came to a thread that has no oneDNN".to_owned());
        Ok(product.ok_or_else(absent)??)
    }
}
