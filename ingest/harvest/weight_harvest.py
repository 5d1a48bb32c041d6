"""A harvest without a corpus: what the weights of dictionaries alone say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import featurestore
from featurestore.extension.progress import Progress, no_progress
from ingest.harvest import resources
from ingest.harvest.plan import check_hooks, check_names, size_in_store
from ingest.harvest.store_rows import Unembedding, writes_to_stream
from ingest.harvest.write_dictionary import write_weights
from ingest.model.model import Model
from ingest.model.vocabulary import token_bytes
from ingest.sae import Sae

if TYPE_CHECKING:
    from featurestore import Store


def harvest_weights(
    store: Store,
    dictionaries: Mapping[str, Sae],
    *,
    model_id: str,
    model: Model | None = None,
    replace: bool = False,
    progress: Progress = no_progress,
) -> None:
    """Write `dictionaries` (by source) with statistics of their weights into `store`, in one commit.

    With the model there are effects on logits too, and vectors can be compared across its dictionaries. Raises
    BadRequest, Conflict and Unavailable as `plan.make_plan` does.
    """
    if model:
        check_hooks(store, model, dictionaries, model_id, replace)
    else:
        check_names(store, dictionaries, model_id, replace)
    stored = resources.estimate_stored(dictionaries, resources.WEIGHTS_PER_FEATURE)
    resources.check_space(size_in_store(store, stored))
    unembedding = Unembedding.of(model, token_bytes(model.tokenizer)) if model and model.has_logits else None
    stage = progress("reading weights", len(dictionaries))
    with store.writer(f"featurestore {featurestore.__version__} harvest") as writer:
        for source, sae in dictionaries.items():
            if replace:
                writer.remove_dictionary(f"{model_id}/{source}")
            effects = unembedding if model and writes_to_stream(model, sae) else None
            write_weights(writer, model_id, source, sae, model, effects)
            stage(1)
