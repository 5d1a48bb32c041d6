"""Reads a corpus back from a store, to harvest over it again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy

from featurestore import BadRequest, BadStore, NotFound
from ingest.corpus.corpus import Corpus
from ingest.corpus.token_file import TokenFile
from ingest.model.vocabulary import token_bytes, tokenizer_id

if TYPE_CHECKING:
    from featurestore import Store

TOGETHER = 4_000_000  # tokens read at a time
HASH = re.compile("[0-9a-f]{16}")  # ids of corpora tokenised here; other programs may name theirs as they like


def read_corpus(store: Store, id: str, tokenizer: Any) -> Corpus:
    """Returns the corpus `id` of a store, for a model with this `tokenizer`.

    Documents keep their numbers, names and tokens, so that a harvest recognises the corpus. Raises NotFound, naming the
    corpora of the store; BadRequest when another tokenizer made it; BadStore when its tokens do not match its id.
    """
    rows = {row["corpus"]: row for row in corpora(store)}
    if id not in rows:
        known = ", ".join(f"{row['corpus']} ({row['documents']:,} documents)" for row in rows.values()) or "none"
        raise NotFound(f"no corpus {id} in the store; there are: {known}")
    pieces = token_bytes(tokenizer)
    if (other := rows[id]["tokenizer"]) != tokenizer_id(pieces):
        raise BadRequest(
            f"corpus {id} was tokenised by the tokenizer {other}, but the model's is {tokenizer_id(pieces)}: harvest "
            "over the texts again with --text"
        )
    documents = store.sql(
        "SELECT document, name, length FROM documents WHERE corpus = $corpus ORDER BY document", {"corpus": id}
    )
    numbers, lengths = (documents[column].to_numpy().astype(numpy.int64) for column in ("document", "length"))
    offsets = numpy.append(0, numpy.cumsum(lengths))
    if (numbers != numpy.arange(len(numbers))).any():
        raise BadStore(f"corpus {id} lacks document {int(numpy.flatnonzero(numbers != numpy.arange(len(numbers)))[0])}")
    with TokenFile() as file:
        first = 0
        while first < len(lengths):
            last = max(first + 1, int(numpy.searchsorted(offsets, offsets[first] + TOGETHER, "right")) - 1)
            statement = (
                "SELECT tokens FROM tokens WHERE corpus = $corpus AND document >= $first AND document < $last "
                "ORDER BY document, run"
            )
            with store.stream(statement, {"corpus": id, "first": first, "last": last}) as batches:
                for batch in batches:
                    file.write(batch.column(0).flatten().to_numpy())
            first = last
        data = file.map()
    if len(data) != offsets[-1]:
        raise BadStore(
            f"corpus {id} has {len(data):,} tokens, but its documents {offsets[-1]:,}: see `featurestore check`"
        )
    corpus = Corpus(pieces, [name or "" for name in documents["name"].to_pylist()], data, offsets)
    if corpus.id != id:
        if HASH.fullmatch(id):
            raise BadStore(f"the tokens of corpus {id} are others than it is named after: see `featurestore check`")
        corpus.id = id  # another program named it
    return corpus


def corpora(store: Store) -> list[dict[str, Any]]:
    """Returns the corpora of a store, ordered by id: its id, tokenizer, number of documents and number of tokens."""
    rows: list[dict[str, Any]] = store.sql(
        "SELECT corpus, any_value(tokenizer) AS tokenizer, count(*) AS documents, sum(length)::BIGINT AS tokens "
        "FROM documents GROUP BY corpus ORDER BY corpus"
    ).to_pylist()
    return rows
