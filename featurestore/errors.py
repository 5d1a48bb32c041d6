"""The errors a user can meet, each with its HTTP status and its exit code.

    FeatureStoreError             500  exit 1
      BadRequest                  400  exit 2   the request cannot mean anything
      NotFound                    404  exit 3   no such store, dictionary or feature
      Conflict                    409  exit 4   another writer wrote the same thing
      UnsupportedVersion          501  exit 5   the store is of another format version
      Unavailable                 503  exit 6   something needed is not there: a package, a server, a model, time
      BadStore                    500  exit 7   the store's files are damaged or incomplete
      Unauthorized                401  exit 8   a service wants a key, or does not know the one given
      Forbidden                   403  exit 9   the key, or the page that asks, may not do this
      TooManyRequests             429  exit 10  more at once, or in a row, than a service takes

The tree is flat, so a client finds the class again by its `code`. Messages say what was asked, what is there and what
to do; they are written once, where the fact is known, and doors only translate the type.
"""

from typing import ClassVar


class FeatureStoreError(Exception):
    """Base of every error this package raises for a user's mistake or a missing thing."""

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "error"
    # Seconds after which asking again may help; None where it is not known.
    retry_after: float | None = None


class BadRequest(FeatureStoreError):
    """The request cannot mean anything: a malformed query, id, vector or SQL statement."""

    status, exit_code, code = 400, 2, "bad_request"


class NotFound(FeatureStoreError):
    """There is no such store, dictionary, feature, file or page."""

    status, exit_code, code = 404, 3, "not_found"


class Conflict(FeatureStoreError):
    """The thing exists already, or another writer changed it first."""

    status, exit_code, code = 409, 4, "conflict"


class UnsupportedVersion(FeatureStoreError):
    """The store was written in a format this version does not read."""

    status, exit_code, code = 501, 5, "unsupported_version"


class Unavailable(FeatureStoreError):
    """Something needed is not there now: an optional package, a server, a model's files, or time."""

    status, exit_code, code = 503, 6, "unavailable"


class BadStore(FeatureStoreError):
    """The store's files are damaged or incomplete."""

    status, exit_code, code = 500, 7, "bad_store"


class Unauthorized(FeatureStoreError):
    """The service wants a key, or does not know the one that was given."""

    status, exit_code, code = 401, 8, "unauthorized"


class Forbidden(FeatureStoreError):
    """The key does not allow this, or the request comes from a page or for a host that the service does not trust."""

    status, exit_code, code = 403, 9, "forbidden"


class TooManyRequests(FeatureStoreError):
    """More requests at once, or in a row, than the service takes: ask again after `retry_after` seconds."""

    status, exit_code, code = 429, 10, "too_many_requests"


def error_of(code: str, message: str) -> FeatureStoreError:
    """The error whose `code` a server sent; an unknown code gives the base class with the same message."""
    classes = {cls.code: cls for cls in FeatureStoreError.__subclasses__()}
    return classes.get(code, FeatureStoreError)(message)
