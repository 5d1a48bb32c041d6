"""Searches, texts and statements to begin with, which the pages offer."""

SEARCHES = ("exception handling", "import statements", "method self argument", "numbers", "closing brackets")

TEXTS = (
    "def __init__(self, name):",
    "    raise ValueError('unknown format code')",
    "import os, sys",
    '    """Return a new list of the keys."""',
)

QUERIES = {
    "Features by state": "SELECT dictionary, state, count(*) AS features\nFROM features GROUP BY ALL ORDER BY ALL",
    "Densest live features": (
        "SELECT dictionary, feature, density, label\nFROM features WHERE state = 'live'\nORDER BY density DESC LIMIT 20"
    ),
    "Tokens most features promote": (
        "SELECT top_logits[1].token AS token, count(*) AS features\n"
        "FROM features GROUP BY 1 ORDER BY features DESC LIMIT 20"
    ),
    "Strongest examples": (
        "SELECT dictionary, feature, activation, array_to_string(tokens, '') AS text\n"
        "FROM examples WHERE band = 'top' AND rank = 0\nORDER BY activation DESC LIMIT 10"
    ),
    "Labels that several features share": (
        "SELECT label, count(*) AS features, list(dictionary || '/' || feature)[:5] AS some\n"
        "FROM best_labels GROUP BY label HAVING count(*) > 1\nORDER BY features DESC LIMIT 20"
    ),
    "Where a concept lives": (
        "SELECT f.layer, count(*) AS features, arg_max(f.label, h.score) AS best\n"
        "FROM search('exception handling', k := 200) h\nJOIN features f USING (dictionary, feature)\n"
        "GROUP BY f.layer ORDER BY f.layer"
    ),
    "Encoder and decoder disagree": (
        "SELECT dictionary, feature, encoder_decoder_cosine AS cosine, density, label\n"
        "FROM features WHERE encoder_decoder_cosine IS NOT NULL AND state = 'live'\nORDER BY cosine LIMIT 20"
    ),
}
