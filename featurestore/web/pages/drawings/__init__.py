"""Where the parts of a drawing stand: nodes, links and their names. Knows nothing of requests."""
