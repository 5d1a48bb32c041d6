"""Asking language models: endpoints, rate limits, budgets, the journal of answers, batches, and servers on Ray.

Nothing here knows features, labels or stores.
"""
