"""Makes teachers/nn/src/packed.pt: a way to two operators of libtorch that have no function in its C++ interface.

    python tests/py/make_packed.py

torch.compile computes linear layers of frozen weights on a CPU with them. TorchScript can call them, and a module of it is what tch loads;
`teachers/nn/src/packed.rs` says what each method does. Made with the torch of `requirements.txt`.
"""

import pathlib

import torch
from torch import Tensor

FILE = pathlib.Path(__file__).parents[2] / "teachers/nn/src/packed.pt"


class Packed(torch.nn.Module):
    def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "none")

    @torch.jit.export
    def pack(self, weight: Tensor) -> Tensor:
        # Laid out for many rows; with few it is as fast as any other layout.
        return torch.ops.mkldnn._reorder_linear_weight(weight, 1024)

    @torch.jit.export
    def gelu(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "none")

    @torch.jit.export
    def gelu_tanh(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "tanh")

    @torch.jit.export
    def silu(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "swish", [], "none")

    @torch.jit.export
    def relu(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "relu", [], "none")

    @torch.jit.export
    def add(self, x: Tensor, weight: Tensor, bias: Tensor, other: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, other, weight, bias, "add")


if __name__ == "__main__":
    torch.jit.script(Packed()).save(str(FILE))
