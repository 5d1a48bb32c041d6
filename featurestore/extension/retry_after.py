"""The Retry-After header of HTTP answers."""

from featurestore.retry_after import parse_retry_after

__all__ = ["parse_retry_after"]
