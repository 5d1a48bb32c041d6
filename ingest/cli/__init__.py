"""Commands that `featurestore` gains from this package: harvest and inspect, and the options that they share.

Knows click and the packages below. Heavy ones (torch, transformers) are imported when a command runs.
"""
