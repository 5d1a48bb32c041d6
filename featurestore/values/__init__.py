"""What a store answers with: dictionaries, features, hits, graphs and jobs, as frozen values that can be tables too.

They hold no connection, so a local and a remote store return equal values. They know their fields and how they look in
a notebook; they know nothing of files, SQL or HTTP.
"""
