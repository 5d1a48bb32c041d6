"""Processes of our own Python."""

from featurestore.storage.python_process import end_with_parent as end_with_parent
from featurestore.storage.python_process import start_python as start_python
