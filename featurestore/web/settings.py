"""What whoever serves a store decides: who may ask, from where, how much."""

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

    `keys`: who may ask (None: everybody). `hosts`: names a request's Host header may have (None: any).
    `origins`: pages of other sites whose scripts may read answers. `threads`: requests served at once, of which costly
    ones get a part. `writes`: whether labels and graphs may be written, and maintenance started.
    """

    keys: Keys | None = None
    hosts: frozenset[str] | None = None
    origins: frozenset[str] = frozenset()
    threads: int = 8
    writes: bool = False
    access_log: AccessLog | None = None


def loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def trusted_hosts(host: str, more: tuple[str, ...] = ()) -> frozenset[str] | None:
    """The Host headers to answer for when listening on `host`: on loopback only its names, so that a stranger's domain
    that is pointed at 127.0.0.1 (DNS rebinding) is refused; elsewhere those that are named, or any."""
    if loopback(host):
        return LOCAL_NAMES | {host, *more}
    return frozenset(more) or None
