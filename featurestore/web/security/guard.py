"""What every request passes: checks of host, origin, key, rate and lane before; headers, log and metrics after."""

from __future__ import annotations

import datetime
import functools
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Flask, Response, current_app, g, request
from werkzeug.datastructures import ImmutableMultiDict

from featurestore.errors import BadRequest, Forbidden
from featurestore.interface import FeatureStore
from featurestore.sql.conditions import subqueries_allowed
from featurestore.web import answer_cache, metrics
from featurestore.web.compression import compress
from featurestore.web.logs import LogEntry, choose_request_id
from featurestore.web.pages.page import Page
from featurestore.web.security import headers
from featurestore.web.security.keys import read_key
from featurestore.web.security.limits import Lanes, Quotas
from featurestore.web.security.sites import READING, Sender, check_other_site, find_sender
from featurestore.web.serving import dispatch
from featurestore.web.settings import Settings
from featurestore.wire.question import Question

# Needs no key: these show what the service is, not what it holds.
OPEN = {"static", "docs.openapi", "docs.docs", "llms.short", "llms.full"}
# Lanes of pages that a link of another site opens without running what it says.
NEVER_LINKED = ("sql", "activating")


class Guard:
    """The checks of one application. What a request holds (a lane, a count of its key) is given back when it ends."""

    def __init__(self, app: Flask, store: FeatureStore, settings: Settings, pages: dict[str, Page]):
        """Put the checks before and after every request of `app`; `pages` are its pages by endpoint."""
        self._store = store
        self._settings = settings
        self._pages = pages
        self._lanes = Lanes(settings.threads)
        self._quotas = Quotas()
        app.wsgi_app = headers.add_headers(app.wsgi_app, settings.frame_ancestors)  # type: ignore[method-assign]
        app.before_request(self._admit)
        app.after_request(self._finish)
        app.teardown_request(self._release)

    def _admit(self) -> Response | None:
        """Check a request; return its answer where no route is needed for it, None else. Raises what refuses it."""
        g.began = time.perf_counter()
        g.request_id = choose_request_id(request.headers.get("X-Request-Id"))
        g.releases = []
        metrics.begin_request()
        g.releases.append(metrics.end_request)
        g.embed = False
        self._check_host()
        self._note_embedding()
        sender = find_sender(self._settings.origins)
        if sender is Sender.NAMED:
            g.origin = request.headers["Origin"]
        question = _find_question()
        scope, lane = self._needs(question)
        if sender is Sender.OTHER and (scope or request.method not in READING):
            in_frame = g.embed and bool(self._settings.frame_ancestors)
            check_other_site(request.endpoint in self._pages, lane, in_frame)
            # A link of another site must not have SQL run: the page shows the statement, and a person sends it.
            g.only_shown = lane in NEVER_LINKED or bool(request.args.get("where"))
            scope, lane = ("read", "light") if g.only_shown else (scope, lane)
        if request.method == "OPTIONS":
            return headers.answer_preflight() if sender is Sender.NAMED else None
        if question is not None and question.most_bytes is not None:
            request.max_content_length = question.most_bytes
        if scope == "write":
            self._check_write(sender)
        g.may_write = self._settings.writes
        subqueries_allowed.set(self._settings.keys is None)  # without keys, whoever asks may run SQL too
        if self._settings.keys is not None and scope:
            key = self._settings.keys.check(_find_key(), scope)
            g.key = key.name
            g.may_write = g.may_write and "write" in key.scopes
            subqueries_allowed.set("sql" in key.scopes)
            g.releases.append(self._quotas.enter(key))
        # Another site's page could lay a frame of ours under its user's mouse.
        g.may_write = g.may_write and not g.embed
        unchanged = self._answer_unchanged(question)
        if unchanged is None and lane != "light":
            dispatch.step_aside()
            g.releases.append(self._lanes.enter(lane))
        return unchanged

    def _needs(self, question: Question[Any, Any] | None) -> tuple[str, str]:
        """Return the scope and the lane of the request; an empty scope needs no key."""
        endpoint = request.endpoint
        if endpoint is None or endpoint in OPEN:
            return "", "light"  # where nothing is, the answer says only that
        if question is not None:
            return question.scope, choose_lane(question)
        if endpoint in self._pages:
            has_fields = any(value for _, value in request.args.items(multi=True))
            scope, lane = self._pages[endpoint].needs(has_fields)
            return scope, lane if lane == "light" else choose_lane(self._pages[endpoint])
        return "read", "light"

    def _note_embedding(self) -> None:
        """Note whether the request is for a page in a frame (?embed=true), and take that out of its fields.

        Raises BadRequest for another value than true or false, and for a page that shows no frames.
        """
        page = self._pages.get(request.endpoint or "")
        if page is None or not page.may_embed or "embed" not in request.args:
            return
        values = request.args.getlist("embed")
        if values not in (["true"], ["false"]):
            raise BadRequest(f"embed: {', '.join(values)!r:.80} is neither true nor false")
        g.embed = values == ["true"]
        rest = [(name, value) for name, value in request.args.items(multi=True) if name != "embed"]
        request.args = ImmutableMultiDict(rest)
        request.environ[headers.EMBEDDED] = g.embed

    def _check_host(self) -> None:
        trusted = self._settings.hosts
        if trusted is None:
            return
        if parse_host(request.headers.get("Host", "")) not in trusted:
            host = request.headers.get("Host")
            raise Forbidden(
                f"this service does not answer for the host {host!r:.80}: `serve --allow-host` names others"
            )

    def _check_write(self, sender: Sender) -> None:
        """Raises Forbidden where nothing may be written, or where another site's page could have sent this."""
        if not self._settings.writes:
            raise Forbidden("nothing can be written here: `featurestore serve --allow-writes` takes it")
        if request.endpoint in self._pages:
            # A browser sends a form with its user's rights, so only our own pages may send one.
            if sender is not Sender.OWN:
                raise Forbidden("a form is taken from this service's own pages; programs write to /v1/labels")
        elif request.method != "DELETE" and request.mimetype != "application/json":
            # Other types can be sent by a form of any site.
            raise BadRequest("Content-Type: what is written is sent as application/json")

    def _answer_unchanged(self, question: Question[Any, Any] | None) -> Response | None:
        """Return 304 where the caller has this answer already; else None."""
        if question is None or not question.tagged:
            return None
        version = getattr(self._store, "version", None)
        if version is None:
            return None
        g.tag = answer_cache.compute_tag(version)
        known = request.if_none_match
        # `*` is any answer that exists: whether one does is known after the route has answered.
        return Response(status=304) if known.contains_weak(g.tag) and not known.star_tag else None

    def _finish(self, answer: Response) -> Response:
        """Add headers to an answer, compress it, and record it in the metrics and the log."""
        answer.headers["X-Request-Id"] = g.request_id
        if "tag" in g and answer.status_code == 200 and request.if_none_match.star_tag:
            answer = Response(status=304)
            answer.headers["X-Request-Id"] = g.request_id
        varies = []
        if "tag" in g and answer.status_code in (200, 304):
            answer.headers["ETag"] = f'W/"{g.tag}"'
            answer.headers["Cache-Control"] = "private, no-cache"
            varies.append("Accept")
        elif request.endpoint != "static":
            answer.headers.setdefault("Cache-Control", "no-store")
        if "origin" in g:
            headers.allow_origin(answer, g.origin)
        if self._settings.origins:
            varies.append("Origin")
        if compress(answer):
            varies.append("Accept-Encoding")
        headers.add_vary(answer, varies)
        seconds = time.perf_counter() - g.began
        metrics.record_answer(request.url_rule.rule if request.url_rule else "other", answer.status_code, seconds)
        self._log(answer, seconds)
        if answer.is_streamed and not answer.direct_passthrough and g.releases:
            # The lane is given back after the last row, not after the first.
            releases, g.releases = g.releases, []
            answer.response = _release_after(answer.response, releases)
            answer.call_on_close(lambda: _call_all(releases))
        return answer

    def _log(self, answer: Response, seconds: float) -> None:
        if self._settings.access_log is None:
            return
        self._settings.access_log.write(
            LogEntry(
                time=datetime.datetime.now(datetime.UTC),
                request=g.request_id,
                method=request.method,
                path=request.path,
                status=answer.status_code,
                ms=round(seconds * 1000, 2),
                bytes=None if answer.is_streamed else answer.content_length,
                key=g.get("key"),
                remote=request.remote_addr,
            )
        )

    def _release(self, exc: BaseException | None) -> None:
        """Give back what the request held."""
        subqueries_allowed.set(True)
        releases, g.releases = g.get("releases", []), []
        _call_all(releases)


