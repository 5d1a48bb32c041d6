"""A corpus: documents tokenised once into a mapped file, rows of the store's tables, and contexts for the model."""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, overload

import numpy
import pyarrow

from featurestore import BadRequest, held_out
from featurestore.extension.progress import Progress, Stage, no_progress
from featurestore.extension.text import show_bytes
from ingest.corpus.cells import Chat, Tokens
from ingest.corpus.chat_template import ChatTemplate
from ingest.corpus.faults import Faults
from ingest.corpus.token_file import TokenFile, blocks
from ingest.corpus.tokenize import Encoder
from ingest.model.vocabulary import token_bytes, tokenizer_id

# The end of a line or a sentence, closing quotes and spaces included.
ENDING = re.compile("(?:\\n|[.!?\u2026\u3002\uff01\uff1f][\"'\u201d\u2019)\\]]*)\\s*$")
LONGEST = 2**31 - 1  # positions in a document are 32-bit
Documents = Iterator[tuple[str, numpy.ndarray]]  # names and token ids


class Context(NamedTuple):
    """The part of a document that the model sees at once: tokens start .. start + length."""

    document: int
    start: int
    length: int


class Contexts(Sequence[Context]):
    """A sequence of contexts, kept as three int64 arrays because a corpus may have millions."""

    def __init__(self, document: numpy.ndarray, start: numpy.ndarray, length: numpy.ndarray):
        self.document, self.start, self.length = document, start, length

    def __len__(self) -> int:
        return len(self.document)

    @overload
    def __getitem__(self, at: int) -> Context: ...
    @overload
    def __getitem__(self, at: slice) -> Contexts: ...
    def __getitem__(self, at: int | slice) -> Context | Contexts:
        columns = self.document[at], self.start[at], self.length[at]
        return Contexts(*columns) if isinstance(at, slice) else Context(*map(int, columns))


