"""API keys: made here, kept as hashes in a file or an environment variable, checked in constant time.

A key is `fsk_<id>_<secret>`. The secret has 256 random bits, so one SHA-256 of it is kept: slow hashes are for passwords that
can be guessed, and would let strangers keep the service busy.
"""

from __future__ import annotations

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
NOBODY = hashlib.sha256(b"no key has this").hexdigest()


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key as it is kept. `rate` is requests a second over time, `at_once` how many may be under way."""

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
    """The keys of a file, read again when it changes, or of a text. Safe to share between threads."""

    def __init__(self, path: str | Path | None = None, text: str | None = None):
        """Raises NotFound or BadRequest when the keys cannot be read: a service must not start without its lock."""
        self._path = Path(path) if path is not None else None
        self._lock = threading.Lock()
        self._seen: tuple[int, int] | None = None
        self._keys: dict[str, Key] = {}
        if self._path is None:
            self._keys = _parse(text or "", f"${VARIABLE}")
        else:
            self._refresh()

    def check(self, given: str | None, scope: str) -> Key:
        """The key with the text `given`, if it may do `scope`. Raises Unauthorized or Forbidden, repeating no secret."""
        if not given:
            raise Unauthorized("a key is needed: send it as `Authorization: Bearer fsk_...`")
        self._refresh()
        _, _, rest = given.partition("fsk_")
        id, _, secret = rest.partition("_")
        key = self._keys.get(id)
        # Compared also where there is no such key: the time taken tells nothing.
        fits = hmac.compare_digest(_hash(secret), key.hash if key else NOBODY)
        if key is None or not fits:
            raise Unauthorized("the key is not known here: it may have been revoked")
        if scope not in key.scopes:
            raise Forbidden(f"the key '{key.name}' may {', '.join(key.scopes)}; this needs the scope {scope}")
        return key

    def _refresh(self) -> None:
        if self._path is None:
            return
        try:
            found = self._path.stat()
        except FileNotFoundError:
            raise NotFound(f"no keys at {self._path}: make one with `featurestore keys create`") from None
        seen = (found.st_mtime_ns, found.st_size)
        with self._lock:
            if seen != self._seen:
                self._keys = _parse(self._path.read_text(), str(self._path))
                self._seen = seen

    def __len__(self) -> int:
        return len(self._keys)


def create(
    path: str | Path, name: str, scopes: tuple[str, ...] = ("read",), rate: float = 50.0, at_once: int = 16
) -> str:
    """Add a key to the file (made where there is none, readable by its owner only); the key's text, shown only now."""
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown:
        raise BadRequest(f"scope: '{unknown[0]}' is not one of {', '.join(SCOPES)}")
    if not name.strip() or not name.isprintable():
        raise BadRequest(f"name: {name!r} cannot be shown in a log")
    there = listed(path)
    id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    made = Key(
        id=id,
        name=name,
        hash=_hash(secret),
        scopes=tuple(sorted(set(scopes))),
        rate=rate,
        at_once=at_once,
        created_at=datetime.datetime.now(datetime.UTC),
    )
    _write(Path(path), (*there, made))
    return f"fsk_{id}_{secret}"


def revoke(path: str | Path, id: str) -> Key:
    """Take a key out of the file; services that use it know within their next request. Raises NotFound."""
    there = listed(path)
    for key in there:
        if key.id == id:
            _write(Path(path), tuple(one for one in there if one.id != id))
            return key
    raise NotFound(f"no key '{id}' in {path}; there are: {', '.join(one.id for one in there) or 'none'}")


def listed(path: str | Path) -> tuple[Key, ...]:
    """The keys of the file, none where there is no file."""
    if not Path(path).exists():
        return ()
    return tuple(_parse(Path(path).read_text(), str(path)).values())


def _parse(text: str, where: str) -> dict[str, Key]:
    try:
        found = msgspec.json.decode(text, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadRequest(f"{where} holds no keys: {exc}; `featurestore keys create` writes them") from None
    return {key.id: key for key in found.keys}


def _write(path: Path, keys: tuple[Key, ...]) -> None:
    text = msgspec.json.format(msgspec.json.encode(_File(keys)), indent=1)
    staged = path.with_name(path.name + ".new")
    staged.unlink(missing_ok=True)
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text + b"\n")
    staged.replace(path)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
