"""Documents of any kind to token ids, in their order. Knows nothing of where the ids go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy

from featurestore import BadRequest
from featurestore.extension.text import first_line
from ingest.corpus.cells import Chat, Tokens
from ingest.corpus.chat_template import ChatTemplate
from ingest.corpus.faults import Faults
from ingest.model.vocabulary import token_bytes, tokenizer_id

DOCUMENTS = 64  # tokenised at a time,
CHARACTERS = 1 << 22  # or fewer when they are this long together
SCANNED = 1 << 20  # tokens checked at a time
OWN = "model"


class Encoder:
    """Documents of any kind to token ids of one tokenizer, without BOS in front, and what it noticed meanwhile.

    `pieces` is the tokenizer's vocabulary, token_bytes(tokenizer).
    """

    def __init__(self, tokenizer: Any, pieces: list[bytes], faults: Faults, template: ChatTemplate):
        self._tokenizer, self._pieces, self._faults, self._template = tokenizer, pieces, faults, template
        self._known: set[str] = {OWN}
        self.padded = 0  # documents of token ids that begin or end in a run of the pad token

    def encode(self, documents: Iterable[tuple[str, str | Chat | Tokens]]) -> Iterator[tuple[str, numpy.ndarray]]:
        """Yields name and token ids (n,) of each document; no ids if it is empty or white space.

        A stream of token ids is split at the tokenizer's end-of-text and BOS tokens, which belong to no document.
        Raises BadRequest, naming the place, for a chat without a template, for tokens of another tokenizer, and for
        tokens that the vocabulary does not have; `faults` may leave out single documents instead.
        """
        texts: list[tuple[str, str]] = []
        size = 0
        for name, content in documents:
            if isinstance(content, Tokens):
                yield from self._encode_texts(texts)
                texts, size = [], 0
                yield from self._check_tokens(name, content)
                continue
            try:
                text = content if isinstance(content, str) else self._template.render(content, name)
                text = self._faults.mend(text, name)
            except BadRequest as exc:
                if self._tokenizer.chat_template is None and not isinstance(content, str):
                    raise  # all other chats would fail as this one does
                self._faults.reject(name, exc)
                continue
            texts.append((name, text if text.strip() else ""))
            size += len(text)
            if len(texts) == DOCUMENTS or size >= CHARACTERS:
                yield from self._encode_texts(texts)
                texts, size = [], 0
        yield from self._encode_texts(texts)

    def _encode_texts(self, texts: list[tuple[str, str]]) -> Iterator[tuple[str, numpy.ndarray]]:
        if not texts:
            return
        encoded = self._tokenizer([text for _, text in texts], add_special_tokens=False, verbose=False)["input_ids"]
        for (name, _), tokens in zip(texts, encoded, strict=True):
            yield name, without_bos(self._tokenizer, numpy.array(tokens, dtype=numpy.int32))

    def _check_tokens(self, name: str, content: Tokens) -> Iterator[tuple[str, numpy.ndarray]]:
        if content.tokenizer not in self._known:
            _check_tokenizer(content.tokenizer, tokenizer_id(self._pieces), name)
            self._known.add(content.tokenizer)
        try:
            documents = list(_split_tokens(self._tokenizer, len(self._pieces), name, content))
        except BadRequest as exc:
            if content.stream:
                raise
            self._faults.reject(name, exc)
            return
        for part, ids in documents:
            self.padded += not content.stream and is_padded(self._tokenizer, ids)
            yield part, ids


def without_bos(tokenizer: Any, ids: numpy.ndarray) -> numpy.ndarray:
    """Returns the token ids without BOS in front: every context gets one anyway, and a second one means nothing."""
    bos = tokenizer.bos_token_id
    if bos is None or not len(ids) or ids[0] != bos:
        return ids
    others = numpy.flatnonzero(ids != bos)
    return ids[others[0] :] if len(others) else ids[:0]


def is_padded(tokenizer: Any, ids: numpy.ndarray) -> bool:
    """Tells whether token ids begin or end in two pad tokens or more, which somebody forgot to hide."""
    pad = tokenizer.pad_token_id
    return pad is not None and len(ids) > 2 and bool((ids[:2] == pad).all() or (ids[-2:] == pad).all())


def _split_tokens(tokenizer: Any, vocabulary: int, name: str, tokens: Tokens) -> Iterator[tuple[str, numpy.ndarray]]:
    """Yields the documents of token ids, a stream split at its separators. Raises BadRequest for ids out of range."""
    ends = {tokenizer.eos_token_id, tokenizer.bos_token_id} - {None}
    cuts = [numpy.array([-1])]
    for first in range(0, len(tokens.ids), SCANNED):
        block = tokens.ids[first : first + SCANNED]
        wrong = numpy.flatnonzero((block < 0) | (block >= vocabulary))
        if len(wrong):
            raise BadRequest(
                f"{name}: token {first + wrong[0]:,} (counted from 0) is {block[wrong[0]]}, but the tokenizer has "
                f"{vocabulary:,} tokens: they are of another tokenizer"
                + (", or the numbers of another width" if tokens.stream else "")
            )
        if tokens.stream:
            cuts.append(first + numpy.flatnonzero(numpy.isin(block, list(ends))))
    if not tokens.stream:
        yield name, without_bos(tokenizer, tokens.ids)
        return
    places = numpy.append(numpy.concatenate(cuts), len(tokens.ids))
    begins, stops = places[:-1] + 1, places[1:]
    filled = begins < stops  # two separators in a row, or one at an end, hold no document between them
    if not filled.any():
        yield name, tokens.ids[:0]
    for number, (begin, stop) in enumerate(zip(begins[filled], stops[filled], strict=True), 1):
        yield (f"{name}:{number}" if len(begins) > 1 else name), tokens.ids[begin:stop]


def _check_tokenizer(location: str, wanted: str, name: str) -> None:
    """Raises BadRequest unless the tokenizer at `location` has the id `wanted`."""
    from transformers import AutoTokenizer

    try:
        other = AutoTokenizer.from_pretrained(
            location, local_files_only=Path(location).is_dir(), trust_remote_code=False
        )
    # transformers passes on whatever its parsers and the hub raise.
    except Exception as exc:
        raise BadRequest(
            f"{name}: the tokenizer {location} that made its tokens cannot be loaded: {first_line(exc, 300)}"
        ) from None
    if tokenizer_id(token_bytes(other)) != wanted:
        raise BadRequest(
            f"{name}: its tokens were made by {location}, whose vocabulary is not the model's: tokenise again"
        )
