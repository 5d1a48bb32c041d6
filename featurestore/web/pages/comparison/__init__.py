"""The page that lays features or dictionaries side by side."""
