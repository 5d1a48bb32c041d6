"""The readers, in the order they are asked: those who know a format by names of its own before those who share them.

A reader has FORMAT (its name), FILES (what must be there), recognises(place) and read(place).
"""

from ingest.weights.readers import (
    circuit_tracer,
    dictionary_learning,
    gemma_scope,
    gemma_scope_2,
    llama_scope,
    openai,
    openmoss,
    qwen_scope,
    saelens,
    single_files,
    sparsify,
)

READERS = (
    saelens,
    sparsify,
    llama_scope,
    openmoss,
    gemma_scope_2,
    gemma_scope,
    circuit_tracer,
    qwen_scope,
    openai,
    single_files,
    dictionary_learning,
)
