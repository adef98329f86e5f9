"""Encoding prompts on one machine for another that has no text encoder."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from sfumato.apps.cli.devices import load_on
from sfumato.apps.cli.options import Device, Fetching, Loading, model_option
from sfumato.apps.cli.progress import note
from sfumato.errors import UsageError
from sfumato.parsing import read_regular, text_of

EXAMPLES = {"encode": "sfumato encode prompts.txt --model deepfloyd --out prompts.safetensors"}
MAX_BYTES, MAX_PROMPTS = 1_000_000, 10_000


def encode(
    *,
    device: Device,
    fetching: Fetching,
    prompts: Annotated[Path, Argument(help="Text file with one prompt a line.")],
    model: Annotated[
        str, model_option("Name, folder or hub id of the model whose text encoder encodes.")
    ] = "deepfloyd",
    out: Annotated[Path, Option("--out", "-o", help="File to write, .safetensors.")] = Path(
        "prompts.safetensors"
    ),
) -> None:
    """Encode prompts for --embeddings, on a machine that has no text encoder.

    The empty prompt, which guidance needs, is encoded with them.
    """
    from sfumato.pictures import check_destination

    check_destination(out, (".safetensors",))
    texts = read_prompts(prompts)
    loaded = load_on(model, Loading(device=device.device, offline=fetching.offline))
    from sfumato.models.pretrained.prompts import encoded_prompts

    typer.echo(encoded_prompts(loaded).write(out, texts))
    note(f"{len(texts)} prompts, encoded in float32")


def read_prompts(path: Path) -> list[str]:
    """The prompts of a text file, one a line, without empty lines.

    Raises:
        UsageError: the file is missing or is no text, or it holds no prompt or too many.
    """
    try:
        text = text_of(read_regular(path, MAX_BYTES))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8: give one prompt a line") from error
    except ValueError as error:
        raise UsageError(f"{path}: {error}; give one prompt a line") from error
    except OSError as error:
        raise UsageError(f"cannot read the prompts of {path}: {error.strerror or error}") from error
    prompts = [line.strip() for line in text.splitlines() if line.strip()]
    if not 0 < len(prompts) <= MAX_PROMPTS:
        raise UsageError(f"{path} holds {len(prompts):,} prompts: give 1 to {MAX_PROMPTS:,}, one a line")
    return prompts
