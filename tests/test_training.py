"""Whole trainings: what they leave, and that stopping, killing and sharing them out changes nothing."""

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from sfumato.core.frame import Label
from sfumato.errors import SfumatoError, UsageError
from sfumato.models.files.saved import load_model
from sfumato.models.model import Model
from sfumato.models.networks.names import build_network
from sfumato.training.batches import Batches
from sfumato.training.checkpoint import complete_checkpoints, read_checkpoint
from sfumato.training.data import Forward, to_house_range
from sfumato.training.devices import make_accelerator
from sfumato.training.ema import PowerFunction
from sfumato.training.history import read_history
from sfumato.training.loop import train
from sfumato.training.objective import Objective, RandomInputs
from sfumato.training.presets import PRESETS, Adam, Augment, LearningRate, MuonAdam, Preset, preset
from sfumato.training.signals import TrainingStopped
from tiny import NORMED, PLAIN, assert_same_bytes, captioned, child, digits, newest, run

CPU = torch.device("cpu")
MUON = dataclasses.replace(PLAIN, name="muon", optimizer=MuonAdam(), ema=PowerFunction(width=0.1))
PATIENCE = 600  # seconds, for processes on a busy machine


# -- one run


def test_a_run_reports_records_and_exports(tmp_path: Path) -> None:
    seen: list[tuple[int, bool, Tensor]] = []

    def on_epoch(epoch: int, model: Model) -> None:
        x0 = model.denoise(torch.zeros(1, 1, 28, 28), torch.ones(1), [Label(7)]).x0
        seen.append((epoch, model.network.training, x0))

    progress = run(NORMED, tmp_path / "run", epochs=3, sample_epochs=(1, 3), on_epoch=on_epoch)
    assert [(p.step, p.steps, p.epoch, p.epochs) for p in progress[4:6]] == [(5, 15, 1, 3), (6, 15, 2, 3)]
    assert [p.learning_rate for p in progress[4:6]] == pytest.approx([1e-3, 1e-3 * 0.5 ** (2 / 3)])
    assert progress[-1].seconds_left == 0
    assert progress[-1].saved == tmp_path / "run" / "checkpoints" / "step-00000015"
    assert all(p.pictures_per_second > 0 for p in progress)

    assert [(epoch, training) for epoch, training, _ in seen] == [(1, False), (3, False)]
    model = load_model(tmp_path / "run" / "model")
    assert torch.equal(model.denoise(torch.zeros(1, 1, 28, 28), torch.ones(1), [Label(7)]).x0, seen[-1][2])
    assert (model.class_names, model.shape, model.prediction) == (tuple("0123456789"), (1, 28, 28), "eps")
    assert model.schedule == NORMED.objective.schedule
    average = {name: t for name, t in newest(tmp_path / "run").items() if name.startswith("ema:")}
    assert_same_bytes({f"ema:{name}": t for name, t in model.network.state_dict().items()}, average)

    history = read_history(tmp_path / "run")
    assert [(e.step, e.loss, e.gradient_norm) for e in history] == [
        (p.step, p.loss, p.gradient_norm) for p in progress
    ]
    assert ElementTree.parse(tmp_path / "run" / "loss.svg").getroot().tag.endswith("}svg")
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_a_training_learns(tmp_path: Path) -> None:
    quick = dataclasses.replace(PLAIN, batch=40, learning_rate=LearningRate(peak=3e-3, warmup=2))
    losses = [p.loss for p in run(quick, tmp_path, data=digits(), epochs=4)]
    # the network begins with the answer 0, whose loss is E[eps^2] + E[x0^2]
    start = 1 + to_house_range(digits().pictures).square().mean().item()
    assert losses[0] == pytest.approx(start, rel=0.02)
    assert sum(losses[-5:]) / 5 < 0.6 * start


def test_looking_at_a_training_does_not_change_it(tmp_path: Path) -> None:
    def on_epoch(epoch: int, model: Model) -> None:  # noqa: ARG001
        torch.manual_seed(1234)
        model.network.state_dict()["stem.0.0.weight"].zero_()

    run(NORMED, tmp_path / "watched", sample_epochs=None, on_epoch=on_epoch, save_every_steps=2)
    run(NORMED, tmp_path / "alone")
    assert_same_bytes(newest(tmp_path / "watched"), newest(tmp_path / "alone"))


