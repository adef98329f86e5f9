"""Commands that run until they are stopped: the server, and the studio in the browser."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from sfumato.apps.cli.devices import load_whole_on, placement
from sfumato.apps.cli.options import Loading, model_option
from sfumato.errors import SfumatoError, UsageError
from sfumato.parsing import text_of

EXAMPLES = {"serve": "sfumato serve --port 8000", "studio": "sfumato studio"}
KEY_BYTES = 4096
_address, _limits = (partial(Option, rich_help_panel=panel) for panel in ("Address", "Limits"))


@dataclass(frozen=True, kw_only=True)
class Address:
    """The address to listen on, and who may send requests."""

    host: Annotated[
        str, _address(help="Address to listen on; an address that other machines reach needs an API key.")
    ] = "127.0.0.1"
    port: Annotated[int, _address("--port", "-p", min=0, max=65535, help="Port; 0 takes a free one.")] = 7860
    api_key: Annotated[
        str | None,
        _address(
            envvar="SFUMATO_API_KEY",
            help="Key that every request must carry as a Bearer token. Other users of this machine can see "
            "it: prefer --api-key-file.",
            show_envvar=True,
        ),
    ] = None
    api_key_file: Annotated[Path | None, _address(help="File whose only line is the API key.")] = None
    allow_host: Annotated[
        list[str] | None, _address(help="Another host name of this server; repeatable.")
    ] = None
    allow_origin: Annotated[
        list[str] | None,
        _address(help="Origin whose pages may send requests (CORS); repeatable. By default none."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """How much the server takes on at once."""

    max_rows: Annotated[int, _limits(min=1, help="Most rows of one forward pass.")] = 32
    queue: Annotated[int, _limits(min=1, help="Most pictures that wait; the server refuses more.")] = 256
    drain: Annotated[
        int,
        _limits(
            min=0, max=3600, help="Seconds that accepted requests have to end after the server is stopped."
        ),
    ] = 30


SHIPPED = ["emoji", "digits"]

_Models = Annotated[
    list[str] | None,
    model_option(
        "Model to serve, by name, folder or hub id; repeatable, the first is the default.",
        show_default=" and ".join(SHIPPED),
    ),
]


def serve(*, machine: Loading, address: Address, capacity: Capacity, model: _Models = None) -> None:
    """Serve the images API and recipes over HTTP, until Ctrl-C or SIGTERM."""
    _run(machine, address, capacity, model or SHIPPED, studio=False)


def studio(*, machine: Loading, address: Address, capacity: Capacity, model: _Models = None) -> None:
    """Open the studio for the browser, on the same server, until Ctrl-C or SIGTERM."""
    _run(machine, address, capacity, model or SHIPPED, studio=True)


def _run(machine: Loading, address: Address, capacity: Capacity, models: list[str], *, studio: bool) -> None:
    try:
        from sfumato.apps.server import Settings, create_app
        from sfumato.apps.server.run import serve

        if studio:
            from sfumato.apps.studio import mount
    except ModuleNotFoundError as error:
        raise SfumatoError(
            f"serving needs {error.name}, which is not installed: pip install 'sfumato[serve]'"
        ) from error
    from sfumato.serving import Limits

    if len(set(models)) < len(models):
        raise UsageError("--model: give each model once")
    placement(machine)  # refuses a wrong one before the server listens
    settings = Settings(
        host=address.host,
        port=address.port,
        hosts=tuple(address.allow_host or ()),
        origins=tuple(address.allow_origin or ()),
        api_key=_key(address),
        drain_seconds=capacity.drain,
        limits=Limits(max_rows=capacity.max_rows, queue=capacity.queue),
    )
    loaders = {name: partial(load_whole_on, name, machine) for name in models}
    app = create_app(loaders, settings, page=mount if studio else None)
    serve(app, settings, lambda text: typer.echo(text, err=True))


def _key(address: Address) -> str | None:
    """The API key, of the option or of the file."""
    path = address.api_key_file
    if path is None:
        return address.api_key
    if address.api_key is not None:
        raise UsageError("give --api-key or --api-key-file, not both")
    try:
        with path.open("rb") as file:
            return text_of(file.read(KEY_BYTES)).encode("ascii").decode().strip()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--api-key-file {path}: cannot be read as an API key ({error})") from error
