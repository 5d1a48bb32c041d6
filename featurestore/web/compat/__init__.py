"""Interfaces of other services, answered from a store, so that their clients and front ends work unchanged.

`serve --compat NAME` adds them. Every route is bound to a question as those of /v1 are: the same keys, scopes, lanes
and limits hold. What a store cannot answer is 501 with the reason, never an answer of another shape.
"""

from featurestore.web.compat.routes import COMPAT, create_compat

__all__ = ["COMPAT", "create_compat"]
