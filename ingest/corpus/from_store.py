"""A corpus that a store has, read back to be harvested over again. Uses what every reader of a store can ask."""

from __future__ import annotations

import re
from typing import Any

import numpy

from featurestore import BadRequest, BadStore, NotFound
from ingest.corpus.corpus import Corpus
from ingest.corpus.token_file import Spool
from ingest.model.vocabulary import token_bytes, tokenizer_id

TOGETHER = 4_000_000  # tokens asked for at a time
OURS = re.compile("[0-9a-f]{16}")  # ids that are hashes


def read_corpus(store: Any, id: str, tokenizer: Any) -> Corpus:
    """The corpus `id` of a store, which the model with `tokenizer` can be run over.

    Documents keep their numbers, names and tokens, so that a harvest over it finds it there. Raises NotFound, naming the
    corpora there are, BadRequest when another tokenizer made it, BadStore when its tokens are not those it is named after.
    """
    there = {row["corpus"]: row for row in corpora(store)}
    if id not in there:
        known = ", ".join(f"{row['corpus']} ({row['documents']:,} documents)" for row in there.values()) or "none"
        raise NotFound(f"no corpus {id} in the store; there are: {known}")
    pieces = token_bytes(tokenizer)
    if (made := there[id]["tokenizer"]) != tokenizer_id(pieces):
        raise BadRequest(
            f"corpus {id} was tokenised by the tokenizer {made}, but the model's is {tokenizer_id(pieces)}: harvest over the "
            "texts again with --text"
        )
    quoted = "'" + id.replace("'", "''") + "'"
    documents = store.sql(f"SELECT document, name, length FROM documents WHERE corpus = {quoted} ORDER BY document")
    numbers, lengths = (documents[column].to_numpy().astype(numpy.int64) for column in ("document", "length"))
    offsets = numpy.append(0, numpy.cumsum(lengths))
    if (numbers != numpy.arange(len(numbers))).any():
        raise BadStore(f"corpus {id} lacks document {int(numpy.flatnonzero(numbers != numpy.arange(len(numbers)))[0])}")
    with Spool() as spool:
        first = 0
        while first < len(lengths):
            last = max(first + 1, int(numpy.searchsorted(offsets, offsets[first] + TOGETHER, "right")) - 1)
            runs = f"FROM tokens WHERE corpus = {quoted} AND document >= {first} AND document < {last}"
            with store.stream(f"SELECT tokens {runs} ORDER BY document, run") as batches:
                for batch in batches:
                    spool.write(batch.column(0).flatten().to_numpy())
            first = last
        data = spool.mapped()
    if len(data) != offsets[-1]:
        raise BadStore(
            f"corpus {id} has {len(data):,} tokens, but its documents {offsets[-1]:,}: see `featurestore check`"
        )
    corpus = Corpus(pieces, [name or "" for name in documents["name"].to_pylist()], data, offsets)
    if corpus.id != id:
        if OURS.fullmatch(id):
            raise BadStore(f"the tokens of corpus {id} are others than it is named after: see `featurestore check`")
        corpus.id = id  # another program named it
    return corpus


def corpora(store: Any) -> list[dict[str, Any]]:
    """The corpora of a store: id, tokenizer, documents and tokens of each, by id."""
    return store.sql(
        "SELECT corpus, any_value(tokenizer) AS tokenizer, count(*) AS documents, sum(length)::BIGINT AS tokens "
        "FROM documents GROUP BY corpus ORDER BY corpus"
    ).to_pylist()
