"""What packages beside featurestore (ingest, labeler, your own) may use in addition to its public names.

    commands.py     the options that every command shares, the command group, and building indexes after a command
    locations.py    the models and weights that the user has named
    output.py       how commands print tables, JSON lines and cells
    progress.py     how commands show progress, and keep a record of it among the store's jobs
    ray_cluster.py  a Ray cluster, joined or started
    serving.py      serving a store over HTTP
    text.py         one-line texts

A package adds a command to `featurestore` with an entry point of the group `featurestore.commands`. Nothing here knows
what any command does.
"""
