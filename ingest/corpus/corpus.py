"""Documents to tokens, once: a mapped file of them, the token table's rows, and contexts for the model to see."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, overload

import numpy
import pyarrow

from featurestore import BadRequest, held_out
from ingest.corpus.readers import Chat, Tokens
from ingest.corpus.token_file import Spool, blocks
from ingest.corpus.tokenize import encode
from ingest.model.vocabulary import token_bytes, tokenizer_id

LONGEST = 2**31 - 1  # positions in a document are 32-bit
Named = Iterator[tuple[str, numpy.ndarray]]  # documents' names and token ids


class Context(NamedTuple):
    """Part of a document that the model sees at once: tokens start .. start + length."""

    document: int
    start: int
    length: int


class Contexts(Sequence[Context]):
    """Contexts as three arrays of int64: a corpus may have millions."""

    def __init__(self, document: numpy.ndarray, start: numpy.ndarray, length: numpy.ndarray):
        self.document, self.start, self.length = document, start, length

    def __len__(self) -> int:
        return len(self.document)

    @overload
    def __getitem__(self, at: int) -> Context: ...
    @overload
    def __getitem__(self, at: slice) -> Contexts: ...
    def __getitem__(self, at: int | slice) -> Context | Contexts:
        found = self.document[at], self.start[at], self.length[at]
        return Contexts(*found) if isinstance(at, slice) else Context(*map(int, found))


class Corpus:
    """Documents as tokens of one tokenizer, kept in a file that is mapped into memory.

    `data` (tokens,) int32 holds all documents' tokens, without BOS, one after another; document i begins at offsets[i]
    (documents + 1,) int64. `id` and `tokenizer_id` are hashes of what they name, see schema.sql. `held_out` (documents,)
    bool: see featurestore.held_out. `empty` counts documents left out, since there was nothing in them but white space;
    `duplicates` those with the tokens of an earlier one.
    """

    def __init__(
        self,
        pieces: list[bytes],
        names: list[str],
        data: numpy.ndarray,
        offsets: numpy.ndarray,
        empty: int = 0,
        duplicates: int = 0,
    ):
        self.bytes, self.names, self.data, self.offsets = pieces, names, data, offsets
        self.empty, self.duplicates = empty, duplicates
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
        """The token ids of a document."""
        return self.data[self.offsets[number] : self.offsets[number + 1]]

    def run(self, context: Context) -> numpy.ndarray:
        """The token ids of a context."""
        return self.document(context.document)[context.start : context.start + context.length]

    def contexts(self, length: int) -> Contexts:
        """Every document cut into runs of at most `length` tokens, longest first, so that batches need no padding."""
        sizes = numpy.diff(self.offsets)
        count = -(-sizes // length)
        document = numpy.repeat(numpy.arange(len(sizes)), count)
        number = numpy.arange(len(document)) - numpy.repeat(numpy.cumsum(count) - count, count)
        start = number * length
        cut = numpy.minimum(length, sizes[document] - start)
        order = numpy.argsort(-cut, kind="stable")
        return Contexts(document[order], start[order], cut[order])

    def tokenizer_table(self) -> pyarrow.Table:
        """The row of stored.tokenizers."""
        pieces = [one.decode("utf-8", errors="replace") for one in self.bytes]
        return pyarrow.table({"tokenizer": [self.tokenizer_id], "pieces": [pieces], "bytes": [self.bytes]})

    def document_table(self) -> pyarrow.Table:
        """The rows of stored.documents, without the corpus."""
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
    """What was met on the way."""

    empty = 0
    duplicates = 0


def tokenise(
    tokenizer: Any,
    documents: Iterable[tuple[str, str | Chat | Tokens]],
    max_tokens: int | None = None,
    *,
    pack: int | None = None,
    drop_duplicates: bool = False,
    progress: Callable[[str, int | None], AbstractContextManager[Any]] | None = None,
) -> Corpus:
    """The corpus of (name, content) pairs, up to `max_tokens`, the last document being cut there.

    Contents are texts, chats (rendered by the tokenizer's template) or token ids (checked against its vocabulary).
    `pack` joins documents, the separator token between, and cuts them to runs of that many tokens, each a document of
    the corpus, the last one shorter. Documents with the tokens of an earlier one are counted, and left out if
    `drop_duplicates`. Memory holds a batch of documents, and some 200 bytes for each: tokens go to a file.

    Raises BadRequest when there is no text at all or for tokens that are not the tokenizer's, Unavailable when there is
    no space for the file.
    """
    pieces = token_bytes(tokenizer)
    tally = _Tally()
    found = _distinct(encode(tokenizer, pieces, documents), tally, drop_duplicates)
    if pack is not None:
        found = packed(found, pack, separator(tokenizer))
    names: list[str] = []
    lengths: list[int] = []
    left = max_tokens if max_tokens is not None else sys.maxsize
    bar = progress("tokenising documents", None) if progress else nullcontext()
    with Spool() as spool, bar as shown:
        for name, ids in found:
            if shown:
                shown.advance(1)
            if len(ids) > LONGEST:
                raise BadRequest(
                    f"{name} has {len(ids):,} tokens, and a document may have {LONGEST:,}: pack it to runs"
                )
            names.append(name)
            lengths.append(min(left, len(ids)))
            spool.write(ids[:left])
            left -= lengths[-1]
            if left == 0:
                break
        if not names:
            raise BadRequest("the corpus is empty: no document has any text")
        data = spool.mapped()
    return Corpus(pieces, names, data, numpy.append(0, numpy.cumsum(lengths)), tally.empty, tally.duplicates)


def _distinct(documents: Named, tally: _Tally, drop: bool) -> Named:
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
        if not (again and drop):
            yield name, ids


def packed(documents: Named, size: int, between: int) -> Named:
    """Runs of `size` tokens of all documents joined, the token `between` between any two; the last run may be shorter.

    A run is named by its number and the document it begins in.
    """
    gap = numpy.array([between], dtype=numpy.int32)
    held: list[numpy.ndarray] = []
    room, number, begun = size, 1, ""
    for name, ids in documents:
        for part in (gap, ids) if begun else (ids,):
            while len(part):
                begun = begun if held else name
                held.append(numpy.asarray(part[:room], dtype=numpy.int32))
                part = part[room:]
                room -= len(held[-1])
                if not room:
                    yield f"run {number} from {begun}", numpy.concatenate(held)
                    held, room, number = [], size, number + 1
    if held:
        yield f"run {number} from {begun}", numpy.concatenate(held)


def separator(tokenizer: Any) -> int:
    """The token id put between packed documents: the end-of-text token, or else BOS. Raises BadRequest without either."""
    found = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.bos_token_id
    if found is None:
        raise BadRequest(
            "documents cannot be packed: the tokenizer has neither an end-of-text token nor BOS to part them"
        )
    return int(found)
