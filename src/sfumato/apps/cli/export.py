"""A model of our own as a folder for diffusers."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument

from sfumato.apps.cli.options import model_option

EXAMPLES = {"export": "sfumato export digits-for-diffusers --model digits"}


def export(
    *,
    out: Annotated[Path, Argument(help="Folder to write; a model folder that is there is replaced.")],
    model: Annotated[str, model_option("Name or folder of a model that was trained here.")] = "digits",
) -> None:
    """Write a model as a folder by diffusers' conventions: configurations in JSON, weights as safetensors.

    diffusers loads it as a DDPMPipeline once `sfumato.models.files.export` is imported; so does sfumato.
    """
    from sfumato.models.files.registry import load

    loaded = load(model)
    from sfumato.models.files.export import export

    typer.echo(export(loaded, out))
