"""Which site a request comes from, as browsers say it: our own pages, nobody's page, or the page of another site.

Pages cannot set or change Sec-Fetch-Site and Origin. Programs send neither. Browsers send Sec-Fetch-Site to https and
to the loopback address (https://www.w3.org/TR/fetch-metadata/), and Origin with everything but plain GET and HEAD.
"""

from __future__ import annotations

from enum import Enum

from flask import request

from featurestore.errors import Forbidden

READING = ("GET", "HEAD")


class Sender(Enum):
    """Who sent a request."""

    OWN = "a page of this service"
    NOBODY = "no page: a program, or an address that somebody typed"
    NAMED = "a page of a site that --cors-origin names"
    OTHER = "a page of any other site"


def find_sender(origins: frozenset[str]) -> Sender:
    """Return who sent the current request; `origins` are the named sites."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if origin in origins:
        return Sender.NAMED
    # With a referrer policy of a user or an extension, the Origin of our own form is "null".
    if site == "same-origin":
        return Sender.OWN
    if site not in (None, "none"):
        return Sender.OTHER
    if origin is None:
        return Sender.NOBODY
    return Sender.OWN if origin.partition("://")[2] == request.headers.get("Host") else Sender.OTHER


def check_other_site(is_page: bool, lane: str, in_frame: bool = False) -> None:
    """Raise Forbidden for a request of another site's page, unless it is a link that leads a person here.

    A link may lead to every page, and to answers that cost little; not into a picture or a script, and into a frame
    only where the page may stand in one (`in_frame`).
    """
    leads_here = request.headers.get("Sec-Fetch-Mode") == "navigate" and (
        request.headers.get("Sec-Fetch-Dest") in (("document", "iframe") if in_frame else ("document",))
    )
    if request.method in READING and leads_here and (is_page or lane == "light"):
        return
    origin = request.headers.get("Origin")
    whose = f"of {origin!r:.80}" if origin else "of other sites"
    raise Forbidden(f"pages {whose} may not ask here: `serve --cors-origin` names those that may")
