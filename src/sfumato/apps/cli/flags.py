"""Commands whose help shows a flag as a flag, not as an option that takes a <bool>."""

from typing import Any

from typer.core import TyperCommand, TyperGroup


class FlagCommand(TyperCommand):
    """A command."""

    def get_params(self, ctx: Any) -> Any:
        return _without_type(super().get_params(ctx))


class FlagGroup(TyperGroup):
    """The program, with its commands."""

    def get_params(self, ctx: Any) -> Any:
        return _without_type(super().get_params(ctx))


def _without_type(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_bool_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    return parameters
