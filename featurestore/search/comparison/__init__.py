"""What features or dictionaries have in common.

features.py      two to eight features: cosines, tokens, contexts, logits, examples in turn
places.py        where features fire, as far as their stored examples tell
dictionaries.py  each feature's best match in another dictionary
matching.py      the best matches between two matrices: exact, in little memory

Knows snapshots and indexes; knows nothing of pages.
"""
