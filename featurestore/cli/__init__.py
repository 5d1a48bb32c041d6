"""The command line: a module for each family of commands; each command is a method of the store.

Knows how people ask and read; knows nothing of how a store answers.
"""
