"""The store on this machine or on an object store: the interface's answers, composed of the folders below."""

from featurestore.store.store import Store

__all__ = ["Store"]
