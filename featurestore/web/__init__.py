"""The service: a Flask application over any FeatureStore, JSON under /v1 and pages for a browser."""

from featurestore.web.app import create_app, keys_of
from featurestore.web.logs import AccessLog
from featurestore.web.serving.server import check_port, serve
from featurestore.web.serving.workers import serve_workers
from featurestore.web.settings import Settings, loopback, trusted_hosts

__all__ = [
    "AccessLog",
    "Settings",
    "check_port",
    "create_app",
    "keys_of",
    "loopback",
    "serve",
    "serve_workers",
    "trusted_hosts",
]
