"""The steps. A solver turns x_t into x_s and has no loop of its own; `sampler.py` has the only one.

`SOLVERS` maps the names that recipes use to factories; `make_solver` builds one and refuses what it does
not know.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from sfumato.core.solvers.ancestral import DDIM, DDPM, Euler
from sfumato.core.solvers.base import Denoise, PreviousStep, Solver, Stepping, StepState, renoise
from sfumato.core.solvers.heun import Heun
from sfumato.core.solvers.multistep import DPMSolverPP, UniPC
from sfumato.core.writing import Inputs, Writer, own_input
from sfumato.errors import UsageError

__all__ = [
    "SOLVERS",
    "DDIM",
    "DDPM",
    "DPMSolverPP",
    "Denoise",
    "Euler",
    "Heun",
    "PreviousStep",
    "Solver",
    "StepState",
    "Stepping",
    "UniPC",
    "make_solver",
    "read_solver",
    "renoise",
    "write_solver",
]


def _dpmpp_2m() -> Solver:
    return DPMSolverPP(order=2)


def _dpmpp_3m() -> Solver:
    return DPMSolverPP(order=3)


SOLVERS: dict[str, Callable[..., Solver]] = {
    "ddpm": DDPM,
    "ddim": DDIM,
    "euler": Euler,
    "heun": Heun,
    "dpm++2m": _dpmpp_2m,
    "dpm++3m": _dpmpp_3m,
    "unipc": UniPC,
}


def make_solver(name: str, **options: object) -> Solver:
    """The solver of a name with its own options; an unknown name, option or value raises UsageError.

    ddpm: variance. ddim: eta, direction. unipc: order. The others have none.
    """
    if name not in SOLVERS:
        raise UsageError(f"no solver {name!r}: choose one of {', '.join(SOLVERS)}")
    known = [p for p in inspect.signature(SOLVERS[name]).parameters if p != "_"]
    unknown = sorted(set(options) - set(known))
    if unknown:
        has = f"its options are {', '.join(known)}" if known else "it has none"
        raise UsageError(f"the solver {name} has no option {', '.join(unknown)}: {has}")
    return SOLVERS[name](**options)


def write_solver(solver: Solver, writer: Writer) -> tuple[str, dict[str, float | str]]:
    """The name and options of a solver in a recipe; one of the user's own becomes an input under its name."""
    if solver.key is None:
        return writer.own(solver, "solver"), {}
    return solver.key, solver.options()


def read_solver(name: str, options: Mapping[str, float | str], inputs: Inputs) -> Solver:
    """The solver that `write_solver` wrote; UsageError where there is none."""
    return own_input(inputs, name, Solver) if name.startswith("solver ") else make_solver(name, **options)  # type: ignore[type-abstract]