def test_seeds_differ_and_repeat(tmp_path: Path) -> None:
    runs = {}
    for name, seed in {"a": 1, "b": 1, "c": 2}.items():
        torch.manual_seed(len(runs))  # whatever was drawn before
        runs[name] = [p.loss for p in run(PLAIN, tmp_path / name, seed=seed, max_steps=2)]
    assert runs["a"] == runs["b"]
    assert runs["a"] != runs["c"]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains_its_network(name: str) -> None:
    row = preset(name)
    network = build_network(row.network, dict(row.network_config))
    assert network.conditional == row.conditional
    data, side = (digits(), 28) if row.data == "mnist" else (captioned(), 64)
    pictures = torch.nn.functional.interpolate(to_house_range(data.pictures[:2]), size=(side, side))
    condition = data.labels[:2] if row.conditional else torch.full((2,), -1)
    draw = row.objective.draw(tuple(pictures.shape), torch.Generator().manual_seed(0))
    loss = row.objective.loss(data.conditioned_forward(network), pictures, condition, draw)
    loss.mean().backward()
    assert loss.shape == (2,)
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())
    assert row.describe() == preset(name).describe()


# -- batches


def test_an_epoch_shows_every_picture_once() -> None:
    plain = dataclasses.replace(NORMED, augment=Augment())
    batches = Batches(digits().first(100), plain, seed=0, device=CPU)
    for epoch in (0, 1):
        shown = torch.cat([batches.at(5 * epoch + k).x0 for k in range(5)])
        bytes_shown = sorted(x.numpy().tobytes() for x in shown)
        assert bytes_shown == sorted(x.numpy().tobytes() for x in to_house_range(digits().pictures[:100]))
    assert not torch.equal(batches.at(0).x0, batches.at(5).x0)


def test_shares_make_up_the_batch_of_one_process() -> None:
    whole = Batches(digits(), PLAIN, seed=3, device=CPU).at(7)
    shares = [Batches(digits(), PLAIN, seed=3, device=CPU, rank=r, processes=3).at(7) for r in range(3)]
    assert [len(share.x0) for share in shares] == [7, 7, 7]
    assert torch.equal(torch.cat([share.x0 for share in shares]), whole.x0)
    assert torch.equal(torch.cat([share.condition for share in shares]), whole.condition)
    assert torch.equal(torch.cat([share.random.noise for share in shares]), whole.random.noise)


