"""Facts from weights alone: shapes, norms, how encoder and decoder align, duplicate features."""

from __future__ import annotations

from typing import Any

import numpy
import torch

from ingest.sae import Sae
from ingest.statistics.logits import compute_norms

NEAR = 0.98  # cosine of decoder rows that count as near duplicates
BANDS, WITHIN = 14, 8  # hash tables, and rows of a bucket that each row is compared with
OUTLIER = 8.0  # spreads from the median that a norm may be away
SHOWN = 10
FEATURES = 65_536  # in a block


def facts(sae: Sae) -> dict[str, Any]:
    """Returns the facts as one flat mapping of names to numbers, words and lists."""
    decoder, encoder, cosine = _norms(sae)
    result = _describe(sae) | {
        "decoder_norm_smallest": float(decoder.min()),
        "decoder_norm_mean": float(decoder.mean()),
        "decoder_norm_largest": float(decoder.max()),
        "encoder_norm_mean": float(encoder.mean()),
    }
    if cosine is not None:
        known = cosine[cosine.isfinite()]
        result["encoder_decoder_cosine_median"] = float(known.median()) if len(known) else None
        result["encoder_decoder_cosine_negative"] = int((known < 0).sum())
    rows = sae.W_dec.flatten(1)
    same, near, pairs = duplicates(rows)
    odd = outliers(decoder)
    return result | {
        "decoder_rows_zero": int((decoder == 0).sum()),
        "decoder_rows_same_as_another": same,
        "decoder_rows_near_another": near,
        "nearest_pairs": [[a, b, round(value, 4)] for a, b, value in pairs[:SHOWN]],
        "decoder_norm_outliers": len(odd),
        "decoder_norm_outliers_first": odd[:SHOWN],
        "promised_l0": list(sae.promised_l0) if sae.promised_l0 else None,
        "promised_by": sae.promised_by or None,
        "inferred": list(sae.inferred),
        "weights_hash": sae.hash,
    }


def _describe(sae: Sae) -> dict[str, Any]:
    """Returns the facts that the dictionary's fields say."""
    return {
        "location": sae.location,
        "format": sae.format,
        "kind": sae.kind,
        "architecture": sae.architecture,
        "model_name": sae.model_name,
        "hook_point": sae.hook_point,
        "hook_point_out": sae.hook_point_out,
        "targets": list(sae.targets) if sae.targets else None,
        "d_in": sae.d_in,
        "d_out": sae.d_out,
        "d_sae": sae.d_sae,
        "norm": sae.norm if sae.norm != "scale" else f"scale {sae.scale:.6g}",
        "subtracts_b_dec": sae.subtract_b_dec,
        "centred": sae.centred,
        "fold_value_biases": sae.fold_value_biases,
        "trained_on_context": sae.context_size,
        "prepend_bos": sae.prepend_bos,
    }


def _norms(sae: Sae) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Returns logits.norms of all features, block by block: float32 copies of lean weights would not fit in memory."""
    parts = [compute_norms(sae, first, min(first + FEATURES, sae.d_sae)) for first in range(0, sae.d_sae, FEATURES)]
    decoder, encoder = (torch.from_numpy(numpy.concatenate([part[at] for part in parts])) for at in (0, 1))
    cosines = [part[2] for part in parts if part[2] is not None]
    return decoder, encoder, torch.from_numpy(numpy.concatenate(cosines)) if cosines else None


def outliers(values: torch.Tensor) -> list[int]:
    """Returns the features whose norm is further than OUTLIER spreads from the median, the furthest first.

    The spread is 1.4826 times the median distance (a normal distribution's deviation), and at least a thousandth of the
    median.
    """
    median = values.median()
    away = (values - median).abs()
    spread = torch.maximum(1.4826 * away.median(), 1e-3 * median.abs())
    far = (away > OUTLIER * spread).nonzero().squeeze(1)
    return far[away[far].argsort(descending=True, stable=True)].tolist()


@torch.inference_mode()
def duplicates(rows: torch.Tensor) -> tuple[int, int, list[tuple[int, int, float]]]:
    """Returns the number of rows (n, d) equal to another, of rows near another, and the near pairs, nearest first.

    Rows are near if their cosine is NEAR or more. Candidates share a random-hyperplane hash (Charikar 2002) in one of
    BANDS tables; their cosines are then exact. A pair of cosine 0.98 is missed about once in a thousand times, one of
    0.99 hardly ever; no n x n array is made. Among many similar rows not every pair is listed, but every row counts.
    """
    n, d = rows.shape
    if n < 2:
        return 0, 0, []
    generator = torch.Generator().manual_seed(0)
    bits = max(8, min(20, n.bit_length()))
    lengths = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32)
    cosines: dict[tuple[int, int], float] = {}
    same = torch.zeros(n, dtype=torch.bool)
    powers = 2 ** torch.arange(bits)
    for _ in range(BANDS):
        planes = torch.randn(d, bits, generator=generator)
        code = torch.cat([((part.float() @ planes) > 0).long() @ powers for part in torch.split(rows, 1 << 14)])
        code, order = code.sort(stable=True)
        for step in range(1, min(WITHIN, n - 1) + 1):
            beside = (code[:-step] == code[step:]).nonzero().squeeze(1)
            for positions in torch.split(beside, 1 << 14):
                a, b = order[positions], order[positions + step]
                cosine = (rows[a].float() * rows[b].float()).sum(1) / (lengths[a] * lengths[b])
                close = (cosine >= NEAR).nonzero().squeeze(1)
                for i in close.tolist():
                    pair = (min(int(a[i]), int(b[i])), max(int(a[i]), int(b[i])))
                    cosines[pair] = min(float(cosine[i]), 1.0)
                equal = close[(rows[a[close]] == rows[b[close]]).all(1)]
                same[a[equal]] = same[b[equal]] = True
    near = {feature for pair in cosines for feature in pair}
    pairs = sorted(((a, b, value) for (a, b), value in cosines.items()), key=lambda pair: (-pair[2], pair[0], pair[1]))
    return int(same.sum()), len(near), pairs
