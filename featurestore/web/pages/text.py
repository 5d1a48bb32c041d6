"""The page of a text: which features fire on it or on one of its tokens, and how it differs from another text."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple
from urllib.parse import urlencode

import msgspec
from flask import g, render_template
from flask.typing import ResponseReturnValue
from msgspec import Meta

from featurestore.display.characters import find_first, merge_activations
from featurestore.display.tokens import choose_shade, show_controls
from featurestore.errors import FeatureStoreError
from featurestore.interface import FeatureStore
from featurestore.values.feature import id_text
from featurestore.values.hits import Activating, ActiveFeature
from featurestore.web.pages.examples import TEXTS
from featurestore.web.pages.page import Page
from featurestore.web.requests import read
from featurestore.wire.limits import MOST_TEXT
from featurestore.wire.requests import Request

MOST_FEATURES = 200  # listed on the page
MOST_ROWS = 40  # features of the matrix
MOST_COLUMNS = 80  # tokens of the matrix: those around the chosen one
MOST_CHOSEN = 2000  # tokens that can be clicked; the text behind them is shown as it is


class TextFields(Request, frozen=True):
    """The fields of the page.

    `feature` is the one whose activations are shown on the text, `token` the place of the token whose features are
    listed, `against` another text that is laid beside the first. `only` are features that are listed alone, such as
    those that a search found.
    """

    text: Annotated[str, Meta(max_length=MOST_TEXT)] = ""
    dictionary: str | None = None
    order: str = "specific"
    k: int = 20
    feature: str | None = None
    token: int | None = None
    against: Annotated[str, Meta(max_length=MOST_TEXT)] = ""
    only: tuple[str, ...] = ()


class TokenCell(NamedTuple):
    """A character of the text, or a token of several, as it is shown: its first token's place, text and shade.

    `text` ends with its `breaks` line breaks as signs, and `indent` is what stands behind them on the next line.
    """

    number: int
    text: str
    breaks: int
    indent: str
    shade: int
    negative: bool
    value: float


class MatrixRow(NamedTuple):
    """A feature's activations on the tokens of the matrix, in the order of its columns."""

    feature: ActiveFeature
    cells: list[TokenCell]


def show_text(store: FeatureStore) -> ResponseReturnValue:
    """Return the form for a text and, with one, the features that fire on it."""
    fields = read(TextFields)
    # A form sends line breaks as CR LF, which models take for other tokens.
    texts = {name: getattr(fields, name).replace("\r\n", "\n") for name in ("text", "against")}
    fields = msgspec.structs.replace(fields, **texts)
    context: dict[str, Any] = {
        "dictionaries": store.dictionaries(),
        "fields": fields,
        "examples": TEXTS,
        "answer": None,
        "chosen": None,
        "error": None,
        "hidden": list_hidden,
    }
    if not fields.text.strip() or g.get("only_shown"):
        return render_template("text.html", **context)
    try:
        context |= _contrast(store, fields) if fields.against.strip() else _activate(store, fields)
    except FeatureStoreError as exc:
        return render_template("text.html", **context | {"error": str(exc)}), exc.status
    return render_template("text.html", **context)


def _activate(store: FeatureStore, fields: TextFields) -> dict[str, Any]:
    """Return what the template shows of one text."""
    answer = _run(store, fields)
    chosen = _choose(store, answer, fields.feature)
    names = ("text",) if fields.only else ("text", "dictionary", "order", "k", "token")
    asked = [(name, value) for name, value in list_hidden(fields) if name in names]
    asked += [("feature", id) for id in dict.fromkeys(fields.only)]
    at = None if fields.token is None else find_first(answer.tokens, fields.token)
    # Cells are characters, and a character may have several tokens.
    reading, silent = list_cells(answer.tokens, chosen), list_cells(answer.tokens, None)
    full = len(answer.features) == fields.k < MOST_FEATURES and not fields.only
    columns = _choose_columns(answer.tokens, at if at is not None else chosen.token if chosen else 0)
    return {
        "answer": answer,
        "chosen": chosen,
        "token": at,
        "reading": reading[:MOST_CHOSEN],
        "rest": "".join(answer.tokens[reading[MOST_CHOSEN].number :]) if len(reading) > MOST_CHOSEN else "",
        "columns": [silent[n] for n in columns],
        "matrix": [
            MatrixRow(feature, [cells[n] for n in columns])
            for feature in answer.features[:MOST_ROWS]
            for cells in [list_cells(answer.tokens, feature)]
        ],
        "on_token": lambda feature: merge_activations(answer.tokens, feature.activations)[at or 0],
        "more": min(fields.k * 2, MOST_FEATURES) if full else None,
        "firing": sum(feature.activation != 0 for feature in answer.features),
        "json": f"/v1/activating?{urlencode(asked)}",
    }


