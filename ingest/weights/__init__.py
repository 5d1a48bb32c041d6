"""Trained dictionaries on disk or on the hub: one small reader for each published format, all giving an Sae."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurestore import BadRequest, NotFound, Unavailable

if TYPE_CHECKING:
    from ingest.sae import Sae
    from ingest.weights.place import Place

SHOWN = 12  # names in an error


def read(location: str | Path, *, lean: bool = False) -> Sae:
    """The dictionary in a directory, a file, or on the hub (hf://org/repo//sub/dir@revision).

    What the user knows better than the files stands behind a question mark: ./sae?scale=1.7&hook_point=blocks.3.hook_z;
    docs/weights.md has the list. `lean` leaves large matrices mapped in their file, in the type they have there: for
    dictionaries that memory does not hold, encoded in slices; the file must then stay as it is.
    Raises NotFound or BadRequest saying what is missing or wrong, and where.
    """
    try:
        from ingest.weights import hub, place
    except ImportError as exc:
        raise Unavailable(f"reading weights needs {exc.name}: pip install 'featurestore[harvest]'") from None
    plain, options = place.split_options(str(location))
    if plain.startswith("hf://"):
        path, words = hub.fetch(plain), plain
        recorded = plain
    else:
        path = Path(plain).absolute()  # it is recorded, and read again from wherever the reader then is
        words = recorded = str(path)
        if not path.exists():
            raise NotFound(f"no weights at {path}: there is no such directory or file")
    here = place.Place(path, place.with_options(recorded, **options), words, options, lean)
    return applied(_read(here), options)


def _read(here: Place) -> Sae:
    from ingest.weights import formats, listing

    for reader in formats.READERS:
        if reader.recognises(here):
            return reader.read(here)
    inside = listing.dictionaries_in(here.path) if here.path.is_dir() else []
    if len(inside) == 1:
        place = dataclasses.replace(here, path=here.path / inside[0], words=f"{here.words}/{inside[0]}")
        for reader in formats.READERS:
            if reader.recognises(place):
                return reader.read(place)
    if len(inside) > 1:
        raise BadRequest(
            f"{here.path} holds {len(inside)} dictionaries; name one: {listing.shown(inside, SHOWN, here.location)}"
        )
    there = [here.path.name] if here.path.is_file() else sorted(p.name for p in here.path.iterdir())
    hints = [
        f"for {reader.FORMAT}, {' and '.join(reader.FILES)} must be there"
        for reader in formats.READERS
        if set(reader.FILES) & set(there)
    ]
    raise BadRequest(
        f"{here.path} is of no known format: it holds {', '.join(there[:6]) or 'nothing'}; "
        + ("; ".join(hints) or f"known are {', '.join(reader.FORMAT for reader in formats.READERS)}")
    )


def applied(sae: Sae, options: dict[str, Any]) -> Sae:
    """The dictionary with what a user says instead of what the files say. Raises BadRequest where that cannot be."""
    from ingest.sae import NORMS

    said = {name: value for name, value in options.items() if name != "layer"}
    if (times := said.pop("threshold_times", None)) is not None:
        if sae.threshold is None:
            raise BadRequest(f"{sae.location}: threshold_times is given, but {sae.architecture} has no thresholds")
        said["threshold"] = sae.threshold * times
    if said.pop("transposed", False):
        if not sae.W_enc.shape == sae.W_dec.shape == sae.W_enc.T.shape:
            raise BadRequest(f"{sae.location}: transposed is given, but W_enc is {tuple(sae.W_enc.shape)}, not square")
        said |= {"W_enc": sae.W_enc.T, "W_dec": sae.W_dec.T}
    if said.get("norm", sae.norm) not in NORMS or (said.get("norm") == "scale" and "scale" not in said):
        raise BadRequest(
            f"{sae.location}: norm is '{said['norm']}'; it is one of none, l2, layer_norm, or scale=NUMBER is given"
        )
    if "scale" in said:
        if not said["scale"] > 0:
            raise BadRequest(f"{sae.location}: scale is {said['scale']}; a number above 0 is wanted")
        said |= {"norm": "scale", "scale_out": None}
    if "k" in said and not (sae.k is not None and 1 <= said["k"] <= sae.d_sae):
        raise BadRequest(f"{sae.location}: k is {said['k']}; {sae.architecture} of {sae.d_sae} features cannot have it")
    if said.get("subtract_b_dec") and sae.d_in != sae.d_out:
        raise BadRequest(
            f"{sae.location}: subtract_b_dec is true, but it reads {sae.d_in} numbers and writes {sae.d_out}"
        )
    return dataclasses.replace(sae, **said) if said else sae
