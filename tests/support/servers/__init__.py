"""Servers that tests start on loopback ports: our own application, and an object store."""
