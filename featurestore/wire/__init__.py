"""The questions of the HTTP interface, each declared once: its path, what it takes and gives, who may ask it.

The service answers them, the client asks them, the OpenAPI document lists them. Knows msgspec and the values; knows
nothing of HTTP libraries, of stores or of pyarrow.
"""
