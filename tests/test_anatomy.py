"""A network taken apart: against what its code says, in each of its forms."""

import pytest
import torch
from torch import Tensor, nn

from sfumato.models.networks.anatomy import Anatomy, Joint, anatomy
from sfumato.models.networks.base import Network
from sfumato.models.networks.names import build_network


def links(network: Anatomy) -> set[tuple[str, str, Joint]]:
    return {(link.source, link.target, link.joint) for link in network.links}


STREAM = ["stem", "down1", "down2", "flatten", "unflatten", "up1", "up2", "head", "out"]
SKIPS = {("stem", "head", "cat"), ("down1", "up2", "cat"), ("down2", "up1", "cat")}
TIME = {("<t>", "time1", ""), ("<t>", "time2", ""), ("time1", "up1", "+"), ("time2", "up2", "+")}
CLASS = {
    ("<label>", "class1", ""),
    ("<label>", "class2", ""),
    ("class1", "up1", "x"),
    ("class2", "up2", "x"),
}


@pytest.mark.parametrize(
    ("timed", "classes", "told"), [(False, None, set()), (True, None, TIME), (True, 10, TIME | CLASS)]
)
def test_the_classic_network_in_its_three_forms(
    timed: bool, classes: int | None, told: set[tuple[str, str, Joint]]
) -> None:
    network = build_network("classic", {"hidden": 4, "timed": timed, "classes": classes})
    seen = anatomy(network, (1, 28, 28))
    assert [part.name for part in seen.parts if part.spatial] == STREAM
    assert [part.shape for part in seen.parts if part.spatial] == [
        (4, 28, 28),
        (4, 14, 14),
        (8, 7, 7),
        (8, 1, 1),
        (8, 7, 7),
        (4, 14, 14),
        (4, 28, 28),
        (4, 28, 28),
        (1, 28, 28),
    ]
    chain = {(a, b, "") for a, b in zip(["<x>", *STREAM], [*STREAM, "<out>"], strict=True)}
    assert links(seen) == chain | SKIPS | told
    assert seen.parameters == sum(p.numel() for p in network.parameters())
    assert seen.output == (1, 28, 28)


def test_the_residual_network_adds_what_the_classic_one_concatenates() -> None:
    network = build_network("residual", {"width": 16, "deep": 32, "middle": 2, "classes": 10})
    seen = links(anatomy(network, (1, 28, 28)))
    assert ("before.0", "after.0", "+") in seen
    assert ("middle.0", "attention.0", "") in seen
    for block in ("before.0", "middle.0", "middle.1", "after.0"):
        assert {source for source, target, _ in seen if target == block} >= {"time", "label"}


def test_nothing_of_the_network_is_changed() -> None:
    network = build_network("classic", {"hidden": 4, "timed": True, "classes": None}).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    anatomy(network, (1, 28, 28))
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


class Broken(Network):
    kind, timed, classes = "broken", True, None

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3)

    def forward(self, x: Tensor, *_: object) -> Tensor:
        self.first(x)
        raise RuntimeError("no")


def test_a_network_that_fails_keeps_no_hooks() -> None:
    network = Broken()
    with pytest.raises(RuntimeError, match="no"):
        anatomy(network, (1, 8, 8))
    assert not network.first._forward_hooks
