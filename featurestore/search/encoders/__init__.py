"""Encoders: texts to unit vectors, a module for each runtime. `featurestore.search.embedders` opens one by its setting.

bert.py needs NumPy alone, transformer.py torch and transformers, endpoint.py a server. Knows no store.
"""
