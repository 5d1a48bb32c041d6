"""A map for a file of no known format, concluded from names and shapes of its tensors, and what else it might mean.

Nothing is read by a proposal: it is shown to the user, who uses its location, or has the alternatives tried on a model.
"""

from __future__ import annotations

import collections
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from featurestore import BadRequest
from ingest.weights.place import Place, read_config, with_options
from ingest.weights.tensor_map import TensorMap, TensorPath
from ingest.weights.tensors import SUFFIXES, Tensors

ENCODER = re.compile(r"enc|hidden|latent")
DECODER = re.compile(r"dec|dict|atom")
PRE = re.compile(r"pre|cent|mean|input|tied")
THRESHOLD = re.compile(r"thresh|theta")
WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
SITE = re.compile(r"(?:^|[._/-])(?:layers?|blocks?|l|h)[._-]?(\d+)(?:$|[._/-])", re.IGNORECASE)
SITES = {  # of names in files: the place in a layer
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "mlp_out": "hook_mlp_out",
    "mlp": "hook_mlp_out",
    "attn_out": "hook_attn_out",
    "attn": "hook_attn_out",
}
HOOK_KEYS = ("hook_point", "hook_name", "act_name", "hook")
MOST = 64  # proposals of one file


class Proposal(NamedTuple):
    """A location to read one dictionary of a file by, what was concluded and from what, and other ways to read it."""

    location: str
    notes: tuple[str, ...]
    others: tuple[tuple[str, str], ...]  # what another way is, and its location
    hook_point: str | None


def propose(place: Place) -> list[Proposal]:
    """Returns a proposal for each dictionary that the tensors of a place may be; none where they are none."""
    try:
        if place.path.is_dir():
            files = [file for file in sorted(place.path.iterdir()) if file.suffix in SUFFIXES]
            if len(files) != 1:
                return []
            file = files[0]
        else:
            file = place.path
        tensors = Tensors(file, flat=True, ignore=place.ignore)
        shapes = tensors.shapes()
        settings = _find_settings(place, tensors)
    except BadRequest:
        return []
    proposals = []
    for site, group in _group(shapes).items():
        if (parts := _assign(group)) is not None:
            rest = tensors.find_rest_beside(parts.names)
            proposals.append(_write(place, site, parts, settings, rest))
    return proposals[:MOST]


class _Group(NamedTuple):
    """The tensors of one dictionary: matrices and vectors by path, with their shapes."""

    matrices: dict[TensorPath, tuple[int, ...]]
    vectors: dict[TensorPath, tuple[int, ...]]


class _Parts(NamedTuple):
    """The parts that were concluded, with whether it is certain which matrix is which, and how they lie."""

    paths: dict[str, TensorPath]
    d: int
    n: int
    named: bool  # names say which matrix encodes

    @property
    def names(self) -> set[str]:
        """The names of the tensors that are parts."""
        return {path.name for path in self.paths.values()}


def _split(name: str) -> tuple[str, str]:
    """Returns the site that a tensor's name says it is of, and the rest: what stands before its last word, and numbers
    behind it."""
    tokens = name.split(".")
    numbers = []
    while len(tokens) > 1 and tokens[-1].isdigit():
        numbers.append(tokens.pop())
    role = len(tokens) - 1
    if role and tokens[role] in ("weight", "bias", "threshold", "theta", "log_threshold", "b", "W", "kernel"):
        role -= 1
    site = ".".join([*tokens[:role], *reversed(numbers)])
    if (ends := re.search(r"[_-](\d+)$", tokens[role])) and not re.search(r"[_-](\d+)$", site):
        site = f"{site}.{ends[1]}".strip(".")
    return site, ".".join(tokens[role:])


def _group(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, _Group]:
    """Returns the tensors by site. A stacked tensor, of one more dimension, is of several sites."""
    groups: dict[str, _Group] = collections.defaultdict(lambda: _Group({}, {}))
    stacked = {name: shape for name, shape in shapes.items() if len(shape) == 3 and min(shape[1:]) > 1}
    if stacked:
        count = next(iter(stacked.values()))[0]
        for at in range(min(count, MOST)):
            for name, shape in shapes.items():
                if shape[:1] == (count,) and len(shape) in (2, 3):
                    kind = groups[str(at)].matrices if len(shape) == 3 else groups[str(at)].vectors
                    kind[TensorPath(name, at)] = shape[1:]
        return groups
    for name, shape in shapes.items():
        if len(shape) == 2 and min(shape) > 1:
            groups[_split(name)[0]].matrices[TensorPath(name)] = shape
    for name, shape in shapes.items():
        if len(shape) == 1 or (len(shape) == 2 and min(shape) == 1) or not shape:
            site = _split(name)[0]
            inside = [other for other in groups if site == other or site.startswith(f"{other}.") or not other]
            if inside:
                groups[max(inside, key=len)].vectors[TensorPath(name)] = shape
    return groups


