"""SAELens's names of published dictionaries: release and id, looked up in its registry, as places on the hub."""

from __future__ import annotations

import difflib
import importlib.util
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from featurestore import BadRequest, NotFound
from featurestore.extension.text import first_line
from ingest.weights.place import with_options

SCHEME = "saelens://"
FILE = "pretrained_saes.yaml"


class Published(NamedTuple):
    """Where a name of the registry is, with the options that it says, and the L0 that it states."""

    location: str
    l0: float | None
    neuronpedia_id: str | None = None


def is_name(location: str) -> bool:
    """Tells whether a location may be a name of the registry: saelens://..., or no path and no place on the hub."""
    if location.startswith(SCHEME):
        return True
    return "://" not in location and not location.startswith((".", "/", "~")) and not Path(location).exists()


def find_published(location: str, registry: Path | None) -> Published | None:
    """Returns the place on the hub of saelens://RELEASE/ID, RELEASE/ID or RELEASE; None for a name of no release.

    `registry` is SAELens's pretrained_saes.yaml; without it that of an installed sae-lens is read. Raises NotFound or
    BadRequest for saelens:// without a registry, for unknown names, and for a release of many dictionaries.
    """
    name, asked = location.removeprefix(SCHEME), location.startswith(SCHEME) or registry is not None
    file = registry or _find_installed()
    if file is None:
        if asked:
            raise NotFound(
                f"{location} is looked up in SAELens's registry, and none is here: pip install sae-lens, or give its "
                f"{FILE} with --registry FILE"
            )
        return None
    releases = _read(file)
    release = name if name in releases else name.partition("/")[0]
    if release not in releases:
        if not asked:
            return None
        nearest = difflib.get_close_matches(release, releases, 3, 0.5)
        also = f"; nearest are {', '.join(nearest)}" if nearest else ""
        raise NotFound(f"{location}: {file} has no release {release}{also}")
    entry, inside = releases[release], name[len(release) + 1 :]
    dictionaries = {str(item["id"]): item for item in entry.get("saes", [])}
    if not inside and len(dictionaries) == 1:
        inside = next(iter(dictionaries))
    if inside not in dictionaries:
        names = [*dictionaries]
        shown = difflib.get_close_matches(inside, names, 5, 0.4) or names[:5]
        what = f"has no {inside}" if inside else f"holds {len(names)} dictionaries; name one"
        raise BadRequest(f"{location}: the release {release} {what}: {SCHEME}{release}/ID, as {', '.join(shown)}")
    return _locate(entry, dictionaries[inside])


def _locate(entry: dict[str, Any], dictionary: dict[str, Any]) -> Published:
    options: dict[str, Any] = {}
    if dictionary.get("norm_scaling_factor") is not None:
        options["scale"] = float(dictionary["norm_scaling_factor"])
    overrides = entry.get("config_overrides") or {}
    processing = overrides.get("model_from_pretrained_kwargs") or {}
    if processing.get("center_writing_weights"):
        options["centred"] = True
    if "prepend_bos" in overrides:
        options["prepend_bos"] = bool(overrides["prepend_bos"])
    path = str(dictionary["path"]).strip("/")
    place = f"hf://{entry['repo_id']}" + (f"//{path}" if path not in ("", ".") else "")
    l0 = dictionary.get("l0")
    stated = float(l0) if isinstance(l0, int | float) and l0 > 0 else None
    id = dictionary.get("neuronpedia")
    known = id if isinstance(id, str) and re.fullmatch(r"[^/\s]+/[^/\s]+", id) else None
    return Published(with_options(place, **options), stated, known)


def _find_installed() -> Path | None:
    spec = importlib.util.find_spec("sae_lens")
    folder = Path(spec.origin).parent if spec and spec.origin else None
    return folder / FILE if folder and (folder / FILE).is_file() else None


def _read(file: Path) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 40,000 lines: five times as fast
    try:
        releases = yaml.load(file.read_text("utf-8"), Loader=loader)
    except (OSError, ValueError, yaml.YAMLError) as exc:
        raise BadRequest(f"{file} cannot be read: {first_line(exc)}") from None
    if not isinstance(releases, dict) or not all(isinstance(entry, dict) for entry in releases.values()):
        raise BadRequest(f"{file} is no registry of SAELens: a mapping of releases is wanted")
    return releases
