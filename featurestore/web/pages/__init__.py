"""The pages that a person sees in a browser: a module for each family, and their templates and static files.

A page is the JSON of the same question as HTML. Pages use the interface of a store only, so they work over a remote
store too. They know nothing of keys, limits and threads.
"""
