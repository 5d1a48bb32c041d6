"""How features get into a store: trained dictionaries run over a corpus, counted and written.

Uses the public names of featurestore, and knows nothing of the labeler or of how a store keeps its files.
"""

import os

# torch then asks Linux for memory in pages of 2 MB: with pages of 4 KB a third of a pass is spent on getting them,
# since a pass takes and returns arrays of 30 to 100 MB all the time. It reads this once, when it makes its first
# tensor.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
