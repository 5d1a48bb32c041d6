"""Streamable HTTP behind the guards of the service: hosts, origins, keys with their scopes, rates and most bytes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import anyio.to_thread
import uvicorn
from mcp.server.mcpserver import Context
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from featurestore.errors import FeatureStoreError, Forbidden
from featurestore.interface import FeatureStore
from featurestore.mcp import answers
from featurestore.mcp.server import create_server
from featurestore.sql.conditions import subqueries_allowed
from featurestore.web.security.guard import parse_host
from featurestore.web.security.keys import Key, Keys, read_key
from featurestore.web.security.limits import Quotas

PATH = "/mcp"
MOST_BYTES = 1_000_000  # of a request
STATE = "featurestore.key"  # where a request keeps the key that it came with


class Admission:
    """An ASGI application behind checks of each request's host, origin, key and rate."""

    def __init__(self, application: ASGIApp, keys: Keys | None, hosts: frozenset[str] | None):
        self._application = application
        self._keys = keys
        self._hosts = hosts
        self._quotas = Quotas()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        release: Callable[[], None] | None = None
        try:
            release = self._admit(Request(scope), scope)
            await self._application(scope, receive, send)
        except FeatureStoreError as exc:
            headers = {"WWW-Authenticate": "Bearer"} if exc.status == 401 else {}
            problem = {"code": exc.code, "detail": str(exc), "status": exc.status}
            await JSONResponse(problem, exc.status, headers)(scope, receive, send)
        finally:
            if release is not None:
                release()

    def _admit(self, request: Request, scope: Scope) -> Callable[[], None] | None:
        host = request.headers.get("host", "")
        if self._hosts is not None and parse_host(host) not in self._hosts:
            raise Forbidden(f"this server does not answer for the host {host!r:.80}: `mcp --allow-host` names others")
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise Forbidden(f"pages of {origin!r:.80} may not ask here")
        if self._keys is None:
            return None
        key = self._keys.check(read_key(request.headers.get("authorization", "")), "read")
        scope[STATE] = key
        return self._quotas.enter(key)


def create_app(
    store: FeatureStore, keys: Keys | None, hosts: frozenset[str] | None, budget: int = answers.BUDGET
) -> ASGIApp:
    """Return the ASGI application that answers at /mcp. Raises BadRequest for a budget of no answer."""
    server = create_server(store, budget, functools.partial(check_scope, keys))
    application = server.streamable_http_app(
        streamable_http_path=PATH,
        json_response=True,
        stateless_http=True,  # each request carries its key, and none holds memory after its answer
        max_request_body_size=MOST_BYTES,
        # Admission checks hosts and origins, by the names that the service is told.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    return Admission(application, keys, hosts)


def check_scope(keys: Keys | None, tool: str, context: Context[Any, Any]) -> None:
    """Hold a call to the scopes of its key: `sql` for the tool of this name and for conditions with subqueries.

    Raises Forbidden.
    """
    if keys is None:
        return
    request = context.request_context.request
    key: Key | None = request.scope.get(STATE) if request is not None else None
    scopes = key.scopes if key is not None else ()
    if tool == "sql" and "sql" not in scopes:
        raise Forbidden("the tool sql needs a key with the scope sql")
    subqueries_allowed.set("sql" in scopes)


def serve(application: ASGIApp, host: str, port: int, threads: int) -> None:
    """Answer at an address until interrupted; `threads` tools run at the same time."""

    async def _serve() -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = threads
        config = uvicorn.Config(application, host=host, port=port, log_level="warning")
        await uvicorn.Server(config).serve()

    anyio.run(_serve)
