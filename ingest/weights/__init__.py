"""Reads trained dictionaries from disk or the hub into an Sae, from every known published format.

Knows files, the hub and published formats. Knows nothing of models that run, of corpora or of stores.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from featurestore import BadRequest, NotFound, Unavailable
from ingest.weights.options import apply_options as apply_options

if TYPE_CHECKING:
    from ingest.sae import Sae
    from ingest.weights.place import Place

SHOWN = 12  # names in an error


def read(location: str | Path, *, lean: bool = False, registry: Path | None = None) -> Sae:
    """Returns the dictionary in a directory, a file, or on the hub (hf://org/repo//sub/dir@revision).

    Names of SAELens (saelens://release/id, or the release alone) are looked up in `registry`, its pretrained_saes.yaml,
    or in that of an installed sae-lens.

    Options behind a question mark replace what the files say: ./sae?scale=1.7&hook_point=blocks.3.hook_z;
    docs/weights.md lists them. `lean` leaves large matrices mapped in their file, in the file's number type: for
    dictionaries larger than memory, encoded in slices; the file must not change meanwhile.

    Raises NotFound or BadRequest, naming the file and what is missing or wrong.
    """
    try:
        from ingest.weights import hub, masked, place, stated_l0
        from ingest.weights import registry as registries
    except ImportError as exc:
        raise Unavailable(f"reading weights needs {exc.name}: pip install 'featurestore[harvest]'") from None
    plain, options = place.split_options(str(location))
    published = registries.find_published(plain, registry) if registries.is_name(plain) else None
    if published is not None:
        plain, options = place.split_options(place.with_options(published.location, **options))
    if plain.startswith("hf://"):
        path, words = hub.fetch(plain), plain
        recorded = plain
    else:
        path = Path(plain).absolute()  # it is recorded, and may be read again from another working directory
        words = recorded = str(path)
        if not path.exists():
            raise NotFound(f"no weights at {path}: there is no such directory or file")
    if (map := options.get("map", "")).endswith(".toml") and not (
        (path if path.is_dir() else path.parent) / map
    ).is_file():
        options["map"] = str(Path(map).absolute())  # it, too
    here = place.Place(path, place.with_options(recorded, **options), words, options, lean)
    sae = _read(here)
    here.check_tensors()
    if published is not None and published.neuronpedia_id is not None:
        sae = dataclasses.replace(sae, neuronpedia_id=published.neuronpedia_id)
    if sae.promised_l0 is None and published is not None and published.l0 is not None:
        sae = dataclasses.replace(sae, promised_l0=(published.l0, published.l0), promised_by="SAELens's registry")
    if sae.promised_l0 is None and (stated := stated_l0.find_stated_l0(here)):
        sae = dataclasses.replace(sae, promised_l0=(stated[0], stated[0]), promised_by=stated[1])
    return masked.settle(apply_options(sae, options), bool(options.get("drop_bad")))


def _read(here: Place) -> Sae:
    """Returns the dictionary by the first reader that recognises the place. Raises BadRequest if there is none."""
    from ingest.weights import formats, listing

    if reader := formats.reader_of(here):
        return reader.read(here)
    inside = listing.dictionaries_in(here.path) if here.path.is_dir() else []
    if len(inside) == 1:
        place = dataclasses.replace(here, path=here.path / inside[0], words=f"{here.words}/{inside[0]}")
        if reader := formats.reader_of(place):
            return reader.read(place)
    if len(inside) > 1:
        raise BadRequest(
            f"{here.path} holds {len(inside)} dictionaries; name one: "
            f"{listing.join_names(inside, SHOWN, here.location)}"
        )
    raise UnknownFormat(here)


class UnknownFormat(BadRequest):
    """Weights that no reader recognises. Says which files they are, what known formats lack, and proposes a map."""

    def __init__(self, place: Place):
        from ingest.weights import formats, proposal

        self.place = place
        names = [place.path.name] if place.path.is_file() else sorted(p.name for p in place.path.iterdir())
        hints = [
            f"for {reader.FORMAT}, {' and '.join(reader.FILES)} must be there"
            for reader in formats.READERS
            if set(reader.FILES) & set(names)
        ]
        self.proposals = proposal.propose(place)
        if self.proposals:
            hints = [
                "by names and shapes of its tensors it may be read as "
                f"{self.proposals[0].location}; featurestore inspect says more, and tries it with a model"
            ]
        known = f"known are {', '.join(reader.FORMAT for reader in formats.READERS)}"
        super().__init__(
            f"{place.path} is of no known format: it holds {', '.join(names[:6]) or 'nothing'}; "
            + ("; ".join(hints) or known)
        )
