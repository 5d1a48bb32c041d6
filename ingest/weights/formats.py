"""The readers of weights, in the order they are tried: formats with unique names before those that share names."""

from __future__ import annotations

from typing import Protocol

from ingest.sae import Sae
from ingest.weights.place import Place
from ingest.weights.readers import (
    circuit_tracer,
    dictionary_learning,
    gemma_scope,
    gemma_scope_2,
    llama_scope,
    mapped,
    openai,
    openmoss,
    qwen_scope,
    saelens,
    single_files,
    sparsify,
)


class Reader(Protocol):
    """A module that reads one format: FORMAT is its name, FILES the files that must exist."""

    @property
    def FORMAT(self) -> str: ...

    @property
    def FILES(self) -> tuple[str, ...]: ...

    def recognises(self, place: Place) -> bool:
        """Tells whether the place holds files of this format."""

    def read(self, place: Place) -> Sae:
        """Returns the dictionary. Raises BadRequest."""


READERS: list[Reader] = [
    mapped,  # the user's own word
    saelens,
    sparsify,
    llama_scope,
    openmoss,
    gemma_scope_2,
    gemma_scope,
    circuit_tracer,
    qwen_scope,
    openai,
    single_files,
    dictionary_learning,
]


def reader_of(place: Place) -> Reader | None:
    """Returns the first reader that recognises the place; None without one."""
    for reader in READERS:
        if reader.recognises(place):
            return reader
    return None
