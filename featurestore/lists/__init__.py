"""Lists of features that people keep: their rows in the store (list_store.py), and files of them (file_format.py).

They know nothing of searches: the catalog of a snapshot asks for the features of a list by its name.
"""
