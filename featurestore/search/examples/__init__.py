"""Features by the meaning of their own evidence: a short text of what each fires on and raises, embedded and searched.

digest.py         the text of a feature, from its examples and logits; no label is needed
example_index.py  builds the index of these texts, opens it for one snapshot, tells when it is stale
"""
