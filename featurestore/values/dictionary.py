"""A dictionary of features, and the summary of a store. Frozen values."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from urllib.parse import quote

import msgspec

from featurestore.display import notebook
from featurestore.display.text import suggest
from featurestore.errors import NotFound
from featurestore.ids import DictionaryLike, dictionary_text
from featurestore.notes import NoteCode
from featurestore.values.tables import Listing

NEURONPEDIA = "https://www.neuronpedia.org"
# Of one dictionary. The largest that was published has 34 million; searches take memory for each, also one that a
# stranger's store only claims to have.
MOST_FEATURES = 100_000_000


class Dictionary(msgspec.Struct, frozen=True, kw_only=True):
    """One trained SAE or transcoder, or a set of vectors, whose features these are.

    Fields as in schema.sql, stored.dictionaries. What an import does not say is None.
    """

    dictionary: str
    model: str
    source: str
    kind: str
    architecture: str | None
    hook_point: str | None
    hook_point_out: str | None
    layer: int | None
    site: str | None
    d_in: int | None
    d_out: int | None
    d_sae: int
    space: str | None
    origin: str | None = None
    import_format: str | None = None
    import_location: str | None = None
    import_tool: str | None = None
    model_location: str | None
    model_hash: str | None
    weights_location: str | None
    weights_hash: str | None
    neuronpedia_id: str | None = None
    tokenizer: str | None
    corpus: str | None
    dataset: str | None = None
    prompts: int | None = None
    context_size: int | None
    tokens_counted: int | None
    tokens_excluded: int | None
    histogram_scale: int | None = None
    decimals: int | None = None
    settings: str | None
    tool: str
    created_at: datetime.datetime

    @property
    def neuronpedia_url(self) -> str | None:
        """Return the address of its page on Neuronpedia; None where it is not known to be there."""
        return None if self.neuronpedia_id is None else f"{NEURONPEDIA}/{quote(self.neuronpedia_id)}"

    def __repr__(self) -> str:
        place = f" at {self.hook_point}" if self.hook_point else ""
        return f"<Dictionary {self.dictionary}: {self.d_sae:,} features, {self.kind}{place}>"

    def _repr_html_(self) -> str:
        return notebook.render_dictionary(self)


class Dictionaries(Listing[Dictionary]):
    """The dictionaries of a store, ordered by id: a list that can be a table too."""

    def __init__(self, values: Iterable[Dictionary] = ()):
        super().__init__(Dictionary, values)

    def _repr_html_(self) -> str:
        columns = ("dictionary", "features", "kind", "layer", "hook point", "width", "tokens counted")
        rows = [
            (
                notebook.render_code(dictionary.dictionary),
                dictionary.d_sae,
                dictionary.kind,
                dictionary.layer,
                dictionary.hook_point,
                dictionary.d_out,
                dictionary.tokens_counted,
            )
            for dictionary in self
        ]
        return notebook.render_table(columns, rows)


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """How many of a dictionary's features have a label: their number, their share, and whose labels are shown."""

    dictionary: str
    features: int
    labelled: int
    share: float
    explainers: dict[str, int]


class StoreInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a store holds: rows, bytes and parts (files) of each table, its age, and the embedder of its label index.

    `label_rule` is the SQL expression by which the best label of a feature is chosen, `structural_rule` the one that
    says which features are structural. `note_codes` are the notes for programs, in the same order.
    """

    location: str
    format: int
    commit: int
    created_at: datetime.datetime | None
    changed_at: datetime.datetime | None
    dictionaries: int
    features: int
    labels: int
    rows: dict[str, int]
    bytes: dict[str, int]
    parts: dict[str, int]
    embedder: str | None
    label_rule: str
    structural_rule: str | None = None
    notes: tuple[str, ...] = ()
    note_codes: tuple[NoteCode, ...] = ()

    def __repr__(self) -> str:
        counts = f"{self.dictionaries} dictionaries, {self.features:,} features, {self.labels:,} labels"
        return f"<StoreInfo {self.location}: {counts}>"

    def _repr_html_(self) -> str:
        rows = [(name, n, self.bytes.get(name), self.parts.get(name)) for name, n in self.rows.items()]
        return notebook.render_table(("table", "rows", "bytes", "files"), rows, notes=self.notes)


def pick_dictionary(dictionaries: Sequence[Dictionary], given: DictionaryLike) -> Dictionary:
    """Return the dictionary with this id, or else the one that Neuronpedia calls so.

    Raises NotFound, which names the ids of the store.
    """
    id = dictionary_text(given)
    for dictionary in dictionaries:
        if dictionary.dictionary == id:
            return dictionary
    elsewhere = [dictionary for dictionary in dictionaries if dictionary.neuronpedia_id == id]
    if len(elsewhere) == 1:
        return elsewhere[0]
    names = ", ".join(dictionary.dictionary for dictionary in dictionaries[:8]) or "none"
    more = f" and {len(dictionaries) - 8} more" if len(dictionaries) > 8 else ""
    meant = suggest(id, (dictionary.dictionary for dictionary in dictionaries)) or ";"
    raise NotFound(f"no dictionary '{id}'{meant} there are: {names}{more}")
