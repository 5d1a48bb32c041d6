"""Statistics of features, counted from activations or computed from weights.

Everything here has a fixed size, can be merged, and is the same to the last bit in any order of tokens. This folder
knows tensors and dictionaries' weights; it knows nothing of models, corpora, stores and clusters.
"""
