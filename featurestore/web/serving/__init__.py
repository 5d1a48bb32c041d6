"""Serving an application over HTTP: waitress in one process, or worker processes behind one port; which thread answers.

It knows nothing of what the application answers.
"""
