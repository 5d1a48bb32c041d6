"""Texts, chats and token ids to a corpus: sources are read, tokenised once, and kept in a mapped file.

Knows files, datasets and tokenizers. Knows nothing of dictionaries, of running a model, or of how a store is laid out.
"""
