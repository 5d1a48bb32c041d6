"""Text to tokens, once: documents, the token table's rows, and contexts for the model to see."""

from __future__ import annotations

import glob
import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import pyarrow

from featurestore import BadRequest, NotFound

BATCH = 64  # documents tokenised at a time


class Context(NamedTuple):
    """Part of a document that the model sees at once: tokens start .. start + length."""

    document: int
    start: int
    length: int


class Corpus:
    """Documents as tokens of one tokenizer. `id` and `tokenizer_id` are hashes of what they name, see schema.sql."""

    def __init__(self, tokenizer: Any, names: list[str], tokens: list[numpy.ndarray], empty: int = 0):
        self.names = names
        self.empty = empty  # documents left out, since no token came of them
        self.tokens = tokens  # int32, without BOS
        self.bytes = token_bytes(tokenizer)
        digest = hashlib.sha256()
        for one in self.bytes:
            digest.update(len(one).to_bytes(4, "little") + one)
        self.tokenizer_id = digest.hexdigest()[:16]
        digest = hashlib.sha256(self.tokenizer_id.encode())
        for name, ids in zip(names, tokens, strict=True):
            digest.update(name.encode() + b"\0" + len(ids).to_bytes(8, "little") + ids.tobytes())
        self.id = digest.hexdigest()[:16]

    @property
    def size(self) -> int:
        """Number of tokens."""
        return sum(len(ids) for ids in self.tokens)

    def contexts(self, length: int) -> list[Context]:
        """Every document cut into runs of at most `length` tokens, longest first, so that batches need no padding."""
        cut = [
            Context(document, start, min(length, len(ids) - start))
            for document, ids in enumerate(self.tokens)
            for start in range(0, len(ids), length)
        ]
        return sorted(cut, key=lambda context: -context.length)

    def tokenizer_table(self) -> pyarrow.Table:
        """The row of stored.tokenizers."""
        pieces = [one.decode("utf-8", errors="replace") for one in self.bytes]
        return pyarrow.table({"tokenizer": [self.tokenizer_id], "pieces": [pieces], "bytes": [self.bytes]})

    def document_table(self) -> pyarrow.Table:
        """The rows of stored.documents, without the corpus."""
        count = len(self.tokens)
        return pyarrow.table(
            {
                "document": numpy.arange(count, dtype=numpy.int32),
                "name": self.names,
                "tokenizer": [self.tokenizer_id] * count,
                "length": numpy.array([len(ids) for ids in self.tokens], dtype=numpy.int32),
            }
        )


def tokenise(tokenizer: Any, documents: Iterable[tuple[str, str]], max_tokens: int | None = None) -> Corpus:
    """The corpus of (name, text) pairs, up to `max_tokens`, the last document being cut there.

    Raises BadRequest when there is no text at all.
    """
    names: list[str] = []
    tokens: list[numpy.ndarray] = []
    empty = 0
    left = max_tokens if max_tokens is not None else float("inf")
    for batch in _batches(documents):
        encoded = tokenizer([text for _, text in batch], add_special_tokens=False, verbose=False)["input_ids"]
        for (name, _), ids in zip(batch, encoded, strict=True):
            empty += not ids
            ids = ids[: int(min(left, len(ids)))]
            if ids:
                names.append(name)
                tokens.append(numpy.array(ids, dtype=numpy.int32))
                left -= len(ids)
        if left <= 0:
            break
    if not tokens:
        raise BadRequest("the corpus is empty: no document has any text")
    return Corpus(tokenizer, names, tokens, empty)


def _batches(documents: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    batch: list[tuple[str, str]] = []
    for document in documents:
        batch.append((document[0], document[1]))
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def read_texts(paths: Sequence[str | Path]) -> list[tuple[str, str]]:
    """(name, text) of text files; a directory stands for the files in it, a pattern (docs/**/*.md) for those it matches,
    in order of name.

    Raises NotFound for a path that is not there and BadRequest for a file that is not UTF-8 text, before any work.
    """
    found: list[tuple[str, str]] = []
    for given in map(Path, itertools.chain.from_iterable(map(_matching, paths))):
        files = sorted(path for path in given.rglob("*") if path.is_file()) if given.is_dir() else [given]
        for file in files:
            raw = file.read_bytes()
            if b"\0" in raw:
                raise BadRequest(f"{file} is not text: byte {raw.index(0)} is zero")
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError as exc:
                raise BadRequest(f"{file} is not UTF-8 text: byte {exc.start} is 0x{raw[exc.start]:02x}") from None
            name = file.relative_to(given).as_posix() if given.is_dir() else file.name
            found.append((name, text))
    if not any(text.strip() for _, text in found):
        raise BadRequest(f"the corpus is empty: no text in {', '.join(map(str, paths))}")
    return found


def _matching(given: str | Path) -> list[str]:
    if Path(given).exists():  # a name may hold brackets
        return [str(given)]
    found = sorted(path for path in glob.glob(str(given), recursive=True) if Path(path).is_file())
    if not found:
        raise NotFound(f"no text at {given}: there is no such file or directory")
    return found


def token_bytes(tokenizer: Any) -> list[bytes]:
    """The UTF-8 bytes of every token id, special tokens by their names.

    Byte-level vocabularies (GPT-2's) write bytes as characters; SentencePiece-like ones write a space as U+2581 and
    lone bytes as <0xAB>.
    """
    count = 1 + max(tokenizer.get_vocab().values())  # ids may have gaps
    pieces = tokenizer.convert_ids_to_tokens(list(range(count)))
    special = set(tokenizer.all_special_ids)
    # Tokens added to a vocabulary are written as they are, whatever its alphabet.
    added = set(tokenizer.added_tokens_decoder)
    byte_level = "ByteLevel" in str(getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", ""))
    out = []
    for id, piece in enumerate(pieces):
        if piece is None:
            out.append(b"")
        elif id in special or (byte_level and id in added):
            out.append(piece.encode())
        elif byte_level and all(character in _BYTE_OF for character in piece):
            out.append(bytes(_BYTE_OF[character] for character in piece))
        elif not byte_level and re.fullmatch("<0x[0-9A-Fa-f]{2}>", piece):
            out.append(bytes([int(piece[3:5], 16)]))
        else:
            out.append(piece.replace("\u2581", " ").encode())
    return out


def _byte_of() -> dict[str, int]:
    # GPT-2's byte alphabet: printable Latin-1 stands for itself, the other bytes for the characters from U+0100 on.
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTE_OF = _byte_of()
