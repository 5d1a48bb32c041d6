"""Encoders of any architecture, through torch and transformers: mean pooling over the last hidden states, then L2 norm.

This is what sentence-transformers does for the models that are usual here.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy

from featurestore.display.text import first_line
from featurestore.errors import Unavailable
from featurestore.progress import Stage
from featurestore.search.encoders.weights_hash import hash_weights

BATCH = 64


class TransformerEncoder:
    """Turns texts into unit vectors. Safe to share between threads."""

    def __init__(self, location: str, max_tokens: int, few: int):
        """`location` is a directory or a name on the hub; up to `few` texts are computed by the calling thread alone.

        Raises Unavailable where a package or the model is missing.
        """
        try:
            import torch
            from transformers import AutoModel, AutoTokenizer
            from transformers.utils import logging
        except ImportError as exc:
            raise Unavailable(
                f"embedding text with {location} needs {exc.name}: pip install 'featurestore[harvest]', "
                "embed with the default, or search by words (mode keyword)"
            ) from None
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        local = Path(location).is_dir()
        options: dict[str, Any] = {"local_files_only": local, "trust_remote_code": False}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(location, **options)
            self._model = AutoModel.from_pretrained(location, **options, dtype=torch.float32).eval()
        except (OSError, ValueError) as exc:
            raise Unavailable(f"no embedder at {location}: {first_line(exc)}") from None
        self._torch = torch
        self._max_tokens, self._few = max_tokens, few
        self._threads = torch.get_num_threads()
        self._lock = threading.Lock()  # threads must not share a fast tokenizer while it pads
        self.weights_hash = hash_weights(
            {name: tensor.reshape(-1)[:256].float().numpy() for name, tensor in self._model.state_dict().items()},
            {name: tuple(tensor.shape) for name, tensor in self._model.state_dict().items()},
        )

    def __call__(self, texts: Sequence[str], stage: Stage | None = None) -> numpy.ndarray:
        """Unit vectors of `texts`, (n, d) float32."""
        torch = self._torch
        # Texts of similar length share a batch, so that there is little padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        out = numpy.empty((len(texts), self._model.config.hidden_size), numpy.float32)
        with torch.inference_mode(), self._using_threads(1 if len(texts) <= self._few else self._threads):
            for start in range(0, len(order), BATCH):
                rows = order[start : start + BATCH]
                with self._lock:
                    batch = self._tokenizer(
                        [texts[i] for i in rows],
                        padding=True,
                        truncation=True,
                        max_length=self._max_tokens,
                        return_tensors="pt",
                    )
                hidden = self._model(**batch).last_hidden_state  # (batch, tokens, d)
                mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
                pooled = (hidden * mask).sum(1) / mask.sum(1)
                out[rows] = torch.nn.functional.normalize(pooled, dim=1).numpy()
                if stage:
                    stage(len(rows))
        return out

    @contextlib.contextmanager
    def _using_threads(self, count: int) -> Iterator[None]:
        """Let torch use this many threads. Concurrent calls may change each other's number, and nothing else."""
        self._torch.set_num_threads(count)
        try:
            yield
        finally:
            self._torch.set_num_threads(self._threads)
