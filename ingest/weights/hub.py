"""Fetches weights from the Hugging Face hub: hf://org/repo//sub/dir@revision to files on this machine."""

from __future__ import annotations

import re
from pathlib import Path

from featurestore import BadRequest, NotFound, Unavailable
from featurestore.extension.text import first_line
from ingest.weights import listing
from ingest.weights.tensors import SUFFIXES

REFERENCE = re.compile(r"hf://([\w.-]+/[\w.-]+?)(?://?([^@]*?))?/?(?:@(.+))?")
CONFIGS = ("*.json", "*.yaml", "*.yml")  # small, and some formats keep them above the weights


def parse(location: str) -> tuple[str, str, str | None]:
    """Returns repository, path in it ("" for all of it) and revision. Raises BadRequest."""
    match = REFERENCE.fullmatch(location)
    if not match or ".." in location.split("/"):
        raise BadRequest(
            f"'{location}' is no place on the hub: write hf://org/repo, //sub/dir behind it and @revision last"
        )
    return match[1], match[2] or "", match[3]


def fetch(location: str) -> Path:
    """Returns the directory or file on this machine, downloaded if it is not in the hub's cache yet.

    With HF_HUB_OFFLINE only the cache is used. Raises NotFound, Unavailable, or BadRequest, before anything is
    downloaded, if the place holds several dictionaries.
    """
    try:
        from huggingface_hub import HfApi, constants, snapshot_download
        from huggingface_hub import errors as hub_errors
    except ImportError as exc:
        raise Unavailable(f"reading from the hub needs {exc.name}: pip install 'featurestore[harvest]'") from None
    repository, inside, revision = parse(location)
    try:
        wanted = None
        if not constants.HF_HUB_OFFLINE:
            names = HfApi().list_repo_files(repository, revision=revision)
            wanted = _select_patterns(location, inside, names)
        root = Path(snapshot_download(repository, revision=revision, allow_patterns=wanted))
    except hub_errors.RevisionNotFoundError:
        raise NotFound(f"{location}: {repository} has no revision {revision}") from None
    except hub_errors.LocalEntryNotFoundError:
        raise Unavailable(
            f"{location} is not in the hub's cache, and the hub cannot be reached (or HF_HUB_OFFLINE is set)"
        ) from None
    except hub_errors.GatedRepoError:
        raise Unavailable(
            f"{location}: {repository} asks for its terms to be accepted, and for a login: hf auth login"
        ) from None
    except hub_errors.RepositoryNotFoundError:
        raise NotFound(
            f"{location}: there is no repository {repository} on the hub, or it is private: hf auth login"
        ) from None
    except (hub_errors.HfHubHTTPError, OSError) as exc:
        raise Unavailable(f"{location} cannot be fetched: {first_line(exc)}") from None
    path = root / inside
    if not path.exists():
        raise NotFound(f"{location}: {repository} has no {inside} (as far as it is in the hub's cache, {root})")
    return path


def _select_patterns(location: str, inside: str, names: list[str]) -> list[str]:
    """Returns patterns of the files of one dictionary. Raises BadRequest for several dictionaries, NotFound for
    none."""
    above = [f"{parent}{config}" for parent in _parents(inside) for config in CONFIGS]
    if inside.endswith(SUFFIXES):
        if inside not in names:
            raise NotFound(f"{location}: there is no file {inside}")
        beside = []
        if match := re.fullmatch(r"(.*)W_enc_(\d+)\.safetensors", inside):
            beside = [f"{match[1]}W_dec_{match[2]}.safetensors"]
        if inside.endswith(".pt"):
            beside.append(inside[:-3] + "_cfg.json")
        return [inside, *beside, *above]
    below = [name for name in names if not inside or name.startswith(f"{inside}/")]
    if not below:
        raise NotFound(f"{location}: there is nothing at {inside}")
    places = listing.dictionaries(name.removeprefix(f"{inside}/") for name in below)
    if len(places) > 1:
        raise BadRequest(
            f"{location} holds {len(places)} dictionaries; name one: {listing.join_names(places, 12, location)}"
        )
    return [f"{inside}/*" if inside else "*", *above]


def _parents(inside: str) -> list[str]:
    """Returns the parent directories, each with a slash at the end; the root is empty."""
    parts = inside.split("/")[:-1] if inside else []
    return ["", *("/".join(parts[: n + 1]) + "/" for n in range(len(parts)))]
