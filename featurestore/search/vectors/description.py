"""index.json: what an index by lists says of itself, held to its files when it is read."""

from __future__ import annotations

from pathlib import Path

import msgspec

from featurestore.errors import BadStore, UnsupportedVersion
from featurestore.search.vectors import plan

FORMAT = 2


class About(msgspec.Struct, frozen=True, kw_only=True):
    """index.json."""

    format: int = FORMAT
    dim: int
    code_dim: int
    rows: int
    parts: tuple[int, ...]  # rows of each
    trained_rows: int  # there were when the centroids were trained
    plan: plan.Plan
    files: dict[str, int]  # bytes of each


def read_about(path: Path) -> About:
    """The description of the index at `path`, its files held to it.

    Raises BadStore for a file that is missing or of another size, UnsupportedVersion for another format.
    """
    try:
        raw = (path / "index.json").read_bytes()
        format_ = msgspec.json.decode(raw).get("format")
        if format_ != FORMAT:
            raise UnsupportedVersion(f"the index {path} is of format {format_}, not {FORMAT}: run `featurestore index`")
        about = msgspec.json.decode(raw, type=About)
        for name, size in about.files.items():
            size_found = (path / name).stat().st_size
            if size_found != size:
                raise BadStore(f"{path / name} has {size_found} bytes, not {size}; run `featurestore index --rebuild`")
    except (OSError, msgspec.MsgspecError, AttributeError) as exc:
        raise BadStore(f"the index {path} cannot be read; run `featurestore index --rebuild` ({exc})") from None
    return about
