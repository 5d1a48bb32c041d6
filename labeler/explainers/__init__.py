"""How a feature becomes a label: by a language model or from token statistics; and how explainers agree.

Explainers know nothing of endpoints, threads or commits.
"""