def test_shifts_and_mirrors_move_pictures_as_stated() -> None:
    def batch(augment: Augment) -> Tensor:
        moved = dataclasses.replace(NORMED, batch=80, augment=augment)
        return Batches(digits(), moved, seed=0, device=CPU).at(0).x0

    still = batch(Augment())
    mirrored = batch(Augment(mirror=True))
    flipped = [torch.equal(m, s.flip(-1)) for m, s in zip(mirrored, still, strict=True)]
    kept = [torch.equal(m, s) for m, s in zip(mirrored, still, strict=True)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    assert 20 < sum(flipped) < 60
    offsets = set()
    for moved, picture in zip(batch(Augment(shift=2)), still, strict=True):
        found = {
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if torch.equal(moved[:, 2:-2, 2:-2], picture.roll((dy, dx), dims=(1, 2))[:, 2:-2, 2:-2])
        }
        assert found
        offsets |= found
    assert len(offsets) > 15


# -- going on


@pytest.mark.parametrize("row", [NORMED, MUON], ids=lambda row: row.name)
def test_resumed_in_the_middle_of_an_epoch_byte_for_byte(tmp_path: Path, row: Preset) -> None:
    run(row, tmp_path / "straight", max_steps=7)
    run(row, tmp_path / "resumed", max_steps=3)
    run(row, tmp_path / "resumed", max_steps=7, resume=True)
    straight, resumed = (
        complete_checkpoints(tmp_path / name / "checkpoints")[-1] for name in ("straight", "resumed")
    )
    assert straight.name == resumed.name == "step-00000007"
    assert {
        "facts.json",
        "network.safetensors",
        "optimizer.safetensors",
        "ema.safetensors",
        "manifest.json",
    } == {path.name for path in straight.iterdir()}
    for path in straight.iterdir():
        assert path.read_bytes() == (resumed / path.name).read_bytes(), path.name
    models = [
        (tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("straight", "resumed")
    ]
    assert models[0] == models[1]
    assert read_history(tmp_path / "straight") == read_history(tmp_path / "resumed")


def test_resuming_needs_the_same_training(tmp_path: Path) -> None:
    run(NORMED, tmp_path, max_steps=1)
    other = dataclasses.replace(NORMED, batch=40, optimizer=Adam())
    with pytest.raises(UsageError, match="batch, optimizer"):
        run(other, tmp_path, resume=True)
    with pytest.raises(UsageError, match="the seed"):
        run(NORMED, tmp_path, resume=True, seed=1)
    with pytest.raises(UsageError, match="the data"):
        run(NORMED, tmp_path, resume=True, limit=50)
    with pytest.raises(UsageError, match=tmp_path.name):
        run(NORMED, tmp_path)


def test_epochs_may_be_added_unless_the_rate_depends_on_them(tmp_path: Path) -> None:
    steady = dataclasses.replace(NORMED, learning_rate=LearningRate(peak=1e-3))
    run(steady, tmp_path / "a", epochs=1)
    assert run(steady, tmp_path / "a", epochs=1, resume=True) == []  # nothing is left to do
    run(steady, tmp_path / "a", epochs=2, resume=True)
    run(steady, tmp_path / "b", epochs=2)
    assert_same_bytes(newest(tmp_path / "a"), newest(tmp_path / "b"))
    run(PLAIN, tmp_path / "c", max_steps=1)
    with pytest.raises(UsageError, match="epochs"):
        run(PLAIN, tmp_path / "c", epochs=3, resume=True)


def test_resuming_verifies(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="checkpoints"):
        run(PLAIN, tmp_path, resume=True)
    run(PLAIN, tmp_path, max_steps=1)
    weights = complete_checkpoints(tmp_path / "checkpoints")[-1] / "network.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(SfumatoError, match=r"step-00000001.*step-00000000"):
        run(PLAIN, tmp_path, resume=True)


# -- stopping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Broken(Objective):
    """Its loss is not a number from the third step on."""

    good: list[None] = dataclasses.field(default_factory=lambda: [None] * 2)

    def loss(self, network: Forward, x0: Tensor, condition: Tensor, random: RandomInputs) -> Tensor:
        loss = super().loss(network, x0, condition, random)
        if self.good:
            self.good.pop()
            return loss
        return loss * torch.nan


def test_a_loss_that_is_not_finite_stops_before_the_optimiser(tmp_path: Path) -> None:
    objective = Broken(**{f.name: getattr(PLAIN.objective, f.name) for f in dataclasses.fields(Objective)})
    taken: list[object] = []
    hook = register_optimizer_step_pre_hook(lambda *step: taken.append(step))
    try:
        with pytest.raises(
            SfumatoError,
            match=r"nan at step 3 \(learning rate 0\.001\).*checkpoints",
        ):
            run(dataclasses.replace(PLAIN, objective=objective), tmp_path, save_every_steps=2)
    finally:
        hook.remove()
    assert len(taken) == 2
    for name, value in newest(tmp_path).items():
        assert bool(value.isfinite().all()), name
    assert [entry.step for entry in read_history(tmp_path)] == [1, 2]
    assert not (tmp_path / "model").exists()


def test_a_rate_that_is_too_high_is_noticed(tmp_path: Path) -> None:
    wild = dataclasses.replace(PLAIN, learning_rate=LearningRate(peak=1e30), ema=None)
    with pytest.raises(SfumatoError, match=r"(nan|inf) at step \d \(learning rate 1e\+30\)"):
        run(wild, tmp_path)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_finishes_the_step_and_saves(tmp_path: Path, number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)
    running = train(PLAIN, tmp_path, data=digits().first(100), device="cpu", sample_epochs=())
    next(running)
    signal.raise_signal(number)
    assert next(running).saved == tmp_path / "checkpoints" / "step-00000002"
    with pytest.raises(TrainingStopped, match=f"{number.name} after step 2") as caught:
        next(running)
    assert caught.value.exit_code == code
    assert signal.getsignal(number) == before
    assert read_checkpoint(complete_checkpoints(tmp_path / "checkpoints")[-1]).step == 2


def test_an_abandoned_training_gives_the_signals_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    running = train(PLAIN, tmp_path, data=digits().first(100), device="cpu", sample_epochs=())
    next(running)
    assert signal.getsignal(signal.SIGTERM) != before
    running.close()
    assert signal.getsignal(signal.SIGTERM) == before


def start(preset: Preset, out: Path, **options: object) -> ForkServerProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sfumato.training.loop"])  # imports torch once for all of them
    process = context.Process(target=child, args=(preset.name, out, options))
    process.start()
    return process


def wait_for_step(out: Path, step: int, process: ForkServerProcess) -> None:
    deadline = time.monotonic() + PATIENCE
    while not any(int(path.name[5:]) >= step for path in complete_checkpoints(out / "checkpoints")):
        assert process.is_alive(), process.exitcode
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_or_terminated_at_any_moment_a_run_can_be_resumed(tmp_path: Path) -> None:
    """A checkpoint is written after every step, so that some of the kills fall into the middle of a write."""
    out, reached = tmp_path / "run", 0
    for number, code, delay in (
        (signal.SIGKILL, -9, 0.0),
        (signal.SIGKILL, -9, 0.017),
        (signal.SIGKILL, -9, 0.041),
        (signal.SIGTERM, 143, 0.0),
    ):
        process = start(NORMED, out, epochs=200, save_every_steps=1, resume=reached > 0)
        wait_for_step(out, reached + 1, process)
        time.sleep(delay)
        assert process.pid is not None
        os.kill(process.pid, number)
        process.join(PATIENCE)
        assert process.exitcode == code
        reached = read_checkpoint(complete_checkpoints(out / "checkpoints")[-1]).step
    run(NORMED, out, epochs=200, max_steps=reached + 1, resume=True)
    run(NORMED, tmp_path / "straight", epochs=200, max_steps=reached + 1)
    assert_same_bytes(newest(out), newest(tmp_path / "straight"))
    assert read_history(out) == read_history(tmp_path / "straight")


# -- several processes


@pytest.mark.slow
def test_two_processes_train_like_one(tmp_path: Path) -> None:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    script = str(Path(__file__).with_name("tiny.py"))
    source = str(Path(sys.modules["sfumato"].__file__ or "").parents[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": source}
    done = subprocess.run(
        [sys.executable, *command, script, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert_same_bytes(newest(tmp_path / "straight"), newest(tmp_path / "resumed"))
    alone = [p.loss for p in run(PLAIN, tmp_path / "alone", max_steps=4)]
    assert [e.loss for e in read_history(tmp_path / "straight")] == pytest.approx(alone, rel=1e-4)
    one, two = newest(tmp_path / "alone"), newest(tmp_path / "straight")
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


# -- what is refused before anything is written


def test_unknown_presets_list_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'cats'.*digits-denoise, digits-time"):
        train("cats", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "'tpu'.*auto, cpu"),
        ({"precision": "fp8"}, "'fp8'.*auto, no, bf16"),
        ({"limit": 0}, r"limit of 0 .*1\.\.100"),
        ({"limit": 20}, "20 pictures.*21"),
        ({"epochs": 0}, "plain: .*epochs"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"save_every_steps": 0}, "save_every_steps is 0"),
        ({"save_every_seconds": 0}, "save_every_seconds is 0"),
    ],
)
def test_bad_arguments(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(PLAIN, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="CUDA"):
        make_accelerator("cuda", "auto")


@pytest.mark.parametrize(
    ("flag", "expected"), [({}, "no"), ({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16")]
)
def test_bf16_only_where_the_cpu_computes_in_it(
    flag: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flag, raising=False)
    assert make_accelerator("cpu", "auto").mixed_precision == expected
    assert make_accelerator("cpu", "no").mixed_precision == "no"


def test_presets_that_contradict_themselves(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="plain: clip"):
        dataclasses.replace(PLAIN, clip=0.0)
    with pytest.raises(UsageError, match="conditional=True"):
        dataclasses.replace(PLAIN, conditional=False)
    with pytest.raises(UsageError, match="plain: conditional=True"):
        run(dataclasses.replace(PLAIN, network_config={}), tmp_path / "run")
    with pytest.raises(UsageError, match=r"21 .*42"):
        Batches(digits(), PLAIN, seed=0, device=CPU, processes=42)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SfumatoError, match=r"file.*(Not a directory|File exists)"):
        run(PLAIN, tmp_path / "file")
