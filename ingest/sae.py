"""Sae: one trained dictionary, whatever format it came in. Encodes and decodes; knows nothing of models or stores."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

ACTIVATIONS = ("relu", "jumprelu", "topk", "gated")
NORMS = ("none", "layer_norm", "constant_norm_rescale")


@dataclasses.dataclass(frozen=True, eq=False)
class Sae:
    """Weights, float32, and what is needed to use them. Shapes: d_in read, d_out written, n = d_sae features.

    Encoding: x' = norm(x) - b_dec (where `subtract_b_dec`), pre = x' W_enc + b_enc, then
    relu(pre); jumprelu: relu(pre) where pre > threshold; topk: the k largest of relu(pre);
    gated: relu(x' (W_enc e^r_mag) + b_mag) where x' W_enc + b_enc > 0 (b_enc holds the gate's bias).
    Sources: Rajamanoharan et al. 2024 (gated, jumprelu), Gao et al. 2024 (topk), as SAELens writes them.
    """

    W_enc: torch.Tensor  # (d_in, n)
    b_enc: torch.Tensor  # (n,)
    W_dec: torch.Tensor  # (n, d_out)
    b_dec: torch.Tensor  # (d_out,)
    activation: str
    architecture: str
    hook_point: str
    location: str
    hash: str
    hook_point_out: str | None = None  # a transcoder's; None for an SAE
    threshold: torch.Tensor | None = None  # (n,)
    k: int | None = None
    r_mag: torch.Tensor | None = None  # (n,)
    b_mag: torch.Tensor | None = None  # (n,)
    subtract_b_dec: bool = False
    norm: str = "none"
    rescale_by_decoder_norm: bool = False
    W_skip: torch.Tensor | None = None  # (d_out, d_in)
    model_name: str | None = None
    context_size: int | None = None
    prepend_bos: bool = True

    def __post_init__(self) -> None:
        assert self.activation in ACTIVATIONS, self.activation
        assert self.norm in NORMS, self.norm

    @property
    def d_in(self) -> int:
        return self.W_enc.shape[0]

    @property
    def d_sae(self) -> int:
        return self.W_enc.shape[1]

    @property
    def d_out(self) -> int:
        return self.W_dec.shape[1]

    @property
    def kind(self) -> str:
        """sae, or transcoder when it writes to another place than it reads."""
        return "transcoder" if self.hook_point_out else "sae"

    def to(self, device: str) -> Sae:
        """The same on another device."""
        moved: dict[str, Any] = {
            field.name: value.to(device)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), torch.Tensor)
        }
        return dataclasses.replace(self, **moved)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Feature activations (t, n) of inputs x (t, d_in), float32."""
        x = self._prepared(x)
        pre = torch.addmm(self.b_enc, x, self.W_enc)
        if self.activation == "relu":
            return pre.relu_()
        if self.activation == "jumprelu":
            assert self.threshold is not None
            # In place and in one pass: at this size memory is what takes the time. Thresholds below 0 still need the relu.
            return pre.masked_fill_(pre <= self.threshold.clamp(min=0), 0)
        if self.activation == "gated":
            assert self.r_mag is not None and self.b_mag is not None
            magnitude = x @ (self.W_enc * self.r_mag.exp()) + self.b_mag
            return magnitude.relu_() * (pre > 0)
        assert self.k is not None
        norms = self.W_dec.norm(dim=1) if self.rescale_by_decoder_norm else None
        ranked = pre * norms if norms is not None else pre
        top = ranked.topk(self.k, dim=1)
        return torch.zeros_like(pre).scatter_(1, top.indices, top.values.relu())

    def _prepared(self, x: torch.Tensor) -> torch.Tensor:
        x = x.float()
        if self.norm == "layer_norm":
            # SAELens divides by torch's unbiased standard deviation.
            x = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-5)
        elif self.norm == "constant_norm_rescale":
            x = x * (self.d_in**0.5 / x.norm(dim=-1, keepdim=True))
        return x - self.b_dec if self.subtract_b_dec else x

    def decode(self, activations: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """What the dictionary writes, (t, d_out), given activations (t, n) and the inputs x (t, d_in) they came from."""
        if self.rescale_by_decoder_norm:
            activations = activations / self.W_dec.norm(dim=1)
        out = activations @ self.W_dec + self.b_dec
        if self.W_skip is not None:
            out = out + x.float() @ self.W_skip.T
        if self.norm == "layer_norm":
            out = out * (x.std(-1, keepdim=True) + 1e-5) + x.mean(-1, keepdim=True)
        elif self.norm == "constant_norm_rescale":
            out = out * (x.norm(dim=-1, keepdim=True) / self.d_in**0.5)
        return out
