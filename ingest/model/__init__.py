"""A transformers language model that is read at hook points: names of places, its tokens, its unembedding.

Knows transformers, torch and the hub. Knows nothing of dictionaries, corpora or stores.
"""
