"""API keys: made here, kept as hashes in a file or an environment variable, checked in constant time.

A key is `fsk_<id>_<secret>`. The secret has 256 random bits, so one SHA-256 of it is kept: slow hashes are for
passwords, which can be guessed, and would let any caller keep the service busy.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import hmac
import os
import secrets
import threading
from pathlib import Path

import msgspec

from featurestore.errors import BadRequest, Forbidden, NotFound, Unauthorized

SCOPES = ("read", "sql", "write")
VARIABLE = "FEATURESTORE_KEYS"
UNKNOWN = hashlib.sha256(b"no key has this").hexdigest()


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key as it is kept. `rate` is in requests a second over time, `at_once` the most requests under way."""

    id: str
    name: str
    hash: str
    scopes: tuple[str, ...]
    rate: float = 50.0
    at_once: int = 16
    created_at: datetime.datetime | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: tuple[Key, ...] = ()


class Keys:
    """The keys of a file, read again when the file changes, or of a text. Safe to share between threads."""

    def __init__(self, path: str | Path | None = None, text: str | None = None):
        """Raises NotFound or BadRequest when the keys cannot be read: a service must not start without its keys."""
        self._path = Path(path) if path is not None else None
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None  # time of the last change (ns) and size (bytes) of what was read
        self._keys: dict[str, Key] = {}
        if self._path is None:
            self._keys = _parse(text or "", f"${VARIABLE}")
        else:
            self._refresh()

    def check(self, text: str | None, scope: str) -> Key:
        """Return the key with this text, if it has the scope. Raises Unauthorized or Forbidden, without the secret."""
        if not text:
            raise Unauthorized("a key is needed: send it as `Authorization: Bearer fsk_...`")
        self._refresh()
        _, _, rest = text.partition("fsk_")
        id, _, secret = rest.partition("_")
        key = self._keys.get(id)
        # Compared for an unknown id too, so that the time taken tells nothing.
        fits = hmac.compare_digest(_hash(secret), key.hash if key else UNKNOWN)
        if key is None or not fits:
            raise Unauthorized("the key is not known here: it may have been revoked")
        if scope not in key.scopes:
            raise Forbidden(f"the key '{key.name}' may {', '.join(key.scopes)}; this needs the scope {scope}")
        return key

    def _refresh(self) -> None:
        """Read the file again if it changed. Raises NotFound where it is gone."""
        if self._path is None:
            return
        try:
            status = self._path.stat()
        except FileNotFoundError:
            raise NotFound(f"no keys at {self._path}: make one with `featurestore keys create`") from None
        stamp = (status.st_mtime_ns, status.st_size)
        with self._lock:
            if stamp != self._stamp:
                self._keys = _parse(self._path.read_text(), str(self._path))
                self._stamp = stamp

    def __len__(self) -> int:
        return len(self._keys)


def read_key(authorization: str) -> str | None:
    """Return the key in an Authorization header: its bearer token, or the password of Basic; None without either."""
    kind, _, credentials = authorization.partition(" ")
    if kind.lower() == "bearer":
        return credentials.strip()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None


def create(
    path: str | Path, name: str, scopes: tuple[str, ...] = ("read",), rate: float = 50.0, at_once: int = 16
) -> str:
    """Add a key to the file, and return its text, which is not kept.

    The file is made if it does not exist, readable by its owner only. Raises BadRequest for an unknown scope or a name
    that cannot be logged.
    """
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown:
        raise BadRequest(f"scope: '{unknown[0]}' is not one of {', '.join(SCOPES)}")
    if not name.strip() or not name.isprintable():
        raise BadRequest(f"name: {name!r} cannot be shown in a log")
    keys = list_keys(path)
    id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    key = Key(
        id=id,
        name=name,
        hash=_hash(secret),
        scopes=tuple(sorted(set(scopes))),
        rate=rate,
        at_once=at_once,
        created_at=datetime.datetime.now(datetime.UTC),
    )
    _write(Path(path), (*keys, key))
    return f"fsk_{id}_{secret}"


def revoke(path: str | Path, id: str) -> Key:
    """Remove a key from the file and return it; services that use the file refuse it from the next request on.

    Raises NotFound.
    """
    keys = list_keys(path)
    for key in keys:
        if key.id == id:
            _write(Path(path), tuple(other for other in keys if other.id != id))
            return key
    raise NotFound(f"no key '{id}' in {path}; there are: {', '.join(key.id for key in keys) or 'none'}")


def list_keys(path: str | Path) -> tuple[Key, ...]:
    """Return the keys of the file; none if it does not exist."""
    if not Path(path).exists():
        return ()
    return tuple(_parse(Path(path).read_text(), str(path)).values())


def _parse(text: str, where: str) -> dict[str, Key]:
    """Return the keys of a text by id; `where` names it in the BadRequest that is raised for a text without keys."""
    try:
        file = msgspec.json.decode(text, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadRequest(f"{where} holds no keys: {exc}; `featurestore keys create` writes them") from None
    return {key.id: key for key in file.keys}


def _write(path: Path, keys: tuple[Key, ...]) -> None:
    """Replace the file in one step, so that no reader sees half of it."""
    text = msgspec.json.format(msgspec.json.encode(_File(keys)), indent=1)
    staged = path.with_name(path.name + ".new")
    staged.unlink(missing_ok=True)
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text + b"\n")
    staged.replace(path)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
