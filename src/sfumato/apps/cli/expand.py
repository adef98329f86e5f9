"""Options that several commands share, written once.

A command takes a frozen dataclass. `with_options` makes an option of each field: Typer sees a function with
many options, and the command gets one object.
"""

from collections.abc import Callable
from dataclasses import is_dataclass
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints

Command = Callable[..., None]


def with_options(function: Command) -> Command:
    """The function with every dataclass parameter replaced by its fields, as keyword parameters."""
    groups: dict[str, list[Parameter]] = {}
    parameters: list[Parameter] = []
    hints = get_type_hints(function, include_extras=True)
    for parameter in _parameters(function):
        kind = hints[parameter.name]
        if isinstance(kind, type) and is_dataclass(kind):
            groups[parameter.name] = _parameters(kind)
            parameters += groups[parameter.name]
        else:
            parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))

    def command(**given: Any) -> None:
        for name, options in groups.items():
            given[name] = hints[name](**{option.name: given.pop(option.name) for option in options})
        function(**given)

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _parameters(function: Callable[..., Any]) -> list[Parameter]:
    """The parameters of a function or of a dataclass, their annotations evaluated."""
    hints = get_type_hints(function, include_extras=True)
    return [p.replace(annotation=hints[p.name]) for p in signature(function).parameters.values()]