def choose_lane(declared: Question[Any, Any] | Page) -> str:
    """Return the lane of a question or a page, which may depend on the fields of the URL."""
    if declared.lane_by is None:
        return declared.lane
    return declared.lane_by(request.args.to_dict(flat=False))


def _find_question() -> Question[Any, Any] | None:
    """Return the question of featurestore.wire that the request asks; None for a page."""
    view = current_app.view_functions.get(request.endpoint or "")
    question: Question[Any, Any] | None = getattr(view, "question", None)
    return question


@functools.lru_cache(256)
def parse_host(header: str) -> str:
    """Return the name in a Host header, in lower case and without the port; "" where it is not of that form."""
    match = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](:[0-9]+)?|([A-Za-z0-9._-]+)(:[0-9]+)?", header)
    return (match[1] or match[3]).lower() if match else ""


def _find_key() -> str | None:
    """Return the key that the request came with; clients of Neuronpedia send it in a header of its own."""
    return read_key(request.headers.get("Authorization", "")) or request.headers.get("X-Api-Key")


def _release_after(pieces: Iterable[Any], releases: list[Callable[[], Any]]) -> Iterator[Any]:
    """Yield the pieces of an answer; what it held is given back after the last one, and when one fails."""
    try:
        yield from pieces
    finally:
        _call_all(releases)


def _call_all(calls: list[Callable[[], Any]]) -> None:
    while calls:
        calls.pop()()
