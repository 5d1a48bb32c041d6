"""Arrays in NumPy's files, which come from elsewhere."""

from featurestore.values.matrix import plain_errors as plain_errors
