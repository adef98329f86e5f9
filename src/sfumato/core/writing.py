"""How the parts of a run write themselves into a recipe and are read again.

Contract: a part writes itself as JSON-able data through a `Writer` and is read by a `Reader`. What JSON
cannot hold goes into the writer's `inputs`: pictures and masks under their sha256, the user's own Python
objects under a name. `custom` lists those objects: without them a recipe cannot be run, and says why.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from torch import Tensor

from sfumato.core.hashed import HashedTensor
from sfumato.errors import UsageError

MAX_DEPTH, MAX_NODES = 32, 256  # of an expression

Json = dict[str, Any]
# sha256 -> picture (1, C, H, W) or mask (1, 1, H, W); name -> an object of the user's own: a view, a filter,
# a node, a solver, a function
Inputs = Mapping[str, object]

T = TypeVar("T")
N = TypeVar("N", bound="Node")


class Node(Protocol):
    """A node of an expression, as far as writing and reading know it."""

    @property
    def name(self) -> str:
        """What an error calls it."""

    def write(self, writer: Writer) -> Json:
        """The node as JSON-able data."""


class Writer:
    """Collects what the written parts refer to.

    inputs: pictures by their sha256, the user's own objects by their names
    custom: the names of those objects
    """

    def __init__(self) -> None:
        self.inputs: dict[str, object] = {}
        self.custom: list[str] = []

    def picture(self, picture: HashedTensor) -> str:
        """The sha256 of a picture or mask, which becomes an input."""
        self.inputs[picture.sha256] = picture.tensor
        return picture.sha256

    def text(self, thing: T, read: Callable[[str], T], kind: str) -> str:
        """The text of a view or filter; one that `read` does not give back is the user's own."""
        text = str(thing)
        try:
            if read(text) == thing:
                return text
        except UsageError:
            pass
        return self._keep(thing, text, f"{kind} {text}")

    def own(self, thing: object, kind: str) -> str:
        """The name under which an object that cannot write itself is kept as an input."""
        cls = thing if hasattr(thing, "__qualname__") else type(thing)
        name = f"{kind} {getattr(cls, '__qualname__', cls)}"
        return self._keep(thing, name, name)

    def _keep(self, thing: object, base: str, note: str) -> str:
        """Keep an object under a name of its own."""
        name, count = base, 1
        while name in self.inputs and self.inputs[name] != thing:
            count += 1
            name = f"{base} ({count})"
        self.inputs[name] = thing
        self._note(note)
        return name

    def network(self, name: str) -> str:
        """The name of a network that stands beside the model: no recipe says where it comes from."""
        self._note(f"network {name}")
        return name

    def _note(self, name: str) -> None:
        if name not in self.custom:
            self.custom.append(name)


class Reader:
    """Reads the parts of a recipe, each node of an expression by the class that wrote it.

    nodes: the classes by the keys that begin their JSON form (`Expression.keys`)
    base: the class of them all, by which a node of the user's own is known
    """

    def __init__(self, inputs: Inputs, nodes: Mapping[str, type[Any]], base: type[Any]) -> None:
        self.inputs = inputs
        self.nodes = nodes
        self.base = base
        self._count = 0
        self._depth = 0

    def read(self, data: Any) -> Any:
        """The node written as `data`; anything unknown, too deep or too large raises UsageError."""
        self._count += 1
        if self._depth > MAX_DEPTH or self._count > MAX_NODES:
            raise UsageError(f"an expression holds at most {MAX_NODES} nodes, {MAX_DEPTH} deep")
        if not isinstance(data, dict):
            raise UsageError(
                f"an expression is an object such as {{'prompt': 'a rocket'}}, not {reprlib.repr(data)}"
            )
        if "custom" in data:
            return self.own(data["custom"], self.base)
        key = next((key for key in data if key in self.nodes), None)
        if key is None:
            raise UsageError(f"no kind of expression in {sorted(data)}; there are {', '.join(self.nodes)}")
        node = self.nodes[key]
        unknown = set(data) - {key} - node.fields
        if unknown:
            raise UsageError(f"{key}: unknown {', '.join(sorted(map(str, unknown)))}")
        for name, value in data.items():
            if name not in node.flags and name not in ("of", "sum", "over"):
                _refuse_truth(key, value)
        self._depth += 1
        try:
            return node.read(data, self)
        except UsageError:
            raise
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise UsageError(f"{key}: {reprlib.repr(data[key])} does not fit ({error})") from error
        finally:
            self._depth -= 1

    def child(self, data: Json) -> Any:
        """The node under "of"."""
        if "of" not in data:
            raise UsageError(f"{next(iter(data))}: 'of' is missing: the expression that it acts on")
        return self.read(data["of"])

    def picture(self, sha256: Any) -> HashedTensor:
        """An input picture by its hash, which is checked."""
        return input_picture(self.inputs, sha256)

    def text(self, text: Any, kind: type[T], read: Callable[[str], T]) -> T:
        """The view or filter of a text: the user's own where there is one."""
        brought = self.inputs.get(text)
        return brought if isinstance(brought, kind) else read(text)

    def own(self, name: Any, kind: type[T]) -> T:
        """An object of the user's own; UsageError where it is not at hand."""
        return own_input(self.inputs, name, kind)


def _refuse_truth(key: str, value: Any) -> None:
    """Refuse true and false among numbers, which Python takes for 1 and 0."""
    if isinstance(value, bool):
        raise UsageError(f"{key}: true and false are no numbers")
    if isinstance(value, dict):
        value = [item for name, item in value.items() if name != "unconditional"]
    for item in value if isinstance(value, list) else ():
        _refuse_truth(key, item)


def input_picture(inputs: Inputs, sha256: Any) -> HashedTensor:
    """An input picture by its hash, which is checked."""
    picture = inputs.get(sha256)
    if not isinstance(picture, Tensor):
        raise UsageError(f"the input picture {str(sha256)[:12]} is not at hand: give its file")
    held = HashedTensor(picture)
    if held.sha256 != sha256:
        raise UsageError(f"the input picture {str(sha256)[:12]} is another one than the recipe's")
    return held


def own_input(inputs: Inputs, name: Any, kind: type[T]) -> T:
    """An object of the user's own by its name; UsageError where it is not at hand."""
    thing = inputs.get(name)
    if not isinstance(thing, kind):
        raise UsageError(f"{name!s:.200} is the user's own Python object: no recipe makes it again")
    return thing
