"""One module for each published format of weights: each recognises its files and reads one dictionary from them.

Knows files, names of tensors and their layout. Knows nothing of models, corpora or stores.
"""
