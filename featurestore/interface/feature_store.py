"""FeatureStore: what a local Store and a remote Client share.

Questions and changes are answered by each kind of store. The methods here are made of these, for both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

from featurestore.errors import BadRequest
from featurestore.ids import DictionariesLike, DictionaryLike, FeaturesLike
from featurestore.interface.changes import Changes
from featurestore.interface.questions import Questions
from featurestore.query import MAX_K, Mode, Over, Query, check_names
from featurestore.values.dictionary import Dictionary, pick_dictionary
from featurestore.values.feature import (
    FeatureLike,
    GivenLabel,
    id_text,
    id_texts,
    is_feature,
)
from featurestore.values.hits import Hits
from featurestore.values.lists import is_list_name
from featurestore.values.tables import require
from featurestore.weights import Weights, read_weights

if TYPE_CHECKING:
    import numpy
    import pyarrow

    from featurestore.display.plots import Picture


class FeatureStore(Questions, Changes):
    """A store of features. Use as a context manager, or call `close()`."""

    location: str

    def __init_subclass__(cls, **options: Any) -> None:
        """Let every question and change name the argument that was meant, where it has none of a given name."""
        super().__init_subclass__(**options)
        for name in FeatureStore.__abstractmethods__ & vars(cls).keys():
            method = vars(cls)[name]
            if not getattr(method, "__isabstractmethod__", False):
                setattr(cls, name, check_names(method))

    def close(self) -> None:
        """Close files and connections."""

    @check_names
    def search(
        self,
        text: str,
        *,
        mode: Mode | None = None,
        over: Over | Sequence[Over] = (),
        within: DictionariesLike | None = None,
        where: str | None = None,
        among: FeaturesLike | None = None,
        k: int = 10,
        all: bool = False,
        structural: bool | None = None,
        group: bool | None = None,
        cursor: str | None = None,
    ) -> Hits:
        """Returns the features whose labels match `text`, best first; the other arguments are fields of Query."""
        return self.run(Query.of(_list_fields(locals())))

    @check_names
    def nearest(
        self,
        to: FeaturesLike | Sequence[float] | numpy.ndarray,
        *,
        unlike: FeaturesLike = (),
        opposite: bool = False,
        space: str | None = None,
        within: DictionariesLike | None = None,
        where: str | None = None,
        among: FeaturesLike | None = None,
        k: int = 10,
        all: bool = False,
        structural: bool | None = None,
        group: bool | None = None,
        cursor: str | None = None,
    ) -> Hits:
        """Returns the features whose decoder vectors have the largest cosine to `to`: a feature, several, or a vector.

        The other arguments are fields of Query: directions of the features `unlike` are subtracted; `opposite` ranks by
        the opposite direction.
        """
        fields = _list_fields(locals())
        given: Any = fields.pop("to")
        if not is_feature(given) and not isinstance(given, Iterable):
            raise BadRequest(f"to: {given!r:.100} is no feature, no list of features and no vector")
        if isinstance(given, Iterator):
            given = list(given)
        is_vector = not is_feature(given) and not any(is_feature(item) for item in given)
        return self.run(Query.of(fields | {"vector" if is_vector else "near": given}))

    @check_names
    def rerank(
        self,
        text: str,
        ids: FeaturesLike,
        *,
        mode: Mode | None = None,
        over: Over | Sequence[Over] = (),
        within: DictionariesLike | None = None,
        where: str | None = None,
        k: int | None = None,
        all: bool = True,
        structural: bool | None = None,
        group: bool | None = None,
        cursor: str | None = None,
    ) -> Hits:
        """Returns these features, ranked by how well their labels match `text`, without those that have no label.

        `@name` among the ids stands for the features of a list. All are returned where `k` is not given; the other
        arguments are fields of Query.
        """
        fields = _list_fields(locals())
        among = id_texts(fields.pop("ids"))
        if k is None:
            fields["k"] = MAX_K if any(map(is_list_name, among)) else max(1, len(among))
        return self.run(Query.of(fields | {"among": among}))

    def set_label(self, id: FeatureLike, label: str, explainer: str = "human") -> None:
        """Write a label, which replaces the former one of `explainer`. Raises as `add_labels` does."""
        self.add_labels([GivenLabel(id=id_text(id), label=label, explainer=explainer)])

    @check_names
    def pages(
        self,
        *,
        text: str | None = None,
        near: FeaturesLike = (),
        vector: Sequence[float] | numpy.ndarray | None = None,
        unlike: FeaturesLike = (),
        opposite: bool = False,
        mode: Mode | None = None,
        over: Over | Sequence[Over] = (),
        space: str | None = None,
        within: DictionariesLike | None = None,
        where: str | None = None,
        among: FeaturesLike | None = None,
        k: int = 10,
        all: bool = False,
        structural: bool | None = None,
        group: bool | None = None,
        cursor: str | None = None,
    ) -> Iterator[Hits]:
        """Yields the answer to a query, whose fields these are, page by page, `k` hits each, to the end."""
        page_query = Query.of(_list_fields(locals()))
        while True:
            page = self.run(page_query)
            if page.hits or page_query.cursor is None:
                yield page
            if page.next is None:
                return
            page_query = msgspec.structs.replace(page_query, cursor=page.next)

    def dictionary(self, id: DictionaryLike) -> Dictionary:
        """Returns one dictionary, by its id or by its model/source on Neuronpedia.

        Raises NotFound, which names those of the store.
        """
        return pick_dictionary(self.dictionaries(), id)

    def vectors_to_arrow(
        self, dictionary: DictionaryLike, encoder: bool = False, target: int | None = None
    ) -> pyarrow.Table:
        """Returns a dictionary's vectors as a table: id, feature and vector, a list of fixed size.

        It shares the memory of `vectors(dictionary=...)`, and raises as that does.
        """
        from featurestore.values.matrix import Matrix

        matrix = self.vectors(dictionary=dictionary, encoder=encoder, target=target)
        return Matrix([matrix]).to_arrow(self.dictionary(dictionary).dictionary)

    def sae(self, dictionary: DictionaryLike, weights: str | Path | None = None) -> Weights:
        """Returns a dictionary's weights as torch tensors, read on this machine; `to_sae_lens()` is sae_lens's object.

        They are read from where the store says, or from `weights`, and must have the hash that the store has. Raises
        NotFound for another dictionary, Unavailable where the weights or torch are missing, and for a place that the
        store names and that may not be opened: SECURITY.md says which may.
        """
        entry = self.dictionary(dictionary)
        return read_weights(entry, self._may_open, weights if weights is not None else self._find_weights(entry))

    def _find_weights(self, entry: Dictionary) -> str | None:
        """Returns where on this machine a dictionary's weights are, other than where the store says; else None."""
        return None

    def _may_open(self, location: str) -> bool:
        """Returns whether a model or weights that the store names may be opened on this machine."""
        return False

    def plot_density(self, dictionary: DictionaryLike, bins: int = 60) -> Picture:
        """Returns a figure of matplotlib: how many features of a dictionary fire how often; dead ones are counted.

        Raises NotFound for another dictionary, Unavailable where matplotlib is not installed.
        """
        return self.plot_hist("density", dictionary=dictionary, bins=bins, log=True)

    def plot_hist(
        self,
        column: str,
        where: str = "true",
        dictionary: DictionaryLike | None = None,
        bins: int = 60,
        log: bool | None = None,
    ) -> Picture:
        """Returns a figure of matplotlib: how many features have which value of a numeric column of the view features.

        `where` is an SQL condition over that view. The axis is logarithmic where `log` says so, else by the values.
        Raises BadRequest for a column that has no numbers, and as `plot_density` does.
        """
        title, (values,) = self._read_columns([column], where, dictionary)
        from featurestore.display import plots

        return plots.plot_hist(values, column, title, bins, log)

    def plot_scatter(
        self, x: str, y: str, where: str = "true", dictionary: DictionaryLike | None = None, color: str | None = None
    ) -> Picture:
        """Returns a figure of matplotlib: a point for each feature by two numeric columns of the view features.

        `color` is a third one; all else is as in `plot_hist`.
        """
        columns = [x, y] if color is None else [x, y, color]
        title, values = self._read_columns(columns, where, dictionary)
        from featurestore.display import plots

        colors = None if color is None else values[2]
        return plots.plot_scatter(values[0], values[1], (x, y), title, colors, color or "")

    def _read_columns(
        self, columns: Sequence[str], where: str, dictionary: DictionaryLike | None
    ) -> tuple[str, list[numpy.ndarray]]:
        """Returns whose features these are, and the numbers of the columns; those without one are NaN."""
        import pyarrow

        require("matplotlib", "plot")
        for column in columns:
            if re.fullmatch("[a-z_]+", column) is None:
                raise BadRequest(f"column: '{column:.60}' is not a column of the view features, as density is")
        listed = ", ".join(columns)
        name = None if dictionary is None else self.dictionary(dictionary).dictionary
        if not where.strip():
            raise BadRequest("where: the condition is empty; leave it out to take all")
        # The condition may close its bracket, and does not reach beyond this one.
        statement = (
            f"SELECT {listed} FROM (FROM features WHERE $name IS NULL OR dictionary = $name) WHERE (\n{where}\n)"
        )
        rows = self.stream(statement, {"name": name}).to_arrow()
        for field in rows.schema:
            kinds = pyarrow.types
            if not (kinds.is_integer(field.type) or kinds.is_floating(field.type) or kinds.is_boolean(field.type)):
                raise BadRequest(f"column: {field.name} has no numbers but {field.type}")
        values = [rows.column(place).cast(pyarrow.float64()) for place in range(len(columns))]
        return name or self.location, [column.to_numpy(zero_copy_only=False) for column in values]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.location!r})"


def _list_fields(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a method, as its `locals()` are when it begins, without itself."""
    return {name: value for name, value in arguments.items() if name != "self"}
