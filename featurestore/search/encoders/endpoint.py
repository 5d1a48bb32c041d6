"""An OpenAI-compatible /embeddings endpoint."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy

from featurestore.errors import BadRequest, Unavailable
from featurestore.progress import Stage

BATCH = 64


class EndpointEncoder:
    """Asks an endpoint for vectors. The key is taken from OPENAI_API_KEY; local servers need none."""

    def __init__(self, setting: str):
        """`setting` is openai:MODEL@BASE_URL. Raises BadRequest where it is not, Unavailable without the package."""
        model, at, base_url = setting.removeprefix("openai:").partition("@")
        if not (model and at and base_url):
            raise BadRequest(f"'{setting}' is not an embedder: write openai:MODEL@BASE_URL")
        try:
            import openai
        except ImportError:
            raise Unavailable(f"embedding with {setting} needs openai: pip install 'featurestore[label]'") from None
        self.setting = self.id = setting
        self._model, self._errors = model, openai.OpenAIError
        self._client = openai.OpenAI(base_url=base_url, api_key=os.environ.get("OPENAI_API_KEY") or "none")

    def __call__(self, texts: Sequence[str], stage: Stage | None = None) -> numpy.ndarray:
        """Unit vectors of `texts`, (n, d) float32. Raises Unavailable where the endpoint does not answer."""
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
