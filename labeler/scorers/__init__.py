"""How well a label fits its feature: texts to judge it on, methods, statistics, and figures of whole dictionaries.

Scorers know nothing of threads, commits or commands.
"""