def _assign(group: _Group) -> _Parts | None:
    """Returns which tensor is which part; None where there is no encoder and decoder."""
    matrices = {path: shape for path, shape in group.matrices.items() if sorted(shape)[0] > 1}
    by_role: dict[str, TensorPath] = {}
    for path in matrices:
        words = _words(path.name)
        role = "W_dec" if _is(DECODER, words, "d") else "W_enc" if _is(ENCODER, words, "e") else ""
        if role and role not in by_role:
            by_role[role] = path
    named = bool(by_role)
    left = [path for path in matrices if path not in by_role.values()]
    for role in ("W_enc", "W_dec"):
        if role not in by_role and left and (named or len(matrices) == 2):
            by_role[role] = left.pop(0)
    if not by_role or len({tuple(sorted(matrices[path])) for path in by_role.values()}) != 1:
        return None
    d, n = sorted(matrices[next(iter(by_role.values()))])
    sizes = [shape[0] for path, shape in group.vectors.items() if _is(ENCODER, _words(path.name), "e") and shape]
    if d != n and sizes and sizes[0] == d:
        d, n = n, d  # fewer features than dimensions
    paths = {}
    for role, path in by_role.items():
        straight = (d, n) if role == "W_enc" else (n, d)
        linear = d == n and path.name.endswith("weight")  # torch keeps (out, in)
        paths[role] = path._replace(transposed=matrices[path] != straight or linear)
    if len(paths) == 1:  # one matrix for both
        role, path = next(iter(paths.items()))
        paths["W_dec" if role == "W_enc" else "W_enc"] = path._replace(transposed=not path.transposed)
    paths |= _assign_vectors(group.vectors, d, n)
    return _Parts(paths, d, n, named)


def _assign_vectors(vectors: Mapping[TensorPath, tuple[int, ...]], d: int, n: int) -> dict[str, TensorPath]:
    paths: dict[str, TensorPath] = {}
    for path, shape in vectors.items():
        words = _words(path.name)
        size = shape[0] if shape else 1
        if any(THRESHOLD.search(word) for word in words):
            role = "log_threshold" if "log" in words else "threshold"
        elif size == n and "mag" in words:
            role = "r_mag" if "r" in words else "b_mag"
        elif size == d and any(PRE.match(word) for word in words) and size != n:
            role = "b_pre"
        elif size == n and (size != d or _is(ENCODER, words, "e")):
            role = "b_enc"
        elif size == d and (_is(DECODER, words, "d") or "bias" in words or "b" in words):
            role = "b_dec"
        else:
            continue
        if len(shape) == 1 or not shape:
            paths.setdefault(role, path)
    if "b_pre" in paths and "b_dec" not in paths:
        paths["b_dec"] = paths["b_pre"]
    return paths


def _words(name: str) -> list[str]:
    return [word.lower() for word in WORDS.findall(name.replace("_", " "))]


def _is(pattern: re.Pattern[str], words: list[str], letter: str) -> bool:
    return any(pattern.match(word) for word in words) or letter in words


def _find_settings(place: Place, tensors: Tensors) -> dict[str, Any]:
    """Returns activation, k and hook as the file, or a config beside it, states them."""
    stated: dict[str, Any] = {}
    for name in sorted(tensors.names, key=str):
        value = tensors.value(name)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            stated.setdefault(str(name).rpartition(".")[2], value)
    beside = [f"{place.path.stem}_cfg.json", "cfg.json", "config.json", "config.yaml"]
    for file in (place.folder / name for name in beside):
        if file.is_file():
            try:
                config = read_config(file)
            except BadRequest:
                continue
            stated |= {key: value for key, value in _flat(config) if key not in stated}
    settings: dict[str, Any] = {}
    k = next((stated[key] for key in ("k", "topk", "top_k", "n_active") if isinstance(stated.get(key), int)), None)
    if k:
        settings["k"] = k
    hook = next((stated[key] for key in HOOK_KEYS if isinstance(stated.get(key), str) and stated[key]), None)
    if hook is None and isinstance(stated.get("layer"), int):
        hook = f"blocks.{stated['layer']}.{_find_site(str(stated.get('site', '')))}"
    if hook:
        settings["hook_point"] = hook
    word = str(stated.get("activation", stated.get("activation_fn", ""))).lower()
    if "abs" in word and k:
        settings["activation"] = "abstopk"
    return settings


