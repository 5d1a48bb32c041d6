"""Documents of any kind to token ids, in their order. Knows nothing of where the ids go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy

from featurestore import BadRequest
from featurestore.extension.text import first_line
from ingest.corpus.readers import Chat, Tokens
from ingest.model.vocabulary import token_bytes, tokenizer_id

DOCUMENTS = 64  # tokenised at a time,
CHARACTERS = 1 << 22  # or fewer when they are this long together
SCANNED = 1 << 20  # tokens checked at a time
OWN = "model"


def encode(
    tokenizer: Any, pieces: list[bytes], documents: Iterable[tuple[str, str | Chat | Tokens]]
) -> Iterator[tuple[str, numpy.ndarray]]:
    """Yields name and token ids (n,) of each document, without BOS in front; no ids if it is empty or white space.

    `pieces` is the tokenizer's vocabulary, token_bytes(tokenizer). A stream of token ids is split at the tokenizer's
    end-of-text and BOS tokens, which belong to no document. Raises BadRequest, naming the place, for a chat without a
    template, for tokens of another tokenizer, and for tokens that the vocabulary does not have.
    """
    texts: list[tuple[str, str, bool]] = []  # name, text, and whether it was a chat
    size = 0
    known: set[str] = {OWN}
    for name, content in documents:
        if isinstance(content, Tokens):
            yield from _encode_texts(tokenizer, texts)
            texts, size = [], 0
            if content.tokenizer not in known:
                _check_tokenizer(content.tokenizer, tokenizer_id(pieces), name)
                known.add(content.tokenizer)
            yield from _split_tokens(tokenizer, len(pieces), name, content)
            continue
        text = content if isinstance(content, str) else render(tokenizer, content, name)
        texts.append((name, text if text.strip() else "", not isinstance(content, str)))
        size += len(text)
        if len(texts) == DOCUMENTS or size >= CHARACTERS:
            yield from _encode_texts(tokenizer, texts)
            texts, size = [], 0
    yield from _encode_texts(tokenizer, texts)


def _encode_texts(tokenizer: Any, texts: list[tuple[str, str, bool]]) -> Iterator[tuple[str, numpy.ndarray]]:
    if not texts:
        return
    encoded = tokenizer([text for _, text, _ in texts], add_special_tokens=False, verbose=False)["input_ids"]
    for (name, _, chat), tokens in zip(texts, encoded, strict=True):
        ids = numpy.array(tokens, dtype=numpy.int32)
        yield name, without_bos(tokenizer, ids) if chat else ids


def without_bos(tokenizer: Any, ids: numpy.ndarray) -> numpy.ndarray:
    """Returns the token ids without a BOS in front: chat templates write one, and every context gets one anyway."""
    return ids[1:] if len(ids) and ids[0] == tokenizer.bos_token_id else ids


def render(tokenizer: Any, chat: Chat, name: str) -> str:
    """Returns a chat as the tokenizer's template writes it. Raises BadRequest without a template, or if it refuses."""
    if tokenizer.chat_template is None:
        raise BadRequest(
            f"{name} is a chat, but the model's tokenizer has no chat template: it was not trained on chats"
        )
    try:
        return str(tokenizer.apply_chat_template(chat, tokenize=False))
    # Templates are programs of the model's authors, which raise what they like.
    except Exception as exc:
        raise BadRequest(f"{name}: the tokenizer's chat template refuses it: {first_line(exc, 300)}") from None


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
        other = AutoTokenizer.from_pretrained(location, local_files_only=Path(location).is_dir())
    # transformers passes on whatever its parsers and the hub raise.
    except Exception as exc:
        raise BadRequest(
            f"{name}: the tokenizer {location} that made its tokens cannot be loaded: {first_line(exc, 300)}"
        ) from None
    if tokenizer_id(token_bytes(other)) != wanted:
        raise BadRequest(
            f"{name}: its tokens were made by {location}, whose vocabulary is not the model's: tokenise again"
        )
