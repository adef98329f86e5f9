"""Our own models as folders for diffusers: what its pipelines make of them is what is made here."""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
import pytest
import torch
from torch import Tensor

import sfumato as sf
from sfumato.apps.cli import main
from sfumato.core.engine import Engine
from sfumato.core.sampler import sampler
from sfumato.core.schedule import BetaTable, FixedSigma, Flow, Schedule
from sfumato.core.solvers import make_solver
from sfumato.errors import ModelUnavailableError, SfumatoError, UsageError
from sfumato.models.defaults import SamplingDefaults
from sfumato.models.files.export import ExportedUNet, export
from sfumato.models.model import Model
from sfumato.models.networks.names import build_network


def model(
    kind: str, schedule: Schedule, prediction: str, defaults: SamplingDefaults | None = None, **config: int
) -> Model:
    torch.manual_seed(0)
    network = build_network(kind, config)
    for parameter in network.parameters():  # the new network is the zero function
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    return Model(
        network,
        name="ours",
        schedule=schedule,
        prediction=prediction,  # type: ignore[arg-type]
        shape=(1, 28, 28),
        defaults=defaults or SamplingDefaults(),
        classes=config.get("classes"),
    )


def flow() -> Model:
    return model("residual", Flow(), "flow", width=16, deep=32, middle=1, classes=3)


TABLES = {
    "linear, eps": (BetaTable("linear", timesteps=300), "eps", True),
    "cosine, v": (BetaTable("squared_cosine"), "v", False),
}


def made_by(pipe: diffusers.DiffusionPipeline, steps: int) -> Tensor:
    pipe.set_progress_bar_config(disable=True)
    rng = torch.Generator("cpu").manual_seed(7)
    pictures: Tensor = pipe(num_inference_steps=steps, generator=rng, output_type="pt").images
    return 2 * pictures - 1


@pytest.mark.parametrize("name", TABLES)
def test_diffusers_samples_a_table_model_as_we_do(tmp_path: Path, name: str) -> None:
    schedule, prediction, clip = TABLES[name]
    defaults = SamplingDefaults(solver="ddpm", spacing="leading", clip=clip)
    ours = model("classic", schedule, prediction, defaults, hidden=8, classes=3)
    pipe = diffusers.DiffusionPipeline.from_pretrained(export(ours, tmp_path / "out"))
    assert isinstance(pipe, diffusers.DDPMPipeline)
    here = sf.sample(ours, sf.unconditional(), seed=7, steps=10).x
    assert float(here.std()) > 0.05
    torch.testing.assert_close(made_by(pipe, 10), here, atol=1e-3, rtol=0)


def test_diffusers_samples_a_flow_as_we_do(tmp_path: Path) -> None:
    ours = flow()
    pipe = diffusers.DiffusionPipeline.from_pretrained(export(ours, tmp_path / "out"))
    there = made_by(pipe, 8)
    x = torch.randn((1, 1, 28, 28), generator=torch.Generator("cpu").manual_seed(7))
    asking = sampler(
        sf.unconditional(),
        x=x,
        path=[float(t) for t in pipe.scheduler.sigmas],
        schedule=ours.schedule,
        solver=make_solver("euler"),
        draw=lambda: x,
    )
    (here,) = Engine(ours).run(asking)
    torch.testing.assert_close(there, here.clamp(-1, 1), atol=1e-3, rtol=0)


def test_classes_are_asked_of_the_unet(tmp_path: Path) -> None:
    ours = flow()
    unet = diffusers.DiffusionPipeline.from_pretrained(export(ours, tmp_path / "out")).unet
    x = torch.randn((2, 1, 28, 28), generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([2, 0])
    with torch.inference_mode():
        there = unet(x, torch.tensor([250.0, 500.0]), class_labels=labels).sample
        (one,) = unet(x, 250, return_dict=False)
        here = ours.network(x, torch.tensor([0.25, 0.5]), labels)
        none = ours.network(x, torch.tensor([0.25, 0.25]), torch.tensor([-1, -1]))
    torch.testing.assert_close(there, here)
    torch.testing.assert_close(one, none)
    assert (unet.config.num_class_embeds, unet.config.sample_size, unet.config.in_channels) == (3, 28, 1)


def test_an_exported_folder_is_one_of_ours_too(tmp_path: Path) -> None:
    ours = flow()
    export(ours, tmp_path / "out")
    again = sf.load(str(export(ours, tmp_path / "out")))  # it may be replaced
    assert again.class_names == ("0", "1", "2")
    assert torch.equal(sf.sample(again, "1", seed=1, steps=2).x, sf.sample(ours, "1", seed=1, steps=2).x)
    twice = sf.load(str(export(again, tmp_path / "twice")))
    assert twice.sha256 == again.sha256
    assert {path.name for path in tmp_path.iterdir()} == {"out", "twice"}
    weights = tmp_path / "out" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(SfumatoError, match="cut short or changed"):
        sf.load(str(tmp_path / "out"))
    weights.unlink()
    with pytest.raises(ModelUnavailableError, match=r"no weights at .*diffusion_pytorch_model"):
        sf.load(str(tmp_path / "out"))
    description = json.loads((tmp_path / "out" / "model.json").read_text())
    for file in ("../weights", "/weights", 3):
        description["weights"]["file"] = file
        (tmp_path / "out" / "model.json").write_text(json.dumps(description))
        with pytest.raises(SfumatoError, match="it is damaged"):
            sf.load(str(tmp_path / "out"))


def test_what_diffusers_cannot_ask_is_refused(tmp_path: Path) -> None:
    for refused, message in (
        (model("classic", FixedSigma(0.5), "x0", hidden=4, timed=False), "UNets of ours with a timestep"),
        (
            model("classic", BetaTable("linear"), "flow", hidden=4),
            "no scheduler of diffusers is a .* with flow",
        ),
        (model("classic", Flow(), "v", hidden=4), "no scheduler of diffusers is a flow schedule with v"),
    ):
        with pytest.raises(UsageError, match=message):
            export(refused, tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(SfumatoError, match="no model folder"):
        export(flow(), tmp_path / "mine")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "letter.txt"]


def test_the_command_writes_what_diffusers_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path / "out"), "--model", "digits"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")
    pipe = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "out")
    assert isinstance(pipe.unet, ExportedUNet)
    assert main(["export", str(tmp_path / "out"), "--model", "nowhere"]) == 3
    assert main(["export", str(tmp_path / "no"), "--model", "digits-denoise"]) == 2
    assert not (tmp_path / "no").exists()