class Corpus:
    """Documents as tokens of one tokenizer, kept in a file that is mapped into memory.

    `data` (tokens,) int32 holds the tokens of all documents in a row, without BOS. `offsets` (documents + 1,) int64
    says where each document begins. `id` and `tokenizer_id` are hashes of their contents, see schema.sql. `held_out`
    (documents,) bool: see featurestore.held_out. `empty` counts the documents that were left out because they held only
    white space; `duplicates` counts those with the same tokens as an earlier one. `notes` says what else was noticed,
    in sentences.
    """

    def __init__(
        self,
        pieces: list[bytes],
        names: list[str],
        data: numpy.ndarray,
        offsets: numpy.ndarray,
        empty: int = 0,
        duplicates: int = 0,
        notes: Sequence[str] = (),
    ):
        self.bytes, self.names, self.data, self.offsets = pieces, names, data, offsets
        self.empty, self.duplicates, self.notes = empty, duplicates, tuple(notes)
        self.tokenizer_id = tokenizer_id(pieces)
        digest = hashlib.sha256(self.tokenizer_id.encode())
        for number, name in enumerate(names):
            ids = self.document(number)
            digest.update(name.encode() + b"\0" + len(ids).to_bytes(8, "little") + ids.tobytes())
        self.id = digest.hexdigest()[:16]
        self.held_out = numpy.array(held_out(self.document(n).tobytes() for n in range(len(names))), bool)

    @property
    def size(self) -> int:
        """Number of tokens."""
        return len(self.data)

    def document(self, number: int) -> numpy.ndarray:
        """Returns the token ids of a document, (n,) int32."""
        return self.data[self.offsets[number] : self.offsets[number + 1]]

    def run(self, context: Context) -> numpy.ndarray:
        """Returns the token ids of a context, (length,) int32."""
        return self.document(context.document)[context.start : context.start + context.length]

    def contexts(self, length: int, bos: int | None = None) -> Contexts:
        """Cuts every document into runs of at most `length` tokens; longest first, so that batches need no padding.

        A run that would begin with the token `bos` begins after it, since contexts have one already.
        """
        sizes = numpy.diff(self.offsets)
        count = -(-sizes // length)
        document = numpy.repeat(numpy.arange(len(sizes)), count)
        number = numpy.arange(len(document)) - numpy.repeat(numpy.cumsum(count) - count, count)
        start = number * length
        cut = numpy.minimum(length, sizes[document] - start)
        while bos is not None and (again := (cut > 0) & (self._tokens_at(document, start) == bos)).any():
            start, cut = start + again, cut - again
        document, start, cut = document[cut > 0], start[cut > 0], cut[cut > 0]
        order = numpy.argsort(-cut, kind="stable")
        return Contexts(document[order], start[order], cut[order])

    @functools.cached_property
    def _ends(self) -> numpy.ndarray:
        """(vocabulary,) bool: which tokens end a line or a sentence."""
        return numpy.array([bool(ENDING.search(piece.decode("utf-8", "ignore"))) for piece in self.bytes], bool)

    def token_ids(self, batch: Contexts, context: Any, position: Any) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Returns the ids of tokens, int64 (t,), and which of them come after the end of a line or a sentence, bool.

        A token is at `position` (t,) in row `context` (t,) of `batch`; the first of a document follows nothing.
        """
        rows, positions = (numpy.asarray(column.cpu()) for column in (context, position))
        inside = batch.start[rows] + positions
        places = self.offsets[batch.document[rows]] + inside
        follows = (inside > 0) & self._ends[self.data[numpy.maximum(places - 1, 0)]]
        return self.data[places].astype(numpy.int64), numpy.asarray(follows)

    def _tokens_at(self, document: numpy.ndarray, start: numpy.ndarray) -> numpy.ndarray:
        """Returns the tokens at these places, those behind the end of the corpus as its last one."""
        return numpy.asarray(self.data[numpy.minimum(self.offsets[document] + start, self.size - 1)])

    def tokenizer_table(self) -> pyarrow.Table:
        """Returns the row of stored.tokenizers."""
        pieces = [show_bytes(piece) for piece in self.bytes]
        return pyarrow.table({"tokenizer": [self.tokenizer_id], "pieces": [pieces], "bytes": [self.bytes]})

    def document_table(self) -> pyarrow.Table:
        """Returns the rows of stored.documents, without the column `corpus`."""
        count = len(self.names)
        return pyarrow.table(
            {
                "document": numpy.arange(count, dtype=numpy.int32),
                "name": self.names,
                "tokenizer": [self.tokenizer_id] * count,
                "length": numpy.diff(self.offsets).astype(numpy.int32),
            }
        )


class _Tally:
    """Counts of documents met while tokenising."""

    empty = 0
    duplicates = 0


def tokenise(
    tokenizer: Any,
    documents: Iterable[tuple[str, str | Chat | Tokens]],
    max_tokens: int | None = None,
    *,
    pack: int | None = None,
    drop_duplicates: bool = False,
    max_documents: int | None = None,
    faults: Faults | None = None,
    variables: Mapping[str, Any] | None = None,
    progress: Progress = no_progress,
) -> Corpus:
    """Returns the corpus of (name, content) pairs, cut after `max_tokens` tokens and `max_documents` documents.

    A content is a text, a chat (rendered by the tokenizer's template) or token ids (checked against its vocabulary).
    `pack` joins the documents with a separator token and cuts them into runs of that many tokens; each run becomes a
    document of the corpus, the last one may be shorter. Documents with the same tokens as an earlier one are counted,
    and left out if `drop_duplicates`. `faults` says what happens to documents that cannot be read, `variables` are
    those of the chat template. Memory holds one batch of documents and some 200 bytes per document; tokens go to
    a file.

    Raises BadRequest when there is no text at all or when token ids are of another tokenizer, and Unavailable when
    there is no space for the file.
    """
    pieces = token_bytes(tokenizer)
    tally = _Tally()
    faults, template = faults or Faults(), ChatTemplate(tokenizer, variables)
    encoder = Encoder(tokenizer, pieces, faults, template)
    encoded = _drop_empty(encoder.encode(documents), tally, drop_duplicates)
    if max_documents is not None:
        encoded = itertools.islice(encoded, max_documents)
    if pack is not None:
        encoded = join_documents(encoded, pack, separator(tokenizer))
    stage = progress("tokenising documents", None)
    with TokenFile() as file:
        names, lengths = _write(encoded, file, max_tokens if max_tokens is not None else sys.maxsize, stage)
        data = file.map()
    notes = [*faults.sentences(), *template.sentences()]
    if encoder.padded:
        notes.append(
            f"{encoder.padded:,} documents of token ids begin or end in runs of the pad token, which are counted: put "
            "attention_mask beside the ids to leave them out"
        )
    offsets = numpy.append(0, numpy.cumsum(lengths))
    return Corpus(pieces, names, data, offsets, tally.empty, tally.duplicates, notes)


def _write(documents: Documents, file: TokenFile, most: int, stage: Stage) -> tuple[list[str], list[int]]:
    """Writes the first `most` tokens to the file. Returns names and lengths; raises BadRequest without documents."""
    names: list[str] = []
    lengths: list[int] = []
    left = most
    for name, ids in documents:
        stage(1)
        if len(ids) > LONGEST:
            raise BadRequest(f"{name} has {len(ids):,} tokens, and a document may have {LONGEST:,}: pack it to runs")
        names.append(name)
        lengths.append(min(left, len(ids)))
        file.write(ids[:left])
        left -= lengths[-1]
        if left == 0:
            break
    if not names:
        raise BadRequest("the corpus is empty: no document has any text")
    return names, lengths


def _drop_empty(documents: Documents, tally: _Tally, drop_duplicates: bool) -> Documents:
    """Yields the documents with tokens and counts the others; without the duplicates too, if asked."""
    seen: set[bytes] = set()
    for name, ids in documents:
        if not len(ids):
            tally.empty += 1
            continue
        digest = hashlib.blake2b(digest_size=16)
        for block in blocks(ids):
            digest.update(block)
        again = digest.digest() in seen
        seen.add(digest.digest())
        tally.duplicates += again
        if not (again and drop_duplicates):
            yield name, ids


def join_documents(documents: Documents, size: int, separator_id: int) -> Documents:
    """Yields runs of `size` tokens of all documents, joined by the token `separator_id`; the last run may be shorter.

    A run is named by its number and the document it begins in.
    """
    gap = numpy.array([separator_id], dtype=numpy.int32)
    parts: list[numpy.ndarray] = []
    space, number, beginning = size, 1, ""
    for name, ids in documents:
        for part in (gap, ids) if beginning else (ids,):
            while len(part):
                beginning = beginning if parts else name
                parts.append(numpy.asarray(part[:space], dtype=numpy.int32))
                part = part[space:]
                space -= len(parts[-1])
                if not space:
                    yield f"run {number} from {beginning}", numpy.concatenate(parts)
                    parts, space, number = [], size, number + 1
    if parts:
        yield f"run {number} from {beginning}", numpy.concatenate(parts)


def separator(tokenizer: Any) -> int:
    """Returns the token id put between packed documents: end-of-text, or else BOS. Raises BadRequest without either."""
    token = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.bos_token_id
    if token is None:
        raise BadRequest(
            "documents cannot be packed: the tokenizer has neither an end-of-text token nor BOS to part them"
        )
    return int(token)