def _flat(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            yield str(key), value


def _find_site(text: str) -> str:
    return next((hook for word, hook in SITES.items() if word in text), "hook_resid_post")


def _find_hook(words: str) -> str | None:
    """Returns the hook that a path says; None where it names no layer."""
    match = SITE.search(words)
    return f"blocks.{match[1]}.{_find_site(words)}" if match else None


def _write(place: Place, site: str, parts: _Parts, stated: Mapping[str, Any], rest: list[str]) -> Proposal:
    """Returns the proposal for the parts of one site, and other readings of the same."""
    settings = {name: value for name, value in stated.items() if name in ("k", "activation")}
    if {"threshold", "log_threshold"} & parts.paths.keys():
        settings.pop("k", None)
    plain = re.sub(r"\.\w+$", "", place.words)
    hook = place.option("hook_point") or stated.get("hook_point") or _find_hook(f"{site}/") or _find_hook(plain)
    options: dict[str, Any] = {"ignore": (*place.ignore, *rest)} if rest or place.ignore else {}
    if hook:
        options["hook_point"] = hook

    def locate(paths: Mapping[str, TensorPath], **changes: Any) -> str:
        """Returns the location of another reading."""
        map = TensorMap({name: paths[name] for name in _ORDER if name in paths}, settings | changes, "")
        return with_options(place.location, map=str(map), **options)

    notes = [f"{parts.d} dimensions and {parts.n} features, as the shapes say"]
    if not parts.named:
        notes.append("no name says which matrix encodes")
    if parts.d == parts.n:
        notes.append("matrices are square: their shapes do not say how they lie")
    if hook and "hook_point" not in place.options:
        notes.append(f"it reads {hook}: by a config" if "hook_point" in stated else f"it reads {hook}, by names")
    if rest:
        notes.append(f"left out: {', '.join(rest[:6])}")
    return Proposal(locate(parts.paths), tuple(notes), tuple(_vary(parts, settings, locate)), hook)


_ORDER = ("W_enc", "b_enc", "W_dec", "b_dec", "b_pre", "threshold", "log_threshold", "r_mag", "b_mag", "W_skip")


def _vary(parts: _Parts, settings: Mapping[str, Any], locate: Any) -> Iterator[tuple[str, str]]:
    """Yields other readings of the same tensors: what they are called, and their locations."""
    paths = parts.paths
    pre = {name: path for name, path in paths.items() if name != "b_pre"}
    if "b_dec" in paths:
        if paths.get("b_pre") == paths["b_dec"]:
            subtractions = [("", paths), ("b_dec not subtracted", pre)]
        elif "b_pre" in paths:
            subtractions = [("", paths)]
        else:
            subtractions = [("", paths), ("b_dec subtracted", {**paths, "b_pre": paths["b_dec"]})]
    else:
        subtractions = [("", paths)]
    turns = [("", False)] + ([("matrices turned round", True)] if parts.d == parts.n else [])
    swaps = [("", False)] + ([("encoder and decoder exchanged", True)] if not parts.named else [])
    scales = [("", "")]
    if "threshold" in paths:
        scales.append(("threshold as a logarithm", "log"))
    elif "log_threshold" in paths:
        scales.append(("threshold as it is", "plain"))
    for (a, chosen), (b, turn), (c, swap), (e, scale) in itertools.product(subtractions, turns, swaps, scales):
        changed = dict(chosen)
        if swap:  # a matrix that lay one way as the encoder lies the other way as the decoder
            changed["W_enc"], changed["W_dec"] = (
                changed[name]._replace(transposed=changed[name].transposed != (parts.d != parts.n))
                for name in ("W_dec", "W_enc")
            )
        if turn:
            for name in ("W_enc", "W_dec"):
                changed[name] = changed[name]._replace(transposed=not changed[name].transposed)
        if scale:
            old, new = ("threshold", "log_threshold") if scale == "log" else ("log_threshold", "threshold")
            changed[new] = changed.pop(old)
        if name := " and ".join(filter(None, (a, b, c, e))):
            yield name, locate(changed)
    if "k" not in settings and not {"threshold", "log_threshold", "r_mag"} & paths.keys():
        for k in (16, 32, 64, 128):
            if k < parts.n:
                yield f"the {k} largest of each token", locate(paths, k=k)
