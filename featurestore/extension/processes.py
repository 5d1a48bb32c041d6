"""Processes of our own Python."""

from featurestore.storage.python_process import start_python as start_python
