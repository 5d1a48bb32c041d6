"""Trained dictionaries on disk: one small reader for each published format, all giving an Sae."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from featurestore import BadRequest, NotFound, Unavailable

if TYPE_CHECKING:
    from ingest.sae import Sae


def read(location: str | Path) -> Sae:
    """The dictionary in a directory. Raises NotFound or BadRequest saying what is missing or wrong, and where."""
    path = Path(location).absolute()  # it is recorded, and read again from wherever the reader then is
    if not path.exists():
        raise NotFound(f"no weights at {path}: there is no such directory")
    if not path.is_dir():
        raise BadRequest(f"{path} is a file; name the directory that holds the dictionary's files")
    try:
        from ingest.weights import saelens
    except ImportError as exc:
        raise Unavailable(f"reading weights needs {exc.name}: pip install 'featurestore[harvest]'") from None
    # Each format is recognised from its files.
    readers = (saelens,)
    for reader in readers:
        if reader.recognises(path):
            return reader.read(path)
    names = ", ".join(sorted(p.name for p in path.iterdir())[:6]) or "nothing"
    raise BadRequest(
        f"{path} is of no known format: it holds {names}; for SAELens's, {saelens.CONFIG} and {saelens.WEIGHTS} must be there"
    )
