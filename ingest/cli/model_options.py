"""Options that say how a language model is loaded, and the model that they mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from featurestore import BadRequest, Unavailable
from featurestore.extension.text import first_line

if TYPE_CHECKING:
    from ingest.model.model import Model

_Command = TypeVar("_Command", bound=Callable[..., Any])

OPTIONS = (
    click.option(
        "--dtype",
        type=click.Choice(["float32", "bfloat16", "float16"]),
        default="float32",
        show_default=True,
        help="Number type of the model's weights.",
    ),
    click.option(
        "--architecture-map",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="A TOML file that says where parts are in a model of a type that is not listed in docs/hooks.md.",
    ),
)


def model_options(command: _Command) -> _Command:
    """Add the options `dtype` and `architecture_map`, as `load_model` takes them."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def load_model(
    location: str, device: str = "cpu", dtype: str = "float32", architecture_map: Path | None = None
) -> Model:
    """Return the model at a location. Raises what Model raises, and BadRequest for a device or map of no use."""
    import_torch()
    from ingest.model.architectures import read_architecture
    from ingest.model.model import Model

    architecture = read_architecture(architecture_map) if architecture_map else None
    return Model(location, check_device(device), dtype, architecture)


def import_torch() -> None:
    """Import torch and transformers. Raises Unavailable, naming what to install, if one is missing."""
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as exc:
        raise Unavailable(f"this needs {exc.name}: pip install 'featurestore[harvest]'") from None


def check_device(device: str) -> str:
    """Return the device. Raises BadRequest when torch does not have it."""
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as exc:
        raise BadRequest(f"device '{device}' is not to be had here: {first_line(exc)}") from None
    return device
