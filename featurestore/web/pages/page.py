"""The declaration of a page: where it is, which function answers it, and what a request for it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from flask.typing import ResponseReturnValue


class Page(NamedTuple):
    """A page. `view(store, ...)` answers a request, with the parts of the path that vary as further arguments.

    `scope` is the right that a key needs, `lane` the queue that requests wait in (security/limits.py). With
    `has_blank_form` the page is an empty form when it has no fields; that needs the scope read and no lane. With
    `may_embed` it takes ?embed=true, and is then for a frame of another site: without forms and links of ours around.
    `lane_by` says the lane by the fields of the URL, where it depends on them.
    """

    path: str
    view: Callable[..., ResponseReturnValue]
    method: str = "GET"
    scope: str = "read"
    lane: str = "light"
    has_blank_form: bool = False
    may_embed: bool = False
    lane_by: Callable[[Mapping[str, Sequence[str]]], str] | None = None

    @property
    def endpoint(self) -> str:
        """The name of the page's route in the application."""
        return f"pages.{self.view.__name__}"

    def needs(self, has_fields: bool) -> tuple[str, str]:
        """Return the scope and the lane of a request."""
        return ("read", "light") if self.has_blank_form and not has_fields else (self.scope, self.lane)
