"""How values look: numbers, one-line texts, tokens with their activations, charts, and HTML for notebooks.

Pure functions of what they are given. Knows nothing of stores, of Flask and of the command line.
"""
