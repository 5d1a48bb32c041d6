"""Attribution graphs: their files, the dictionaries their features belong to, and how a store keeps them.

file_format.py and dictionary_names.py know no store. Nothing here knows how graphs are made or drawn.
"""
