"""Documents of any kind to token ids, in their order. Knows nothing of where they go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy

from featurestore import BadRequest
from ingest.corpus.readers import Chat, Tokens
from ingest.model.vocabulary import token_bytes, tokenizer_id

DOCUMENTS = 64  # tokenised at a time,
CHARACTERS = 1 << 22  # or fewer when they are this long together
SCANNED = 1 << 20  # tokens looked through at a time
OWN = "model"


def encode(
    tokenizer: Any, pieces: list[bytes], documents: Iterable[tuple[str, str | Chat | Tokens]]
) -> Iterator[tuple[str, numpy.ndarray]]:
    """Name and token ids (n,) of each document, without BOS in front; none for one that is empty or white space.

    `pieces` is the tokenizer's vocabulary, token_bytes(tokenizer). A stream of tokens made elsewhere is parted where
    the tokenizer's end-of-text or BOS token stands, which belong to no part. Raises BadRequest for a chat without a
    template, tokens of another tokenizer, and tokens that the vocabulary does not have, saying where.
    """
    texts: list[tuple[str, str, bool]] = []  # name, text, and whether it was a chat
    size = 0
    same: set[str] = {OWN}
    for name, content in documents:
        if isinstance(content, Tokens):
            yield from _encoded(tokenizer, texts)
            texts, size = [], 0
            if content.tokenizer not in same:
                _check_tokenizer(content.tokenizer, tokenizer_id(pieces), name)
                same.add(content.tokenizer)
            yield from _made_elsewhere(tokenizer, len(pieces), name, content)
            continue
        text = content if isinstance(content, str) else render(tokenizer, content, name)
        texts.append((name, text if text.strip() else "", not isinstance(content, str)))
        size += len(text)
        if len(texts) == DOCUMENTS or size >= CHARACTERS:
            yield from _encoded(tokenizer, texts)
            texts, size = [], 0
    yield from _encoded(tokenizer, texts)


def _encoded(tokenizer: Any, texts: list[tuple[str, str, bool]]) -> Iterator[tuple[str, numpy.ndarray]]:
    if not texts:
        return
    encoded = tokenizer([text for _, text, _ in texts], add_special_tokens=False, verbose=False)["input_ids"]
    for (name, _, chat), found in zip(texts, encoded, strict=True):
        ids = numpy.array(found, dtype=numpy.int32)
        yield name, without_bos(tokenizer, ids) if chat else ids


def without_bos(tokenizer: Any, ids: numpy.ndarray) -> numpy.ndarray:
    """Token ids without a BOS in front, which chat templates write and every context is given anyway."""
    return ids[1:] if len(ids) and ids[0] == tokenizer.bos_token_id else ids


def render(tokenizer: Any, chat: Chat, name: str) -> str:
    """A chat as the tokenizer's template writes it. Raises BadRequest when there is none or it refuses the chat."""
    if tokenizer.chat_template is None:
        raise BadRequest(
            f"{name} is a chat, but the model's tokenizer has no chat template: it was not trained on chats"
        )
    try:
        return tokenizer.apply_chat_template(chat, tokenize=False)
    # Templates are programs of the model's authors, which raise what they like.
    except Exception as exc:
        first = (str(exc).strip().splitlines() or [type(exc).__name__])[0][:300]
        raise BadRequest(f"{name}: the tokenizer's chat template refuses it: {first}") from None


def _made_elsewhere(tokenizer: Any, vocabulary: int, name: str, tokens: Tokens) -> Iterator[tuple[str, numpy.ndarray]]:
    ends = {tokenizer.eos_token_id, tokenizer.bos_token_id} - {None}
    cuts = [numpy.array([-1])]
    for first in range(0, len(tokens.ids), SCANNED):
        some = tokens.ids[first : first + SCANNED]
        wrong = numpy.flatnonzero((some < 0) | (some >= vocabulary))
        if len(wrong):
            raise BadRequest(
                f"{name}: token {first + wrong[0]:,} (counted from 0) is {some[wrong[0]]}, but the tokenizer has "
                f"{vocabulary:,} tokens: they are of another tokenizer"
                + (", or the numbers of another width" if tokens.stream else "")
            )
        if tokens.stream:
            cuts.append(first + numpy.flatnonzero(numpy.isin(some, list(ends))))
    if not tokens.stream:
        yield name, without_bos(tokenizer, tokens.ids)
        return
    places = numpy.append(numpy.concatenate(cuts), len(tokens.ids))
    begins, stops = places[:-1] + 1, places[1:]
    there = begins < stops  # separators stand next to each other and at the ends: no document was there
    if not there.any():
        yield name, tokens.ids[:0]
    for number, (begin, stop) in enumerate(zip(begins[there], stops[there], strict=True), 1):
        yield (f"{name}:{number}" if len(begins) > 1 else name), tokens.ids[begin:stop]


def _check_tokenizer(location: str, wanted: str, name: str) -> None:
    from transformers import AutoTokenizer

    try:
        other = AutoTokenizer.from_pretrained(location, local_files_only=Path(location).is_dir())
    # transformers passes on whatever its parsers and the hub raise.
    except Exception as exc:
        first = (str(exc).strip().splitlines() or [type(exc).__name__])[0][:300]
        raise BadRequest(f"{name}: the tokenizer {location} that made its tokens cannot be loaded: {first}") from None
    if tokenizer_id(token_bytes(other)) != wanted:
        raise BadRequest(
            f"{name}: its tokens were made by {location}, whose vocabulary is not the model's: tokenise again"
        )
