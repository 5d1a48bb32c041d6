"""What features mean: labels from token statistics and language models, scores of labels, and their commands.

Uses a store through featurestore's public names and featurestore.extension. Knows nothing of ingest.
"""
