"""How the service answers the questions of `featurestore.wire`, where it does more than ask the store.

Knows Flask; knows nothing of pages, keys or lanes. A new module is one more import here.
"""

from featurestore.web.api import (  # noqa: F401 - they bind
    batches,
    graphs,
    health,
    jobs,
    labels,
    lists,
    matrices,
    searches,
    sql,
    values,
)
from featurestore.web.api.routes import blueprint

__all__ = ["blueprint"]
