"""How a service is protected: who may ask, from where, and how much at once."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from featurestore.web.logs import AccessLog
    from featurestore.web.security.keys import Keys

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a service is protected. The defaults suit an application inside a test or behind another one.

    `keys`: who may ask (None: everybody). `hosts`: names that the Host header of a request may have (None: any).
    `origins`: other sites whose scripts may read answers. `threads`: requests served at once; costly ones get a part of
    them. `writes`: whether labels and graphs may be written, and maintenance started. `compat`:
    interfaces of other services that are answered too. `frame_ancestors`: other sites that may show pages in frames.
    """

    keys: Keys | None = None
    hosts: frozenset[str] | None = None
    origins: frozenset[str] = frozenset()
    threads: int = 8
    writes: bool = False
    compat: frozenset[str] = frozenset()
    frame_ancestors: frozenset[str] = frozenset()
    access_log: AccessLog | None = None


def loopback(host: str) -> bool:
    """Return whether only this machine can reach a service that listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def trusted_hosts(host: str, more: tuple[str, ...] = ()) -> frozenset[str] | None:
    """Return the names in Host headers that a service listening on `host` answers for; None for any name.

    On loopback these are its own names and `more`, so that another domain that resolves to 127.0.0.1 (DNS rebinding) is
    refused. Elsewhere they are `more`, or any name if `more` is empty.
    """
    if loopback(host):
        return LOCAL_NAMES | {host, *more}
    return frozenset(more) or None
