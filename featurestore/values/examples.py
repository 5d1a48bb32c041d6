"""Examples of what features fire on. Frozen values; many of them are a table too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, SupportsIndex, cast, overload

import msgspec

from featurestore.display import notebook
from featurestore.display.characters import merge_activations
from featurestore.display.text import quote_label
from featurestore.values.kinds import Band
from featurestore.values.tables import Tabular, arrow_fields

if TYPE_CHECKING:
    import pyarrow


class Example(msgspec.Struct, frozen=True):
    """A window of tokens around one activation.

    `activations` has one value for each token, 0 where the feature is silent. `start` is the place of the window's
    first token in its document, `position` that of the token with `activation`, None in a window where the feature is
    silent. Examples that are `held_out` are for scoring: explainers do not see them. `band_share`, `repeated` and
    `extra` are of imported examples, see schema.sql.
    """

    band: Band
    band_low: float | None
    band_high: float | None
    rank: int
    weight: float | None
    corpus: str
    document: int
    document_name: str | None
    held_out: bool
    start: int
    position: int | None
    activation: float
    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    band_share: float | None = None
    repeated: bool | None = None
    extra: str | None = None

    @property
    def peak(self) -> int:
        """The place in the window of the token with `activation`; -1 in a silent window."""
        return -1 if self.position is None else self.position - self.start

    def marked(self, threshold: float = 0.0) -> str:
        """Return the window's text, each token with an activation above `threshold` by magnitude in << and >>."""
        return "".join(
            f"<<{token}>>" if abs(value) > threshold else token
            for token, value in zip(self.tokens, merge_activations(self.tokens, self.activations), strict=True)
        )

    def __repr__(self) -> str:
        return f"<Example {self.band} #{self.rank}, {self.activation:.4g}: {quote_label(self.marked())}>"


class FeatureExample(Example, frozen=True, kw_only=True):
    """An example of the feature `id`, among those of several features."""

    id: str

    @classmethod
    def of(cls, id: str, example: Example) -> FeatureExample:
        """Return the example as one of this feature."""
        return cls(*(getattr(example, name) for name in Example.__struct_fields__), id=id)


class Examples(tuple[Example, ...], Tabular):
    """Examples of one feature, or of several: a tuple that can be a table too.

    Its table begins with the feature's id and the text, in which tokens with an activation are in << and >>; the other
    columns are the fields of Example.
    """

    id: str | None

    def __new__(cls, values: Iterable[Example] = (), id: str | None = None) -> Examples:
        """`id` is the feature that all of them are of; without it each is a FeatureExample, and has its own."""
        examples = super().__new__(cls, values)
        examples.id = id
        return examples

    @overload
    def __getitem__(self, i: SupportsIndex) -> Example: ...
    @overload
    def __getitem__(self, i: slice) -> Examples: ...
    def __getitem__(self, i: SupportsIndex | slice) -> Example | Examples:
        return Examples(super().__getitem__(i), self.id) if isinstance(i, slice) else super().__getitem__(i)

    def _list_ids(self) -> list[str]:
        return [self.id if self.id is not None else cast(FeatureExample, example).id for example in self]

    def _list_rows(self) -> tuple[type[msgspec.Struct], Sequence[msgspec.Struct]]:
        return Example, self

    def to_arrow(self) -> pyarrow.Table:
        """Return a pyarrow.Table with a row for each example; its types do not depend on the examples."""
        import pyarrow

        columns = {
            "id": pyarrow.array(self._list_ids(), pyarrow.string()),
            "text": pyarrow.array([example.marked() for example in self], pyarrow.string()),
        }
        # Column by column: a dictionary for each example would take longer than all the rest.
        for field in arrow_fields(Example):
            columns[field.name] = pyarrow.array([getattr(example, field.name) for example in self], field.type)
        return pyarrow.table(columns)

    def __repr__(self) -> str:
        first = f": {quote_label(self[0].marked())}{', ...' if len(self) > 1 else ''}" if self else ""
        return f"<Examples {len(self)}{first}>"

    def _repr_html_(self) -> str:
        largest = max((abs(example.activation) for example in self), default=None)
        rows = [
            (
                notebook.render_code(id),
                example.band,
                example.activation,
                notebook.render_tokens(example.tokens, example.activations, largest),
            )
            for id, example in zip(self._list_ids(), self, strict=True)
        ]
        return notebook.render_table(("feature", "band", "activation", "example"), rows)
