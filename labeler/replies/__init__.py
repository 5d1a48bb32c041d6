"""What a model's reply says: which part of it is the answer, read in whatever form it comes.

Knows texts and JSON; knows nothing of features, of scores, or of how a model is asked.
"""
