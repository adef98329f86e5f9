"""Commands that go on until they are stopped: the server, and the studio in the browser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from sfumato.apps.cli import names
from sfumato.apps.cli.devices import find_device, find_dtype, load_on
from sfumato.apps.cli.options import Loading
from sfumato.errors import SfumatoError, UsageError

if TYPE_CHECKING:
    from sfumato.apps.server.app import Page
    from sfumato.models.model import Model

EXAMPLES = {
    "serve": "sfumato serve --port 8000",
    "studio": "sfumato studio",
}
KEY_BYTES = 4096
_ADDRESS, _LIMITS = "Address", "Limits"


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where to listen, and who may ask."""

    host: Annotated[
        str,
        Option(
            help="Address to listen on; others than this machine's need an API key.", rich_help_panel=_ADDRESS
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Option("--port", "-p", min=0, max=65535, help="Port; 0 takes a free one.", rich_help_panel=_ADDRESS),
    ] = 7860
    api_key: Annotated[
        str | None,
        Option(
            envvar="SFUMATO_API_KEY",
            help="What every request must carry as a Bearer token. Others on this machine can see it: rather "
            "use --api-key-file.",
            show_envvar=True,
            rich_help_panel=_ADDRESS,
        ),
    ] = None
    api_key_file: Annotated[
        Path | None, Option(help="File whose only line is the API key.", rich_help_panel=_ADDRESS)
    ] = None
    allow_host: Annotated[
        list[str] | None,
        Option(help="Another name that this server is reached by; repeatable.", rich_help_panel=_ADDRESS),
    ] = None
    allow_origin: Annotated[
        list[str] | None,
        Option(
            help="Origin whose pages may ask (CORS); repeatable. None by default.", rich_help_panel=_ADDRESS
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Load:
    """How much is taken on."""

    max_rows: Annotated[
        int, Option(min=1, help="Rows of one forward pass at most.", rich_help_panel=_LIMITS)
    ] = 32
    queue: Annotated[
        int, Option(min=1, help="Pictures that may wait; more are refused.", rich_help_panel=_LIMITS)
    ] = 256
    drain: Annotated[
        int,
        Option(
            min=0,
            max=3600,
            help="Seconds for accepted requests to end when the server is told to stop.",
            rich_help_panel=_LIMITS,
        ),
    ] = 30


SHIPPED = ["emoji", "digits"]

_Models = Annotated[
    list[str] | None,
    Option(
        "--model",
        "-m",
        help="Model to serve, by name, folder or hub id; repeatable, the first is the default.",
        autocompletion=names.complete_models,
        show_default=" and ".join(SHIPPED),
    ),
]


def serve(*, machine: Loading, address: Address, load: Load, model: _Models = None) -> None:
    """Serve the images API and recipes over HTTP, until Ctrl-C or SIGTERM."""
    _run(machine, address, load, model or SHIPPED, page=None)


def studio(*, machine: Loading, address: Address, load: Load, model: _Models = None) -> None:
    """Open the studio for the browser, on the same server, until Ctrl-C or SIGTERM."""
    try:
        from sfumato.apps.studio import mount
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    _run(machine, address, load, model or SHIPPED, page=mount)


def _run(machine: Loading, address: Address, load: Load, models: list[str], *, page: Page | None) -> None:
    try:
        from sfumato.apps.server import Settings, create_app
        from sfumato.apps.server.run import serve
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    from sfumato.serving import Limits

    if len(set(models)) < len(models):
        raise UsageError("--model: a model is named twice")
    device = find_device(machine.device)
    find_dtype(machine.dtype, device)
    settings = Settings(
        host=address.host,
        port=address.port,
        hosts=tuple(address.allow_host or ()),
        origins=tuple(address.allow_origin or ()),
        api_key=_key(address),
        drain_seconds=load.drain,
        limits=Limits(max_rows=load.max_rows, queue=load.queue),
    )
    app = create_app(_loaders(models, machine), settings, page=page)
    serve(app, settings, lambda text: typer.echo(text, err=True))


def _loaders(models: list[str], machine: Loading) -> Mapping[str, Callable[[], Model]]:
    def loader(name: str) -> Callable[[], Model]:
        return lambda: load_on(name, machine)

    return {name: loader(name) for name in models}


def _key(address: Address) -> str | None:
    """The API key, of the option or of the file."""
    path = address.api_key_file
    if path is None:
        return address.api_key
    if address.api_key is not None:
        raise UsageError("give --api-key or --api-key-file, not both")
    try:
        with path.open("rb") as file:
            return file.read(KEY_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as an API key ({error})") from error


def _missing(error: ModuleNotFoundError) -> SfumatoError:
    return SfumatoError(f"serving needs {error.name}, which is not installed: pip install 'sfumato[serve]'")
