"""One feature's whole page, from the few row groups that hold it."""

from __future__ import annotations

from typing import Any

import msgspec

from featurestore.catalog import Catalog
from featurestore.errors import BadStore
from featurestore.parts import Directory, Snapshot
from featurestore.records import Example, Feature, FeatureId, Label, LogitEffect
from featurestore.sql import Engine
from featurestore.writer import SHARD_FEATURES


def feature_page(
    directory: Directory, snapshot: Snapshot, engine: Engine, catalog: Catalog, id: str, examples: int | None
) -> Feature:
    """The page of a feature, with at most `examples` examples of each band.

    Raises BadRequest, NotFound, or BadStore when the store lacks the feature's row.
    """
    asked = catalog.feature_id(id)
    row = _one_row(engine, asked)
    labels = engine.table(
        "SELECT label, explainer, prompt, examples, tool, created_at FROM labels WHERE dictionary = ? AND feature = ? "
        "ORDER BY explainer = ? DESC, created_at DESC, explainer",
        [asked.dictionary, asked.feature, row["explainer"]],
    )
    shown = _examples(directory, snapshot, engine, asked, examples)
    fields = {name: row[name] for name in Feature.__struct_fields__ if name in row}
    return Feature(
        **fields
        | {
            "id": str(asked),
            "histogram": None if row["histogram"] is None else tuple(row["histogram"]),
            "top_logits": tuple(LogitEffect(**one) for one in row["top_logits"] or ()),
            "bottom_logits": tuple(LogitEffect(**one) for one in row["bottom_logits"] or ()),
            "labels": tuple(msgspec.convert(one, Label) for one in labels.to_pylist()),
            "examples": shown,
        }
    )


def _one_row(engine: Engine, asked: FeatureId) -> dict[str, Any]:
    rows = engine.table(
        "FROM features WHERE dictionary = ? AND feature = ?", [asked.dictionary, asked.feature]
    ).to_pylist()
    if len(rows) != 1:
        raise BadStore(f"the store has {len(rows)} rows of {asked}; one is wanted")
    return rows[0]


def _examples(
    directory: Directory, snapshot: Snapshot, engine: Engine, asked: FeatureId, most: int | None
) -> tuple[Example, ...]:
    # The one file that can hold them is known, so no other is opened.
    files = [
        str(directory.full_path(part))
        for part in snapshot.parts("examples", asked.dictionary)
        if part.shard == asked.feature // SHARD_FEATURES
    ]
    if not files:
        return ()
    limit = "" if most is None else f" AND rank < {int(most)}"
    rows = engine.table(
        f"FROM read_parquet(?) WHERE feature = ?{limit} ORDER BY band = 'top' DESC, band_low DESC, rank",
        [files, asked.feature],
    ).to_pylist()
    if not rows:
        return ()
    windows = _windows(engine, rows)
    found = []
    for row, (name, tokens) in zip(rows, windows, strict=True):
        dense = [0.0] * len(tokens)
        for offset, value in zip(row["offsets"], row["activations"], strict=True):
            dense[offset] = value
        found.append(
            Example(
                band=row["band"],
                band_low=row["band_low"],
                band_high=row["band_high"],
                rank=row["rank"],
                weight=row["weight"],
                corpus=row["corpus"],
                document=row["document"],
                document_name=name,
                start=row["start"],
                position=row["position"],
                activation=row["activation"],
                tokens=tokens,
                activations=tuple(dense),
            )
        )
    return tuple(found)


def _windows(engine: Engine, rows: list[dict[str, Any]]) -> list[tuple[str | None, tuple[str, ...]]]:
    """Name of the document and text of the tokens, for each example."""
    found = engine.rows(
        "SELECT w.n, d.name, d.tokenizer, d.tokens[w.start + 1 : w.start + w.length] "
        "FROM (SELECT unnest(?) n, unnest(?) corpus, unnest(?) document, unnest(?) start, unnest(?) length) w "
        "JOIN stored.documents d USING (corpus, document) ORDER BY w.n",
        [
            list(range(len(rows))),
            *([row[name] for row in rows] for name in ("corpus", "document", "start", "length")),
        ],
    )
    if len(found) != len(rows):
        raise BadStore(f"the store lacks documents of corpus {rows[0]['corpus']} that examples refer to")
    tokenizers = {tokenizer for _, _, tokenizer, _ in found}
    used = {token for *_, tokens in found for token in tokens}
    pieces = {
        tokenizer: dict(
            engine.rows(
                "SELECT t, bytes[t + 1] FROM stored.tokenizers, (SELECT unnest(?) t) WHERE tokenizer = ?",
                [sorted(used), tokenizer],
            )
        )
        for tokenizer in tokenizers
    }
    return [(name, _texts([pieces[tokenizer][token] for token in tokens])) for _, name, tokenizer, tokens in found]


def _texts(pieces: list[bytes]) -> tuple[str, ...]:
    """Text of each token; a character split over tokens is shown whole on the first, and the rest are empty."""
    texts = []
    at = 0
    while at < len(pieces):
        for size in range(1, 5):
            try:
                joined = b"".join(pieces[at : at + size]).decode("utf-8")
            except UnicodeDecodeError:
                continue
            texts += [joined] + [""] * (len(pieces[at : at + size]) - 1)
            at += size
            break
        else:
            texts.append(pieces[at].decode("utf-8", errors="replace"))
            at += 1
    return tuple(texts)
