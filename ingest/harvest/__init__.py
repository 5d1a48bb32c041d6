"""Harvests: one pass of a model over a corpus gives all statistics and examples of dictionaries' features.

`plan` checks what is wanted, `forward_pass` counts units of the corpus, executors do it here or on a Ray cluster, and
`write_dictionary` adds the results to a store. This folder knows nothing of formats of weights, sources of texts and
commands.
"""
