"""What a network is made of, seen in one forward pass: its parts in order, their shapes, and what feeds what.

Hooks on the network's own children tell the shapes; between them, every torch function of the network's own
`forward` is watched, so that a concatenation, a sum or a product that brings two parts together is known as
such. Nothing is declared by hand: another network draws itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sfumato.models.networks.base import Network

Joint = Literal["", "cat", "+", "x"]
_JOINTS: dict[str, Joint] = {
    "cat": "cat",
    "concat": "cat",
    "concatenate": "cat",
    "add": "+",
    "__add__": "+",
    "__radd__": "+",
    "sub": "+",
    "mul": "x",
    "__mul__": "x",
    "__rmul__": "x",
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


@dataclass(eq=False)
class _Watch(TorchFunctionMode):
    """Follows tensors through the network's own forward, and not through what happens inside a part."""

    inside: int = 0
    origins: dict[int, Origins] = field(default_factory=dict)
    order: dict[str, int] = field(default_factory=dict)  # of the parts, by their calls; -1 for vectors
    alive: list[Tensor] = field(default_factory=list)  # so that no id is used twice

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if not self.inside:
            joint = _JOINTS.get(getattr(func, "__name__", ""), "")
            found = self.met([self.of(t) for t in _tensors((args, kwargs or {}))], joint)
            for tensor in _tensors(out):
                if found:
                    self.hold(tensor, found)
        return out

    def hold(self, tensor: Tensor, origins: Origins) -> None:
        """Remember what a tensor holds."""
        self.alive.append(tensor)
        self.origins[id(tensor)] = dict(origins)

    def of(self, tensor: Tensor) -> Origins:
        """What a tensor holds."""
        return self.origins.get(id(tensor), {})

    def met(self, several: list[Origins], joint: Joint) -> Origins:
        """What holds all of several. The part that was called last is the stream; the others join it."""
        several = [origins for origins in several if origins]
        if not several:
            return {}
        stream = max(several, key=lambda origins: max(self.order.get(name, -1) for name in origins))
        merged: Origins = {}
        for origins in several:
            for name, before in origins.items():
                joins = joint if origins is not stream and origins != stream else ""
                merged[name] = merged.get(name) or before or joins
        return merged


def anatomy(network: Network, shape: tuple[int, int, int]) -> Anatomy:
    """One pass of one picture (C, H, W) of zeros through the network, watched."""
    watch, parts, links = _Watch(), list[Part](), list[Link]()
    parameter = next(network.parameters())
    x = torch.zeros((1, *shape), device=parameter.device)
    t = torch.full((1,), 0.5, device=parameter.device)
    label = torch.zeros((1,), dtype=torch.int64, device=parameter.device)
    watch.hold(x, {"<x>": ""})
    watch.hold(t, {"<t>": ""})
    watch.hold(label, {"<label>": ""})

    def before(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:  # noqa: ARG001
            watch.inside += 1
            if watch.inside == 1:
                for tensor in _tensors((args, kwargs)):
                    links.extend(Link(source, name, joint) for source, joint in watch.of(tensor).items())

        return hook

    def after(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, out: Tensor) -> None:  # noqa: ARG001
            watch.inside -= 1
            if watch.inside == 0:
                count = sum(p.numel() for p in module.parameters())
                part = Part(name, type(module).__name__, tuple(out.shape[1:]), count)
                watch.order[name] = len(parts) if part.spatial else -1
                parts.append(part)
                watch.hold(out, {name: ""})

        return hook

    training = network.training
    network.eval()
    with ExitStack() as stack:
        stack.callback(network.train, training)
        for name, child in _children(network):
            stack.callback(child.register_forward_pre_hook(before(name), with_kwargs=True).remove)
            stack.callback(child.register_forward_hook(after(name), with_kwargs=True).remove)
        stack.enter_context(torch.inference_mode())
        stack.enter_context(watch)
        out = network(x, t if network.timed else None, label)
    links.extend(Link(source, "<out>", joint) for source, joint in watch.of(out).items())
    return Anatomy(
        kind=type(network).__name__,
        input=shape,
        output=tuple(out.shape[1:]),
        parts=tuple(parts),
        links=tuple(dict.fromkeys(links)),
        parameters=sum(p.numel() for p in network.parameters()),
    )


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
