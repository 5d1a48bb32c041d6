"""Query: what a search looks for. Python, the command line and HTTP build this one value, which is checked here."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

import msgspec
from msgspec import Meta

from featurestore.errors import BadRequest
from featurestore.ids import dictionary_texts, id_texts
from featurestore.refusals import describe_invalid, describe_unknown

Given = ParamSpec("Given")
Answer = TypeVar("Answer")
MAX_K = 10_000
MAX_FLOAT32 = 3.4028234663852886e38
# What other services and libraries call a field of Query.
OTHER_NAMES = dict.fromkeys(("limit", "n", "top_k", "topk", "count", "size", "num_results", "max_results"), "k") | {
    "query": "text",
    "q": "text",
    "search": "text",
    "filter": "where",
    "condition": "where",
    "page": "cursor",
    "dictionary": "within",
    "dictionaries": "within",
    "model": "within",
    "ids": "among",
    "features": "among",
    "id": "near",
    "feature": "near",
}

Mode = Literal["hybrid", "semantic", "keyword"]
Over = Literal["labels", "tokens", "logits", "examples"]
BY_WORDS = ("tokens", "logits")  # what `over` may name that is searched by words alone
_Text = Annotated[str, Meta(max_length=4000)]
_Ids = Annotated[tuple[str, ...], Meta(max_length=MAX_K)]


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to look for. Exactly one of `text`, `near` and `vector` is given; the rest narrows and shapes the answer."""

    text: Annotated[_Text | None, Meta(description="Words to find in labels.")] = None
    near: Annotated[
        _Ids, Meta(description="Feature ids: rank by cosine to the mean of their decoder vectors' directions.")
    ] = ()
    vector: Annotated[tuple[float, ...] | None, Meta(description="A vector: rank decoder vectors by cosine to it.")] = (
        None
    )
    unlike: Annotated[
        _Ids,
        Meta(
            description="Feature ids: the mean of their directions is subtracted from the direction that is searched."
        ),
    ] = ()
    opposite: Annotated[bool, Meta(description="Rank by the opposite direction: the lowest cosine first.")] = False
    mode: Annotated[
        Mode | None,
        Meta(description="How text is matched: by meaning, by words, or both (hybrid, the default)."),
    ] = None
    over: Annotated[
        tuple[Over, ...],
        Meta(
            description="What is searched: labels, the tokens that top examples fire on, the tokens whose logits "
            "are raised most, or examples by their meaning, where they are embedded. Default: labels, and in hybrid "
            "mode tokens and examples too."
        ),
    ] = ()
    space: Annotated[str | None, Meta(description="The space of the vector; needed if the store has several.")] = None
    within: Annotated[
        tuple[str, ...] | None,
        Meta(description="Only these dictionaries (model/source) or models; an empty list matches nothing."),
    ] = None
    where: Annotated[
        _Text | None, Meta(description="Only features for which this SQL condition over the view `features` holds.")
    ] = None
    among: Annotated[
        _Ids | None,
        Meta(
            description="Rank only these features, by id, or those of a list of the store, as @name; "
            "an empty list matches nothing."
        ),
    ] = None
    k: Annotated[int, Meta(description="Number of hits.", ge=1, le=MAX_K)] = 10
    all: Annotated[bool, Meta(description="Include dead and always-on features, which are hidden by default.")] = False
    structural: Annotated[
        bool | None,
        Meta(
            description="false leaves out structural features, which fire by the place of a token and not by meaning; "
            "true gives these alone."
        ),
    ] = None
    group: Annotated[
        bool | None,
        Meta(
            description="Show hits with the same label and nearly the same decoder vector (cosine > 0.9) as one. "
            "On by default for text, unless `among` is given."
        ),
    ] = None
    cursor: Annotated[_Text | None, Meta(description="The `next` of the previous page.")] = None

    @classmethod
    def of(cls, fields: Mapping[str, Any], *, strict: bool = True) -> Query:
        """Returns the query with these fields; None stands for a field that is not given.

        Features and dictionaries may be given in any form that has their ids, one alone in the place of several.

        With `strict=False` numbers and truth values may be written as strings. Raises BadRequest, naming the field, for
        fields that make no query.
        """
        unknown = [name for name in fields if name not in cls.__struct_fields__]
        if unknown:
            raise BadRequest(describe_unknown(unknown[0], cls.__struct_fields__, OTHER_NAMES))
        values = {name: value for name, value in fields.items() if value is not None}
        values |= {name: tuple(id_texts(values[name])) for name in FEATURES if name in values}
        if "within" in values:
            values["within"] = tuple(dictionary_texts(values["within"]))
        # `over="tokens"` reads better than a tuple of one, so both are taken.
        values |= {name: (values[name],) for name in MANY if isinstance(values.get(name), str)}
        if hasattr(values.get("vector"), "tolist"):  # an array of NumPy or torch
            values["vector"] = _list_numbers(values["vector"])
        try:
            query = msgspec.convert(values, cls, strict=strict)
        except msgspec.ValidationError as exc:
            raise BadRequest(describe_invalid(cls, values, exc)) from None
        query._check()
        return query

    @classmethod
    def from_text(cls, texts: Mapping[str, Sequence[str]]) -> Query:
        """Returns the query of a URL or a shell, where every value is a string and a field has a list of them.

        Raises BadRequest as `of` does, and for a field of one value that has several.
        """
        fields: dict[str, Any] = {}
        for name, values in texts.items():
            if name in cls.__struct_fields__ and name not in MANY and len(values) > 1:
                raise BadRequest(f"{name}: given {len(values)} times, takes one value")
            fields[name] = values if name in MANY else values[0]
        if "vector" in fields:
            fields["vector"] = fields["vector"].split(",")
        for name in ("group", "structural"):
            if str(fields.get(name)).lower() == "null":  # which msgspec would take for a field that is not given
                raise BadRequest(f"{name}: 'null' is neither true nor false")
        return cls.of(fields, strict=False)

    def _check(self) -> None:
        subjects = [name for name in ("text", "near", "vector") if getattr(self, name) not in (None, ())]
        if len(subjects) != 1:
            listed = " and ".join(subjects) if subjects else "none of them"
            raise BadRequest(f"a query takes exactly one of text, near and vector; given: {listed}")
        if self.text is not None:
            if not self.text.strip():
                raise BadRequest("text: nothing to search for, the text is empty")
            for name in ("unlike", "opposite", "space"):
                if getattr(self, name):
                    raise BadRequest(f"{name}: it goes with near or vector, but the query has a text")
            by_words = [name for name in self.over if name in BY_WORDS]
            if self.mode == "semantic" and by_words:
                raise BadRequest(
                    f"mode: semantic is about labels and examples; {by_words[-1]} are searched by words (mode keyword)"
                )
            if self.mode == "keyword" and "examples" in self.over:
                raise BadRequest(
                    "mode: keyword is about words; examples are searched by meaning (mode semantic), and the words in "
                    "them with over tokens"
                )
        elif self.mode is not None or self.over:
            name, value = ("mode", self.mode) if self.mode else ("over", ", ".join(self.over))
            raise BadRequest(f"{name}: {value} says how text is matched, but the query has no text")
        if self.vector is not None and not any(self.vector):
            raise BadRequest("vector: all its numbers are zero, so it has no direction")
        # Decoder vectors are compared in 32 bits, where larger numbers are infinite.
        if self.vector is not None and not all(abs(x) <= MAX_FLOAT32 for x in self.vector):
            raise BadRequest("vector: every number must be finite; NaN or infinity found")

    @property
    def grouped(self) -> bool:
        """Whether hits of the same label and nearly the same decoder vector are shown as one."""
        return self.text is not None and not self.among if self.group is None else self.group

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields that differ from their defaults, as values that JSON has a form for."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields


