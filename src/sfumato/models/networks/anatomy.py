"""What a network is made of, seen in one forward pass: its parts in order, their shapes, and what feeds what.

Hooks on the network's own children tell the shapes; between them, every torch function of the network's own
`forward` is watched, so that a concatenation, a sum or a product that brings two parts together is known as
such. Nothing is declared by hand: another network draws itself.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Joint = Literal["", "cat", "+", "x"]
_JOINTS: dict[str, Joint] = {
    **dict.fromkeys(("cat", "concat", "concatenate"), "cat"),
    **dict.fromkeys(("add", "__add__", "__radd__", "sub"), "+"),
    **dict.fromkeys(("mul", "__mul__", "__rmul__"), "x"),
}


@dataclass(frozen=True)
class Part:
    """A child of the network, as it was called: its name, its class, (C, H, W) or (C,) of what it gave."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int

    @property
    def spatial(self) -> bool:
        """Whether it gives pictures and not vectors."""
        return len(self.shape) == 3


@dataclass(frozen=True)
class Link:
    """What one part gives goes into another; `joint` says how it met what it goes in with, if anything."""

    source: str
    target: str
    joint: Joint = ""


@dataclass(frozen=True)
class Anatomy:
    """A network taken apart: parts in the order of their calls, and links.

    A link comes from <x>, <t>, <label> or a part, and goes to a part or to <out>.
    """

    kind: str
    input: tuple[int, int, int]
    output: tuple[int, ...]
    parts: tuple[Part, ...]
    links: tuple[Link, ...]
    parameters: int


Origins = dict[str, Joint]  # which parts a tensor holds, and how each came to it


class _Watch(TorchFunctionMode):
    """Follows tensors through the network's own forward, and not through what happens inside a part."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[Part] = []
        self.links: list[Link] = []
        self._depth = 0  # of the parts that are being called
        self._order: dict[str, int] = {}  # of the parts, by their calls; -1 for vectors
        self._held: dict[
            int, tuple[Tensor, Origins]
        ] = {}  # by id; the tensor stays, so that no id comes twice

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if not self._depth:
            joint = _JOINTS.get(getattr(func, "__name__", ""), "")
            found = self._met([self._of(t) for t in _tensors((args, kwargs or {}))], joint)
            for tensor in _tensors(out) if found else ():
                self.hold(tensor, found)
        return out

    def hold(self, tensor: Tensor, origins: Origins) -> None:
        """Remember what a tensor holds."""
        self._held[id(tensor)] = (tensor, dict(origins))

    def link(self, tensors: Any, target: str) -> None:
        """What the tensors hold goes into a part, or out."""
        for tensor in _tensors(tensors):
            self.links += [Link(source, target, joint) for source, joint in self._of(tensor).items()]

    def enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:  # noqa: ARG002
        """A part is called (a forward pre-hook)."""
        if self._depth == 0:
            self.link((args, kwargs), name)
        self._depth += 1

    def leave(self, name: str, module: nn.Module, args: Any, kwargs: Any, out: Tensor) -> None:  # noqa: ARG002
        """A part has answered (a forward hook)."""
        self._depth -= 1
        if self._depth == 0:
            part = Part(name, type(module).__name__, tuple(out.shape[1:]), _parameters(module))
            self._order[name] = len(self.parts) if part.spatial else -1
            self.parts.append(part)
            self.hold(out, {name: ""})

    def _of(self, tensor: Tensor) -> Origins:
        """What a tensor holds."""
        return self._held[id(tensor)][1] if id(tensor) in self._held else {}

    def _met(self, several: list[Origins], joint: Joint) -> Origins:
        """What holds all of several. The part that was called last is the stream; the others join it."""
        several = [origins for origins in several if origins]
        if not several:
            return {}
        stream = max(several, key=lambda origins: max(self._order.get(name, -1) for name in origins))
        merged: Origins = {}
        for origins in several:
            for name, before in origins.items():
                joins = joint if origins != stream else ""
                merged[name] = merged.get(name) or before or joins
        return merged


def anatomy(network: nn.Module, shape: tuple[int, int, int]) -> Anatomy:
    """One pass of one picture (C, H, W) of zeros through a network of x, t and, if it takes one, a label."""
    watch = _Watch()
    device = next(network.parameters()).device
    x = torch.zeros((1, *shape), device=device)
    t = torch.full((1,), 0.5, device=device)
    label = torch.zeros((1,), dtype=torch.int64, device=device)
    for tensor, name in ((x, "<x>"), (t, "<t>"), (label, "<label>")):
        watch.hold(tensor, {name: ""})
    training = network.training
    network.eval()
    with ExitStack() as stack:
        stack.callback(network.train, training)
        for name, child in _children(network):
            before, after = partial(watch.enter, name), partial(watch.leave, name)
            stack.callback(child.register_forward_pre_hook(before, with_kwargs=True).remove)
            stack.callback(child.register_forward_hook(after, with_kwargs=True).remove)
        stack.enter_context(torch.inference_mode())
        stack.enter_context(watch)
        out = network(x, t, *([label] if getattr(network, "conditional", False) else []))
    watch.link(out, "<out>")
    return Anatomy(
        kind=type(network).__name__,
        input=shape,
        output=tuple(out.shape[1:]),
        parts=tuple(watch.parts),
        links=tuple(dict.fromkeys(watch.links)),
        parameters=_parameters(network),
    )


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _children(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The network's own children, those of lists one by one."""
    for name, child in network.named_children():
        if isinstance(child, nn.ModuleList):
            yield from ((f"{name}.{i}", item) for i, item in enumerate(child))
        else:
            yield name, child


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(value.values())
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for item in value:
            yield from _tensors(item)
