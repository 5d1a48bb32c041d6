"""The one question every search asks: Python, the command line and HTTP all build this value, here, and only here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from featurestore.errors import BadRequest

MAX_K = 10_000
MAX_FLOAT32 = 3.4028234663852886e38

_Text = Annotated[str, Meta(max_length=4000)]


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to look for. Exactly one of `text`, `near` and `vector` says it; the rest narrows and shapes the answer."""

    text: Annotated[_Text | None, Meta(description="Words to find in labels.")] = None
    near: Annotated[str | None, Meta(description="A feature id: rank by cosine to its decoder vector.")] = None
    vector: Annotated[tuple[float, ...] | None, Meta(description="A vector: rank decoder vectors by cosine to it.")] = (
        None
    )
    mode: Annotated[
        Literal["hybrid", "semantic", "keyword"] | None,
        Meta(description="How text is matched: by meaning, by words, or both (hybrid, the default)."),
    ] = None
    space: Annotated[
        str | None, Meta(description="The coordinates a vector lives in; needed when the store has several.")
    ] = None
    within: Annotated[tuple[str, ...], Meta(description="Only these dictionaries (model/source) or models.")] = ()
    where: Annotated[
        _Text | None, Meta(description="Only features for which this SQL condition over the view `features` holds.")
    ] = None
    k: Annotated[int, Meta(description="How many hits.", ge=1, le=MAX_K)] = 10
    all: Annotated[bool, Meta(description="Also dead and always-on features, which are hidden otherwise.")] = False

    @classmethod
    def of(cls, strict: bool = True, **fields: Any) -> Query:
        """The query with these fields (None means not given). Raises BadRequest, naming the field, when they make none."""
        given = {name: value for name, value in fields.items() if value is not None}
        try:
            query = msgspec.convert(given, cls, strict=strict)
        except msgspec.ValidationError as exc:
            what, _, where = str(exc).partition(" - at `$.")
            raise BadRequest(f"{where.rstrip('`')}: {what}" if where else what) from None
        return query._checked()

    @classmethod
    def from_text(cls, given: dict[str, list[str]]) -> Query:
        """The query in a URL's or a shell's words: every value a string, several for a field that takes many."""
        many = {field.name for field in msgspec.structs.fields(cls) if isinstance(field.default, tuple)}
        repeated = [name for name, values in given.items() if name not in many and len(values) > 1]
        if repeated:
            raise BadRequest(f"{repeated[0]}: given {len(given[repeated[0]])} times, takes one value")
        fields: dict[str, Any] = {name: values if name in many else values[0] for name, values in given.items()}
        if "vector" in fields:
            fields["vector"] = fields["vector"].split(",")
        return cls.of(strict=False, **fields)

    def _checked(self) -> Query:
        asked = [name for name in ("text", "near", "vector") if getattr(self, name) is not None]
        if len(asked) != 1:
            found = " and ".join(asked) if asked else "none of them"
            raise BadRequest(f"a query takes exactly one of text, near and vector; given: {found}")
        if self.text is not None and not self.text.strip():
            raise BadRequest("text: nothing to search for, the text is empty")
        if self.mode is not None and self.text is None:
            raise BadRequest(f"mode: {self.mode} says how text is matched, but the query has no text")
        if self.vector is not None and not any(self.vector):
            raise BadRequest("vector: all its numbers are zero, so it has no direction")
        # Decoder vectors are compared in 32 bits, where larger numbers are infinite.
        if self.vector is not None and not all(abs(x) <= MAX_FLOAT32 for x in self.vector):
            raise BadRequest("vector: every number must be finite; NaN or infinity found")
        return self

    def to_dict(self) -> dict[str, Any]:
        """The fields that were given, as JSON-ready values."""
        return msgspec.to_builtins(self)
