"""The HTTP service: a Flask application over any FeatureStore, with JSON under /v1 and pages for a browser.

`app` puts it together from `api` (JSON), `pages` (HTML) and `security` (keys, origins, limits); `serving` runs it in
processes and threads. It uses the interface of a store only, and knows nothing of how a store keeps and finds its data.
"""

from featurestore.web.app import create_app, keys_of
from featurestore.web.logs import AccessLog
from featurestore.web.security.headers import check_ancestors
from featurestore.web.serving.server import serve
from featurestore.web.serving.sockets import check_port
from featurestore.web.serving.workers import serve_workers
from featurestore.web.settings import Settings, loopback, trusted_hosts

__all__ = [
    "AccessLog",
    "Settings",
    "check_ancestors",
    "check_port",
    "create_app",
    "keys_of",
    "loopback",
    "serve",
    "serve_workers",
    "trusted_hosts",
]