# The fields that take features.
FEATURES = ("near", "unlike", "among")
# The fields that take several values.
MANY = frozenset({"within", "among"} | {field.name for field in msgspec.structs.fields(Query) if field.default == ()})


# What people call an argument of a method that is no field of a query; the first that the method has is meant.
OTHER_ARGUMENTS = (
    *((name, "examples") for name in ("k", "n", "limit", "n_examples", "max_examples", "top_k")),
    *(("limit", "max_rows"), ("rows", "max_rows"), ("n", "max_rows")),
    *((name, "statement") for name in ("query", "sql", "q")),
    *((name, "parameters") for name in ("params", "args", "values")),
    *((name, "dictionary") for name in ("within", "dictionaries", "sae", "model")),
    *((name, "ids") for name in ("id", "feature", "features")),
    *((name, "id") for name in ("ids", "feature", "features", "feature_id")),
    *((name, "feature") for name in ("id", "ids")),
    *((name, "text") for name in ("prompt", "query", "texts")),
    *((name, "texts") for name in ("text", "prompts", "positive")),
    *((name, "against") for name in ("other", "others", "negative")),
    *((name, "cosine") for name in ("threshold", "min_cosine", "similarity")),
    *((name, "slug") for name in ("id", "name", "graph")),
    *((name, "graph") for name in ("id", "name", "slug")),
    *((name, "sql") for name in ("query", "statement", "q")),
    *((name, "to") for name in ("id", "near", "feature", "vector", "ids")),
    *((name, "name") for name in ("list", "id", "slug")),
    *((name, "given") for name in ("labels", "label")),
    *((name, "label") for name in ("text", "description", "explanation")),
)


def find_other_names(names: Sequence[str]) -> dict[str, str]:
    """Return what people call these arguments, by their other names."""
    known = reversed((*OTHER_NAMES.items(), *OTHER_ARGUMENTS))
    return {other: name for other, name in known if name in names and other not in names}


def check_names(method: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """Return a method that raises BadRequest for an argument it does not have, and names the one that was meant.

    Python's own TypeError would not say what was meant.
    """
    kinds = signature(method).parameters.items()
    names = [name for name, each in kinds if each.kind is each.KEYWORD_ONLY]
    names = names or [name for name, _ in kinds if name != "self"]
    others = find_other_names(names)

    @functools.wraps(method)
    def _call(*args: Given.args, **kwargs: Given.kwargs) -> Answer:
        unknown = next((name for name in kwargs if name not in parameters), None)
        if unknown is not None:
            raise BadRequest(describe_unknown(unknown, names, others))
        return method(*args, **kwargs)

    parameters = frozenset(signature(method).parameters)
    return _call


def _list_numbers(vector: Any) -> list[Any]:
    """Return an array as a list, of 32-bit numbers with the digits that they have: a request is half as long.

    Raises BadRequest for an array of several dimensions.
    """
    if getattr(vector, "ndim", 1) != 1:
        shape = " x ".join(map(str, vector.shape)) or "no"
        raise BadRequest(f"vector: one vector is wanted, as many numbers in a row; this is an array of {shape} numbers")
    if str(getattr(vector, "dtype", "")).rpartition(".")[2] == "float32":
        from featurestore.display.float32 import round_floats32  # not with the module: it loads pyarrow

        return round_floats32(vector.tolist())
    return vector.tolist()  # type: ignore[no-any-return]
