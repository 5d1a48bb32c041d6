"""Sae: one trained dictionary, of any format. Encodes and decodes; knows nothing of models and stores."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import torch

ACTIVATIONS = ("relu", "jumprelu", "topk", "abstopk", "groupmax", "gated")
NORMS = ("none", "scale", "l2", "layer_norm")
TILE = 32_000_000  # tokens x features held at once while the top-k of all features is searched: 128 MB


class Top(NamedTuple):
    """The k strongest features of a whole dictionary on t tokens: two tensors (t, k). Activations may be 0."""

    activations: torch.Tensor
    features: torch.Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Sae:
    """Weights and what is needed to use them. Shapes: d_in read, d_out written, n = d_sae features, T layers written
    to.

    Encoding: x' = norm(x) - b_dec (where `subtract_b_dec`), pre = x' W_enc + b_enc, then relu: relu(pre); jumprelu:
    relu(pre) where pre > threshold (BatchTopK at inference is this with one threshold for all); topk: the k largest of
    relu(pre); abstopk: the k largest in magnitude, with their signs; groupmax: the largest of relu(pre) in each of k
    runs of n/k features; gated: relu(e^r_mag * x' W_enc + b_mag) where x' W_enc + b_enc > 0 (b_enc holds the gate's
    bias). `signed` leaves out the relu in topk and jumprelu. norm: none; scale: x * scale; l2: x sqrt(d_in) / |x|;
    layer_norm: (x - mean) / (std + 1e-5), std over d_in - 1. `rescale_by_decoder_norm` multiplies pre by |W_dec| (less
    the scale of the output, if there is one) under every activation, and decoding divides by it.

    Sources: Rajamanoharan et al. 2024 (gated, jumprelu), Gao et al. 2024 (topk), Bussmann et al. 2024 (BatchTopK), and
    for what they left open the code of those who publish weights, named in ingest/weights.

    The large matrices may be of any floating type (lean reading leaves them mapped in their file); sums are in float32.
    """

    W_enc: torch.Tensor  # (d_in, n)
    b_enc: torch.Tensor  # (n,)
    W_dec: torch.Tensor  # (n, d_out); cross-layer: (n, T, d_out)
    b_dec: torch.Tensor  # (d_out,); cross-layer: what is added once at the first layer written to
    activation: str
    architecture: str
    hook_point: str
    location: str
    hash: str
    hook_point_out: str | None = None  # a transcoder's, the first one's when cross-layer; None for an SAE
    threshold: torch.Tensor | None = None  # (n,) or ()
    k: int | None = None
    r_mag: torch.Tensor | None = None  # (n,)
    b_mag: torch.Tensor | None = None  # (n,)
    signed: bool = False
    subtract_b_dec: bool = False
    norm: str = "none"
    scale: float = 1.0  # of the input, where norm is scale
    scale_out: float | None = None  # what is written is divided by it; None: the same as scale
    denormalise: bool = True  # whether what is written has the units of the input again; some transcoders leave it
    rescale_by_decoder_norm: bool = False  # features are ranked by, held to thresholds by, and given as pre |W_dec|
    rank_norms: torch.Tensor | None = (
        None  # (n,): features are ranked, and held to thresholds, by pre times it, but given as pre
    )
    W_skip: torch.Tensor | None = None  # (d_out, d_in)
    targets: tuple[int, ...] | None = None  # (T,) layers a cross-layer transcoder writes to
    groups: tuple[int, ...] | None = None  # sizes of a Matryoshka dictionary's nested groups, in order of features
    centred: bool = False  # trained on a residual stream whose mean over d_model was removed
    fold_value_biases: bool = False  # trained on heads' results (hook_z) without what value biases add to them
    model_name: str | None = None
    neuronpedia_id: str | None = None  # its model/source on Neuronpedia
    context_size: int | None = None
    prepend_bos: bool = True
    exclude_special: bool = False  # special tokens were left out in training
    format: str = ""  # who wrote it
    promised_l0: tuple[float, float] | None = None  # least and most features active on a token, as published
    promised_by: str = ""  # where that is said
    inferred: tuple[str, ...] = ()  # what the files do not say and the reader concluded, in sentences

    def __post_init__(self) -> None:
        assert self.activation in ACTIVATIONS, self.activation
        assert self.norm in NORMS, self.norm
        assert (self.targets is None) == (self.W_dec.ndim == 2), (self.targets, self.W_dec.shape)

    @property
    def d_in(self) -> int:
        """Width of the inputs."""
        return self.W_enc.shape[0]

    @property
    def d_sae(self) -> int:
        """Number of features."""
        return self.W_enc.shape[1]

    @property
    def d_out(self) -> int:
        """Width of what is written, to each layer when cross-layer."""
        return self.W_dec.shape[-1]

    @property
    def reads(self) -> tuple[str, bool, bool]:
        """Arguments of Model.hook_point for the place where it reads."""
        return self.hook_point, self.centred, self.fold_value_biases

    @property
    def kind(self) -> str:
        """sae; transcoder when it writes to another place than it reads; clt when it writes to several layers."""
        return "clt" if self.targets else "transcoder" if self.hook_point_out else "sae"

    @functools.cached_property
    def decoder_norms(self) -> torch.Tensor:
        """(n,) float32 norms of decoder vectors; of all layers' together when cross-layer."""
        dims = tuple(range(1, self.W_dec.ndim))
        norms: torch.Tensor = torch.linalg.vector_norm(self.W_dec, dim=dims, dtype=torch.float32)
        return norms

    @functools.cached_property
    def _rescaling(self) -> torch.Tensor:
        """(n,) norms of decoder vectors in the units of the output, never 0: pre-activations are multiplied by them."""
        norms = self.decoder_norms.clamp(min=1e-8)
        return norms / self._scale_out if self.norm == "scale" else norms

    @property
    def _scale_out(self) -> float:
        return self.scale if self.scale_out is None else self.scale_out

    @functools.cached_property
    def W_dec_total(self) -> torch.Tensor:
        """(n, d_out): what a feature adds to the residual stream in all; W_dec itself unless cross-layer."""
        return self.W_dec if self.targets is None else self.W_dec.sum(dim=1)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return every tensor by its name, such as W_enc."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in fields.items() if isinstance(value, torch.Tensor)}

    def to_sae_lens(self) -> Any:
        """Return the same dictionary as an SAE of the package sae_lens, on the CPU in float32.

        Raises Unavailable where sae_lens is not installed or has no form for it.
        """
        from ingest.sae_lens_object import make_object

        return make_object(self)

    def to(self, device: str) -> Sae:
        """Return the same on another device."""
        moved: dict[str, Any] = {name: value.to(device) for name, value in self.tensors().items()}
        return dataclasses.replace(self, **moved)

    def part(self, first: int, last: int) -> Sae:
        """Return the weights of features first .. last - 1 alone.

        What ranks features against others (k, groups) stays as it is, so a part does not encode: it is for its vectors.
        """
        if (first, last) == (0, self.d_sae):
            return self
        of_features = ("b_enc", "W_dec", "threshold", "r_mag", "b_mag", "rank_norms")
        cut = {
            name: value[first:last].clone()
            for name in of_features
            if (value := getattr(self, name)) is not None and value.ndim
        }
        return dataclasses.replace(self, W_enc=self.W_enc[:, first:last].clone(), **cut)

    def encode(self, x: torch.Tensor, start: int = 0, stop: int | None = None, top: Top | None = None) -> torch.Tensor:
        """Return float32 activations (t, stop - start) of features start .. stop - 1 (default: all) on inputs x (t,
        d_in).

        A top-k depends on all features: to encode several slices, pass `top(x)`, so that it is computed once.
        """
        stop = self.d_sae if stop is None else stop
        if self.activation in ("topk", "abstopk"):
            values, features = top or self.top(x)
            activations = values.new_zeros(len(values), stop - start)
            if (start, stop) == (0, self.d_sae):
                return activations.scatter_(1, features, values)
            inside = (features >= start) & (features < stop)
            return activations.scatter_add_(1, (features - start).clamp(0, stop - start - 1), values.where(inside, 0))
        x = self._normalise(x)
        if self.activation == "groupmax":
            return self._groupmax(x, start, stop)
        if self.activation == "gated":
            assert self.r_mag is not None and self.b_mag is not None
            raw: torch.Tensor = x @ self._encoder(start, stop)
            gate = raw + self.b_enc[start:stop] > 0
            magnitude = raw.mul_(self.r_mag[start:stop].exp()).add_(self.b_mag[start:stop]).relu_() * gate
            return magnitude.mul_(self._rescaling[start:stop]) if self.rescale_by_decoder_norm else magnitude
        pre = self._pre(x, start, stop)
        if self.activation == "relu":
            return pre.relu_()
        # In place and in one pass: at this size, memory limits the speed.
        return pre.masked_fill_(pre <= (self._bar if self._bar.ndim == 0 else self._bar[start:stop]), 0)

    def top(self, x: torch.Tensor) -> Top:
        """Return the k strongest features on inputs x (t, d_in). Works by slices: never holds more than a tile."""
        assert self.k is not None
        x = self._normalise(x)
        step = max(self.k, TILE // max(len(x), 1))
        best: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None  # rank, activation, feature
        for start in range(0, self.d_sae, step):
            stop = min(start + step, self.d_sae)
            pre = self._pre(x, start, stop)
            ranked = pre if self.rank_norms is None else pre * self.rank_norms[start:stop]
            if self.activation == "abstopk":
                ranked = ranked.abs()
            slice_top = ranked.topk(min(self.k, stop - start), dim=1)
            candidates = (slice_top.values, pre.gather(1, slice_top.indices), slice_top.indices + start)
            if best is not None:
                both = [torch.cat(pair, dim=1) for pair in zip(best, candidates, strict=True)]
                order = both[0].topk(min(self.k, both[0].shape[1]), dim=1).indices
                candidates = (both[0].gather(1, order), both[1].gather(1, order), both[2].gather(1, order))
            best = candidates
        assert best is not None
        keeps_sign = self.signed or self.activation == "abstopk"
        return Top(best[1] if keeps_sign else best[1].relu(), best[2])

    def _groupmax(self, x: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        assert self.k is not None
        size = self.d_sae // self.k
        first, last = start // size * size, -(-stop // size) * size  # whole groups
        groups = self._pre(x, first, last).relu_().view(len(x), -1, size)
        highest = groups.max(dim=2, keepdim=True)
        activations = torch.zeros_like(groups).scatter_(2, highest.indices, highest.values).flatten(1)
        return activations[:, start - first : stop - first]

    def _encoder(self, start: int, stop: int) -> torch.Tensor:
        return self.W_enc[:, start:stop].float()

    def _pre(self, x: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        pre = torch.addmm(self.b_enc[start:stop], x, self._encoder(start, stop))
        return pre.mul_(self._rescaling[start:stop]) if self.rescale_by_decoder_norm else pre

    @functools.cached_property
    def _bar(self) -> torch.Tensor:
        """(n,) or (): what a pre-activation must exceed."""
        assert self.threshold is not None
        bar = self.threshold if self.rank_norms is None else self.threshold / self.rank_norms
        if self.rescale_by_decoder_norm and self.norm == "scale":
            bar = bar / self._scale_out  # it was set in the units of the scaled output
        return bar if self.signed else bar.clamp(min=0)  # thresholds below 0 still need the relu

    def _normalise(self, x: torch.Tensor) -> torch.Tensor:
        x = x.float()
        if self.norm == "layer_norm":
            x = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-5)
        elif self.norm == "l2":
            x = x * (self.d_in**0.5 / x.norm(dim=-1, keepdim=True))
        elif self.norm == "scale":
            x = x * self.scale
        return x - self.b_dec if self.subtract_b_dec else x

    def decode(self, activations: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return what the dictionary writes, (t, d_out), given activations (t, n) and the inputs x (t, d_in) they came
        from.

        Cross-layer: what it adds to each layer, (t, T, d_out), without b_dec, which belongs to the layer and not to its
        writers; the skip is added at the first.
        """
        return self.complete(self.contribution(activations), x)

    def contribution(self, activations: torch.Tensor, start: int = 0) -> torch.Tensor:
        """Return what features from `start` on add to the output: (t, d_out), cross-layer (t, T, d_out).

        `activations` are theirs, (t, number of features). Contributions of slices add up to those of all.
        """
        stop = start + activations.shape[1]
        if self.rescale_by_decoder_norm:
            activations = activations / self._rescaling[start:stop]
        out = activations @ self.W_dec[start:stop].float().flatten(1)
        return out.view(len(out), *self.W_dec.shape[1:])

    def complete(self, out: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return the contribution of all features with bias and skip added, in the units of the output."""
        if self.targets is None:
            out = out + self.b_dec
        if self.denormalise:
            if self.norm == "layer_norm":
                out = out * x.std(-1, keepdim=True) + x.mean(-1, keepdim=True)
            elif self.norm == "l2":
                out = out * (x.norm(dim=-1, keepdim=True) / self.d_in**0.5)
        if self.norm == "scale":
            out = out / self._scale_out
        if self.W_skip is not None:  # it reads the input as it is, and so its output needs no other units
            skip: torch.Tensor = x.float() @ self.W_skip.T
            across = out.shape[1] - 1
            out = out + (skip if self.targets is None else torch.nn.functional.pad(skip[:, None], (0, 0, 0, across)))
        return out
