"""SAELens's covariance_whitening: the statistics beside a checkpoint, folded into its weights as SAELens does."""

from __future__ import annotations

import dataclasses

import torch

from featurestore import BadRequest
from ingest.sae import Sae
from ingest.weights.place import Place

FILE = "activation_whitening.safetensors"


def fold_whitening(place: Place, sae: Sae) -> Sae:
    """Returns the dictionary that reads the model's own activations x instead of z = (x - mean) M.

    Decoder norms that rank features are those of the whitened space, so they are folded in first. Raises BadRequest
    without the statistics, or for a transcoder, whose output has no statistics. Finished dictionaries of SAELens have
    them folded in and say normalize_activations none.
    """
    file = place.folder / FILE
    if not file.is_file():
        raise BadRequest(
            f"{place.folder}: normalize_activations is covariance_whitening, but {FILE} is not beside it: fetch it "
            "from the checkpoint, or save the dictionary with SAELens, which folds it in"
        )
    if sae.hook_point_out is not None:
        raise BadRequest(f"{place.folder}: covariance_whitening of a transcoder: its output has no statistics")
    statistics = place.tensors(file, "cfg.json", d=sae.d_in)
    mean, matrix = statistics.take("mean", "d"), statistics.take("matrix", "d d")
    inverse = statistics.take("inverse_matrix", "d d")
    W_enc, W_dec, b_enc, b_mag = sae.W_enc.float(), sae.W_dec.float(), sae.b_enc, sae.b_mag
    if sae.rescale_by_decoder_norm:
        norms = sae.decoder_norms.clamp(min=1e-8)
        W_enc, b_enc, W_dec = W_enc * norms, b_enc * norms, W_dec / norms[:, None]
    W_enc = matrix @ W_enc
    if not sae.subtract_b_dec:  # otherwise the new b_dec takes the mean away
        shift = mean @ W_enc
        b_enc = b_enc - shift
        if b_mag is not None and sae.r_mag is not None:
            b_mag = b_mag - shift * sae.r_mag.exp()
    return dataclasses.replace(
        sae,
        W_enc=W_enc,
        b_enc=b_enc,
        b_mag=b_mag,
        W_dec=torch.matmul(W_dec, inverse),
        b_dec=sae.b_dec @ inverse + mean,
        rescale_by_decoder_norm=False,
        inferred=(*sae.inferred, f"the whitening of {FILE} is folded into the weights"),
    )