def _run(store: FeatureStore, fields: TextFields) -> Activating:
    """Return the features that fire on the text; those of `only` by the share of their largest activation."""
    if not fields.only:
        return store.activating(fields.text, fields.dictionary or None, fields.k, fields.order, token=fields.token)
    answer = store.activating(fields.text, features=list(dict.fromkeys(fields.only)))
    ordered = sorted(answer.features, key=lambda each: -abs(each.activation) / (each.max_activation or 1.0))
    note = "those first that fire hardest, as a share of their largest activation"
    return msgspec.structs.replace(answer, features=tuple(ordered), notes=(note,), note_codes=())


def list_cells(tokens: tuple[str, ...], feature: ActiveFeature | None) -> list[TokenCell]:
    """Return the characters of a text with the activations of a feature, or none."""
    values = merge_activations(tokens, feature.activations) if feature else [0.0] * len(tokens)
    largest = (feature.max_activation or feature.activation) if feature else None
    return [
        TokenCell(
            n,
            show_controls(head.replace("\n", "⏎") + "⏎" * bool(broken)),
            token.count("\n"),
            show_controls(tail),
            choose_shade(value, largest),
            value < 0,
            value,
        )
        for n, (token, value) in enumerate(zip(tokens, values, strict=True))
        if token or not n
        for head, broken, tail in [token.rpartition("\n") if "\n" in token else (token, "", "")]
    ]


def _choose_columns(tokens: tuple[str, ...], at: int) -> range:
    """Return the places, in the list of characters, of the columns of the matrix: those around token `at`."""
    count = sum(bool(token) or not n for n, token in enumerate(tokens))
    place = sum(bool(token) or not n for n, token in enumerate(tokens[:at]))
    first = max(0, min(place - MOST_COLUMNS // 2, count - MOST_COLUMNS))
    return range(first, min(count, first + MOST_COLUMNS))


def _choose(store: FeatureStore, answer: Activating, id: str | None) -> ActiveFeature | None:
    """Return the feature with this id, also one that is not in the answer; without one the first of the answer."""
    if not id:
        return answer.features[0] if answer.features else None
    wanted = id_text(id)
    listed = next((feature for feature in answer.features if feature.id == wanted), None)
    return listed or store.activating(answer.text, features=[wanted]).features[0]


def _contrast(store: FeatureStore, fields: TextFields) -> dict[str, Any]:
    """Return what the template shows of two texts: what fires more on either, and one feature on both."""
    texts = (fields.text, fields.against)
    sides = [
        store.contrast([first], [second], fields.dictionary or None, fields.k) for first, second in (texts, texts[::-1])
    ]
    first = next((feature.id for side in sides for feature in side.features), None)
    id = id_text(fields.feature) if fields.feature else first
    shown = [store.activating(text, features=[id]) for text in texts] if id else []
    most = max((feature.score for side in sides for feature in side.features), default=0.0) or 1.0
    return {
        "sides": sides,
        "most": most,
        "chosen": shown[0].features[0] if shown else None,
        "beside": [(answer, list_cells(answer.tokens, answer.features[0])) for answer in shown],
        "more": min(fields.k * 2, MOST_FEATURES) if fields.k < MOST_FEATURES else None,
    }


def list_hidden(fields: TextFields, *without: str) -> list[tuple[str, str]]:
    """Return names and values of the fields that a button of the page sends along."""
    values = [
        (name, value)
        for name, given in msgspec.structs.asdict(fields).items()
        for value in (given if isinstance(given, tuple) else (given,))
    ]
    return [(name, str(value)) for name, value in values if value not in (None, "") and name not in without]


PAGES = (Page("/text", show_text, lane="activating", has_blank_form=True),)
