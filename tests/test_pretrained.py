"""Pretrained models against diffusers' own pipelines: equal weights, timesteps and seeds, equal pictures."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from torch import Tensor

import sfumato as sf
import tiny_pipelines as tiny
from sfumato import sampling
from sfumato.core.expression import one_picture
from sfumato.core.guidance import Projected
from sfumato.core.noise import Noise
from sfumato.core.sampler import Step
from sfumato.core.views import View, make_view
from sfumato.errors import ModelUnavailableError, UsageError
from sfumato.models.cascade import Cascade, StageSettings
from sfumato.models.model import unchanged
from sfumato.models.runtime.lazy import LazyNetwork
from sfumato.pictures import to_uint8
from sfumato.recipe import Recipe, parse_recipe

TOLERANCE = 1e-3
SEED = 7


@pytest.fixture(scope="module")
def differences() -> dict[str, float]:
    """The largest difference from diffusers of every case, in values of [-1, 1]."""
    return {}


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SFUMATO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def generator(seed: int = SEED) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def pictures_of(pipe: Any, *args: Any, **kwargs: Any) -> Tensor:
    """What a pipeline makes, (B, C, H, W) in [-1, 1]."""
    pipe.set_progress_bar_config(disable=True)
    kwargs |= {"output_type": "pt"} if "output_type" in inspect.signature(pipe.__call__).parameters else {}
    images = pipe(*args, generator=generator(), **kwargs).images
    return images if isinstance(images, Tensor) else from_arrays(images)


def from_arrays(images: np.ndarray) -> Tensor:
    """(B, H, W, C), which pipelines of older diffusers return, as (B, C, H, W)."""
    return torch.from_numpy(images).movedim(3, 1)


def compare(differences: dict[str, float], name: str, ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert float(ours.std()) > 0.05  # a blank picture would equal a blank picture
    differences[name] = float((ours - theirs).abs().max())
    assert differences[name] <= TOLERANCE


# ------------------------------------------------------------------------------------- unconditional UNets


@pytest.fixture(scope="module")
def ddpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.unet2d(tmp_path_factory.mktemp("ddpm"))


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("clip", [True, False])
def test_ddpm_pipeline(tmp_path: Path, differences: dict[str, float], variance: str, clip: bool) -> None:
    folder = tiny.unet2d(tmp_path, variance_type=variance, clip_sample=clip)
    pipe = diffusers.DDPMPipeline.from_pretrained(folder)
    theirs = pictures_of(pipe, num_inference_steps=10)
    ours = sf.sample(sf.load(str(folder)), sf.unconditional(), seed=SEED, steps=10).x
    compare(differences, f"DDPMPipeline, {variance}{', clipped' if clip else ''}", ours, 2 * theirs - 1)


@pytest.mark.parametrize("eta", [0.0, 0.5])
@pytest.mark.parametrize("corrected", [False, True])
def test_ddim_pipeline(ddpm: Path, differences: dict[str, float], eta: float, corrected: bool) -> None:
    pipe = diffusers.DDIMPipeline.from_pretrained(ddpm)
    theirs = pictures_of(pipe, num_inference_steps=10, eta=eta, use_clipped_model_output=corrected)
    options = {"eta": eta, "direction": "clipped" if corrected else "raw"}
    model = sf.load(str(ddpm))
    ours = sf.sample(model, sf.unconditional(), seed=SEED, steps=10, solver="ddim", options=options).x
    name = f"DDIMPipeline, eta {eta}{', use_clipped_model_output' if corrected else ''}"
    compare(differences, name, ours, 2 * theirs - 1)


def test_a_ddim_folder_is_sampled_as_its_pipeline_does_by_default(tmp_path: Path, ddpm: Path) -> None:
    diffusers.DDIMPipeline.from_pretrained(ddpm).save_pretrained(tmp_path)
    pipe = diffusers.DDIMPipeline.from_pretrained(tmp_path)
    ours = sf.sample(sf.load(str(tmp_path)), sf.unconditional(), seed=SEED, steps=10).x
    theirs = 2 * pictures_of(pipe, num_inference_steps=10) - 1
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0)


def test_a_class_conditional_unet(tmp_path: Path, differences: dict[str, float]) -> None:
    folder = tiny.unet2d(tmp_path, classes=5)
    pipe = diffusers.DDPMPipeline.from_pretrained(folder)
    scheduler, rng = pipe.scheduler, generator()
    scheduler.set_timesteps(10)
    x = torch.randn((1, 3, 16, 16), generator=rng)
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(pipe.unet(x, t, torch.tensor([3])).sample, t, x, generator=rng).prev_sample
    model = sf.load(str(folder))
    compare(
        differences,
        "UNet2DModel by class",
        sf.sample(model, sf.label(3), seed=SEED, steps=10).x,
        x.clamp(-1, 1),
    )
    with pytest.raises(UsageError, match="classes alone"):
        sf.sample(model, sf.unconditional(), seed=SEED, steps=2)


# -------------------------------------------------------------------------------------------- DeepFloyd IF


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Stages I, II and III: 16, 32 and 64 pixels."""
    root = tmp_path_factory.mktemp("deepfloyd")
    return [
        tiny.deepfloyd(root / "one"),
        tiny.deepfloyd(root / "two", size=32, upscales=True),
        tiny.deepfloyd(root / "three", size=64, upscales=True),
    ]


def low_picture(size: int = 16) -> Tensor:
    return torch.rand((1, 3, size, size), generator=generator(1)) * 1.6 - 0.8


@pytest.mark.parametrize("guidance", [7.0, 1.0])
def test_if_pipeline(stages: list[Path], differences: dict[str, float], guidance: float) -> None:
    pipe = diffusers.IFPipeline.from_pretrained(stages[0])
    theirs = pictures_of(
        pipe, "A Rocket", num_inference_steps=10, guidance_scale=guidance, clean_caption=False
    )
    ours = sf.sample(sf.load(str(stages[0])), "A Rocket", seed=SEED, steps=10, guidance=guidance).x
    compare(differences, f"IFPipeline, guidance {guidance:g}", ours, theirs.clamp(-1, 1))


def test_if_pipeline_with_a_negative_prompt(stages: list[Path], differences: dict[str, float]) -> None:
    pipe = diffusers.IFPipeline.from_pretrained(stages[0])
    settings = {"num_inference_steps": 10, "guidance_scale": 5.0, "clean_caption": False}
    theirs = pictures_of(pipe, "a rocket", negative_prompt="a cat", **settings)
    what = sf.prompt("a rocket").guided(5, negative="a cat")
    ours = sf.sample(sf.load(str(stages[0])), what, seed=SEED, steps=10).x
    compare(differences, "IFPipeline, negative prompt", ours, theirs.clamp(-1, 1))


@pytest.mark.parametrize("guidance", [7.0, 1.0])
def test_if_img2img_pipeline(stages: list[Path], differences: dict[str, float], guidance: float) -> None:
    pipe = diffusers.IFImg2ImgPipeline.from_pretrained(stages[0])
    theirs = pictures_of(
        pipe,
        "a cat",
        image=low_picture(),
        strength=0.7,
        num_inference_steps=10,
        guidance_scale=guidance,
        clean_caption=False,
    )
    edit = sf.translate(low_picture(), "a cat", strength=0.7)
    ours = sf.sample(sf.load(str(stages[0])), edit, seed=SEED, steps=10, guidance=guidance).x
    compare(differences, f"IFImg2ImgPipeline, guidance {guidance:g}", ours, theirs.clamp(-1, 1))


@pytest.mark.parametrize(("guidance", "level"), [(4.0, 250), (7.0, 100), (1.0, 250)])
def test_if_super_resolution_pipeline(
    stages: list[Path], differences: dict[str, float], guidance: float, level: int
) -> None:
    pipe = diffusers.IFSuperResolutionPipeline.from_pretrained(stages[1])
    theirs = pictures_of(
        pipe,
        "a cat",
        image=low_picture(),
        noise_level=level,
        num_inference_steps=10,
        guidance_scale=guidance,
        clean_caption=False,
    )
    ours = sf.sample(
        sf.load(str(stages[1])),
        sf.upscale(low_picture(), "a cat"),
        seed=SEED,
        steps=10,
        guidance=guidance,
        low_t=(level + 1) / 1000,
    ).x
    compare(
        differences,
        f"IFSuperResolutionPipeline, guidance {guidance:g}, noise level {level}",
        ours,
        theirs.clamp(-1, 1),
    )


def test_stage_one_and_two_share_a_generator_as_in_diffusers(
    stages: list[Path], differences: dict[str, float]
) -> None:
    rng = generator()
    settings = {"output_type": "pt", "generator": rng, "num_inference_steps": 5, "clean_caption": False}
    pipes = [
        diffusers.IFPipeline.from_pretrained(stages[0]),
        diffusers.IFSuperResolutionPipeline.from_pretrained(stages[1]),
    ]
    for pipe in pipes:
        pipe.set_progress_bar_config(disable=True)
    small = pipes[0]("a cat", guidance_scale=7.0, **settings).images.clamp(-1, 1)
    large = pipes[1]("a cat", image=small, guidance_scale=4.0, **settings).images
    ours = sf.sample(
        cascade_of(stages), "a cat", seed=SEED, steps=5, upscale=32, stages=[StageSettings(steps=5)]
    )
    compare(differences, "cascade of IFPipeline and IFSuperResolutionPipeline", ours.x, large.clamp(-1, 1))


# ------------------------------------------------------------------- what DeepFloyd's licence asks to stay


def as_tensor(pictures: list[Any]) -> Tensor:
    """PIL pictures as they are, (B, 3, H, W) uint8."""
    return torch.stack([torch.from_numpy(np.array(p)).permute(2, 0, 1) for p in pictures])


@pytest.mark.parametrize("objects", [False, True])
def test_the_safety_checker_and_the_watermark_are_those_of_diffusers(tmp_path: Path, objects: bool) -> None:
    filters = tiny.if_filters(objects=objects)
    folder = tiny.deepfloyd(tmp_path, size=64, filters=filters)
    pipe = diffusers.IFPipeline.from_pretrained(folder, **filters)  # it cannot load the checker (checker.py)
    pipe.set_progress_bar_config(disable=True)
    settings = {"num_inference_steps": 3, "guidance_scale": 7.0, "clean_caption": False}
    theirs = as_tensor(pipe("a cat", generator=generator(), output_type="pil", **settings).images)
    made = sf.sample(sf.load(str(folder)), "a cat", seed=SEED, steps=3)
    ours = to_uint8(made.x)
    assert int((ours.int() - theirs.int()).abs().max()) <= 1  # float32 sums in another order
    corner, rest = theirs[..., -4:, -4:], theirs[..., :-4, :-4]
    assert bool((corner != 0).any())  # the mark, on black as well
    assert bool((rest == 0).all()) == objects
    model = sf.load(str(folder))
    model.postprocess = unchanged
    assert not torch.equal(to_uint8(sf.sample(model, "a cat", seed=SEED, steps=3).x), ours)


def test_filters_work_once_on_the_pictures_that_leave(tmp_path: Path) -> None:
    one = tiny.deepfloyd(tmp_path / "one", size=32, filters=tiny.if_filters(objects=True))
    two = tiny.deepfloyd(tmp_path / "two", size=64, upscales=True)
    cascade = cascade_of([one, two])
    how: dict[str, Any] = {"seed": SEED, "steps": 2, "stages": [StageSettings(steps=2)]}
    filtered = sf.sample(cascade, "a cat", **how).x
    first = cascade.stages[0]
    assert first.postprocess is not unchanged
    marked, first.postprocess = first.postprocess, unchanged
    free = sf.sample(cascade, "a cat", **how).x
    assert torch.equal(marked(free), filtered)  # what went from stage to stage was not black
    assert bool((filtered[..., :-4, :-4] == -1).all())


def test_filters_that_are_named_must_be_there(tmp_path: Path) -> None:
    whole = tiny.deepfloyd(tmp_path / "whole", size=32, filters=tiny.if_filters(objects=False))
    for part in ("safety_checker", "watermarker", "feature_extractor"):
        folder = shutil.copytree(whole, tmp_path / part)
        shutil.rmtree(folder / part)
        with pytest.raises(ModelUnavailableError, match=f"no .*{part}, which the model's licence asks for"):
            sf.load(str(folder))


# ----------------------------------------------------------------------------------------------- cascades


def cascade_of(folders: list[Path]) -> Cascade:
    return Cascade(*(sf.load(str(folder)) for folder in folders))


def turned_noise(view: View) -> type[Noise]:
    """The same noise as it looks through a view."""

    class Turned(Noise):
        def draw(self) -> Tensor:
            return view.forward(super().draw())

    return Turned


@pytest.mark.parametrize(
    ("view", "back"), [("flip", "flip"), ("rotate_cw", "rotate_ccw"), ("negate", "negate")]
)
def test_an_anagram_is_one_at_every_size(
    stages: list[Path], monkeypatch: pytest.MonkeyPatch, view: str, back: str
) -> None:
    """The view of the output is the output of the viewed inputs: the readings change their places."""
    cascade, turn = cascade_of(stages), make_view(view)
    assert cascade.sizes == [16, 32, 64]
    how = {"seed": SEED, "steps": 3, "guidance": 2.0}
    for size in cascade.sizes:
        how |= {"upscale": size, "stages": [StageSettings(steps=3, guidance=2.0)] * cascade.sizes.index(size)}
        ours = sf.sample(cascade, sf.anagram("a cat", "a dog", view=view), **how).x
        with monkeypatch.context() as patch:
            patch.setattr(sampling, "Noise", turned_noise(turn))
            theirs = sf.sample(cascade, sf.anagram("a dog", "a cat", view=back), **how).x
        assert ours.shape == (1, 3, size, size)
        torch.testing.assert_close(turn.forward(ours), theirs, atol=TOLERANCE, rtol=0)
        assert not torch.allclose(ours, theirs, atol=0.05)


def test_a_hybrid_is_one_at_every_size(stages: list[Path]) -> None:
    """With one subject for both bands the parts add up to it, at every stage."""
    cascade = cascade_of(stages)
    how = {"seed": SEED, "steps": 3, "stages": [StageSettings(steps=3)] * 2}
    one = sf.sample(cascade, "a cat", **how).x
    same = sf.sample(cascade, sf.hybrid(far="a cat", near="a cat"), **how).x
    torch.testing.assert_close(one, same, atol=TOLERANCE, rtol=0)
    other = sf.sample(cascade, sf.hybrid(far="a dog", near="a cat"), **how).x
    assert not torch.allclose(one, other, atol=0.05)


def test_the_recipe_of_a_cascade_has_all_its_stages(stages: list[Path]) -> None:
    cascade = cascade_of(stages)
    settings = [StageSettings(steps=2, guidance=3.0, low_t=0.1), StageSettings(steps=1, solver="ddim")]
    made = sf.sample(cascade, "a cat", seed=SEED, count=2, steps=2, stages=settings)
    recipe = made.recipe
    assert [stage.model for stage in (recipe, *recipe.stages)] == [str(folder) for folder in stages]
    assert [stage.weights for stage in recipe.stages] == [model.sha256 for model in cascade.stages[1:]]
    assert [(s.steps, s.solver, s.size, s.low_t) for s in recipe.stages] == [
        (2, "ddpm", (32, 32), 0.1),
        (1, "ddim", (64, 64), 0.251),
    ]
    assert recipe.made_size == (64, 64)
    assert "Size: 64x64" in recipe.parameters()
    again = sf.run(parse_recipe(json.loads(json.dumps(recipe.plain()))), cascade)
    assert torch.equal(made.x, again.x)
    alone = sf.run(recipe.single(1), cascade).x
    torch.testing.assert_close(made.x[1:], alone, atol=TOLERANCE, rtol=0)


def test_a_cascade_of_one_network_at_a_time_makes_the_same(stages: list[Path]) -> None:
    how = {"seed": SEED, "steps": 2, "stages": [StageSettings(steps=2)]}
    cascade = cascade_of(stages[:2])
    made = sf.sample(cascade, "a cat", **how).x
    assert loaded(cascade.stages[0])
    careful = Cascade(*cascade.stages, one_at_a_time=True)
    assert torch.equal(sf.sample(careful, "a cat", **how).x, made)
    assert not loaded(cascade.stages[0])


def loaded(model: sf.Model) -> bool:
    assert isinstance(model.network, LazyNetwork)
    return model.network.loaded


def test_the_steps_of_all_stages_are_counted_as_one_run_and_may_be_stopped(stages: list[Path]) -> None:
    cascade = cascade_of(stages[:2])
    how = {"seed": SEED, "steps": 2, "stages": [StageSettings(steps=3)]}
    seen: list[tuple[int, int, int]] = []

    def see(step: Step) -> bool:
        seen.append((step.index, step.total, step.x.shape[-1]))
        return stop_at == step.index

    stop_at = -1
    assert sf.sample(cascade, "a cat", on_step=see, **how).x.shape[-1] == 32
    assert seen == [(0, 5, 16), (1, 5, 16), (2, 5, 32), (3, 5, 32), (4, 5, 32)]
    seen.clear()
    stop_at = 0
    assert sf.sample(cascade, "a cat", on_step=see, **how).x.shape[-1] == 16
    assert len(seen) == 1


def test_cascades_refuse_what_they_cannot_do(stages: list[Path]) -> None:
    one, two, three = (sf.load(str(folder)) for folder in stages)
    cascade = Cascade(one, two, three)
    mask = torch.zeros(1, 1, 16, 16)
    for what, how, message in (
        ("a cat", {"upscale": 48}, "makes 16, 32, 64 pixels, not 48"),
        ("a cat", {"stages": [StageSettings()] * 3}, "3 settings for 2 stages"),
        ("a cat", {"stages": [StageSettings(low_t=2.0)]}, "low_t is 2.0"),
        ("a cat", {"low_t": 0.1}, "low_t"),
        (sf.crops("a cat"), {}, "crops do not go with upscaling"),
        (sf.inpaint(low_picture()[..., :12, :12], mask[..., :12, :12], "a"), {}, "resize it"),
        (sf.upscale(low_picture(), "a cat"), {}, "makes pictures of its own"),
    ):
        with pytest.raises(UsageError, match=message):
            sf.sample(cascade, what, seed=0, **how)
    assert not loaded(one)
    for models, message in (
        ((one, three, two), "the stages of a cascade grow"),
        ((two,), "begins with a model that makes some"),
        ((one, one), "it does not make them larger"),
    ):
        with pytest.raises(UsageError, match=message):
            Cascade(*models)
    with pytest.raises(UsageError, match="32 take stages that make them larger"):
        sf.sample(one, "a cat", seed=0, upscale=32)
    with pytest.raises(UsageError, match="no stages were published for"):
        sf.load_cascade(str(stages[0]), upscale=32)
    recipe, inputs = sf.make_recipe(cascade, "a cat", seed=0)
    with pytest.raises(UsageError, match=r"two.*three"):
        sf.run(recipe, one, inputs)
    with pytest.raises(UsageError, match="stage 1, stage 2 are the cascade's own networks"):
        sf.run(recipe, cascade, inputs, networks={"stage 1": one})
    with pytest.raises(UsageError, match="each of stages needs low_t"):
        parse_recipe(recipe.plain() | {"stages": [one_stage(recipe) | {"low_t": None}]})


def one_stage(recipe: Recipe) -> dict[str, Any]:
    stage: dict[str, Any] = recipe.plain()["stages"][0]
    return stage


def test_stages_refuse_what_they_cannot_do(stages: list[Path]) -> None:
    one, two = (sf.load(str(folder)) for folder in stages[:2])
    for model, what, message in (
        (two, "a cat", "makes pictures larger: give it one"),
        (two, sf.upscale(low_picture(), sf.crops("a cat")), "crops do not go with upscaling"),
        (two, sf.upscale(low_picture()[:, :1], "a cat"), "of 3 channels, not 1"),
        (two, sf.upscale(low_picture()[..., 1:], "a cat"), "give a square one that is smaller"),
        (one, sf.upscale(low_picture(), "a cat"), "does not make them larger"),
        (one, sf.label(3), "knows no classes such as 3"),
    ):
        with pytest.raises(UsageError, match=message):
            sf.sample(model, what, seed=0, steps=1)


def test_the_latent_upscaler(tmp_path: Path, stages: list[Path], differences: dict[str, float]) -> None:
    folder = tiny.latent_upscaler(tmp_path)
    pipe = diffusers.StableDiffusionUpscalePipeline.from_pretrained(folder)
    settings = {"num_inference_steps": 10, "guidance_scale": 6.0, "noise_level": 20}
    theirs = pictures_of(pipe, "a cat", image=(low_picture() + 1) / 2, **settings)
    model = sf.load(str(folder))
    how = {"seed": SEED, "steps": 10, "guidance": 6.0}
    ours = sf.sample(model, sf.upscale(low_picture(), "a cat"), **how).x
    compare(differences, "StableDiffusionUpscalePipeline, ddim, v-prediction", ours, 2 * theirs - 1)

    small, quick = Cascade(sf.load(str(stages[0])), model), StageSettings(steps=2)
    assert sf.sample(small, "a cat", seed=SEED, steps=2, stages=[quick]).x.shape[-1] == 32
    deep = Cascade(
        *(sf.load(str(stage)) for stage in stages[:2]), model
    )  # its latents grow with what it gets
    assert sf.sample(deep, "a cat", seed=SEED, steps=2, stages=[quick, quick]).x.shape[-1] == 64
    with pytest.raises(UsageError, match="acts on pixels"):
        sf.sample(model, sf.upscale(low_picture(), sf.anagram("a", "b", view="flip")), seed=0)


# ---------------------------------------------------------------------------------------- Stable Diffusion


@pytest.fixture(scope="module")
def latent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.stable_diffusion(tmp_path_factory.mktemp("latent"))


# solver, diffusers' scheduler, spacing, and what else makes the timesteps and the last level equal
SCHEDULERS = [
    ("ddim", diffusers.DDIMScheduler, "trailing", {"clip_sample": False, "set_alpha_to_one": True}),
    ("dpm++2m", diffusers.DPMSolverMultistepScheduler, "trailing", {}),
    ("euler", diffusers.EulerDiscreteScheduler, "leading", {"steps_offset": 0}),
    ("unipc", diffusers.UniPCMultistepScheduler, "trailing", {}),
]


@pytest.mark.parametrize("case", SCHEDULERS, ids=[case[0] for case in SCHEDULERS])
def test_stable_diffusion_pipelines(
    latent: Path, differences: dict[str, float], case: tuple[str, Any, str, dict[str, bool]]
) -> None:
    solver, scheduler, spacing, changes = case
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(latent)
    translate = diffusers.StableDiffusionImg2ImgPipeline(**pipe.components, requires_safety_checker=False)
    # after both are made: their constructors set steps_offset to 1
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config, timestep_spacing=spacing, **changes)
    translate.scheduler = scheduler.from_config(pipe.scheduler.config)
    model, how = sf.load(str(latent)), {"seed": SEED, "solver": solver, "spacing": spacing, "steps": 10}
    settings = {"num_inference_steps": 10, "guidance_scale": 7.5}

    theirs = pictures_of(pipe, "a rocket", **settings)
    ours = sf.sample(model, "a rocket", guidance=7.5, **how).x
    compare(differences, f"StableDiffusionPipeline, {solver}", ours, 2 * theirs - 1)

    picture = low_picture()
    theirs = pictures_of(translate, "a rocket", image=(picture + 1) / 2, strength=0.6, **settings)
    ours = sf.sample(model, sf.translate(picture, "a rocket", strength=0.6), guidance=7.5, **how).x
    compare(differences, f"StableDiffusionImg2ImgPipeline, {solver}", ours, 2 * theirs - 1)


def test_v_prediction(tmp_path: Path, differences: dict[str, float]) -> None:
    folder = tiny.stable_diffusion(tmp_path, prediction="v_prediction")
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    pipe.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(
        pipe.scheduler.config, timestep_spacing="trailing"
    )
    theirs = pictures_of(pipe, "a cat", num_inference_steps=10, guidance_scale=4.0)
    ours = sf.sample(sf.load(str(folder)), "a cat", seed=SEED, steps=10, guidance=4).x
    compare(differences, "StableDiffusionPipeline, v-prediction, dpm++2m", ours, 2 * theirs - 1)


@pytest.mark.parametrize("blank", [True, False])
def test_stable_diffusion_xl(tmp_path: Path, differences: dict[str, float], blank: bool) -> None:
    folder = tiny.stable_diffusion_xl(tmp_path, blank=blank)
    pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False)
    settings = {"num_inference_steps": 10, "guidance_scale": 5.0}
    model = sf.load(str(folder))
    how: dict[str, Any] = {"seed": SEED, "steps": 10, "spacing": "leading"}
    name = f"StableDiffusionXLPipeline, euler{'' if blank else ', empty prompt encoded'}"
    ours = sf.sample(model, "a rocket", guidance=5, **how).x
    compare(differences, name, ours, 2 * pictures_of(pipe, "a rocket", **settings) - 1)
    theirs = pictures_of(pipe, "a rocket", negative_prompt="a cat", **settings)
    ours = sf.sample(model, sf.prompt("a rocket").guided(5, negative="a cat"), **how).x
    compare(differences, f"{name}, negative prompt", ours, 2 * theirs - 1)
    if not blank:
        return
    parts = {**pipe.components, "feature_extractor": None, "image_encoder": None}
    translate = diffusers.StableDiffusionXLImg2ImgPipeline(**parts, add_watermarker=False)
    picture = low_picture()
    theirs = pictures_of(translate, "a rocket", image=(picture + 1) / 2, strength=0.6, **settings)
    ours = sf.sample(model, sf.translate(picture, "a rocket", strength=0.6), guidance=5, **how).x
    compare(differences, "StableDiffusionXLImg2ImgPipeline, euler", ours, 2 * theirs - 1)
    composed = sf.sample(model, sf.compose("a", "b", weights=[1.0, 0.0]), guidance=5, **how).x
    alone = sf.sample(model, "a", guidance=5, **how).x
    torch.testing.assert_close(composed, alone, atol=TOLERANCE, rtol=0)
    assert not torch.allclose(sf.sample(model, sf.compose("a", "b"), guidance=5, **how).x, alone, atol=0.01)


def test_pixels_are_refused_in_latent_space_before_the_first_step(latent: Path) -> None:
    model = sf.load(str(latent))
    for what in (
        sf.anagram("a", "b", view="flip"),
        sf.hybrid(far="a", near="b"),
        sf.panorama("a", size=(16, 16)),
    ):
        with pytest.raises(UsageError, match=r"acts on pixels and .* works on latents.*ask for in_pixels"):
            sf.sample(model, what, seed=0)
    assert not loaded(model)
    made = sf.sample(model, sf.compose("a", "b", without=["c"]), seed=0, steps=2, count=2)
    assert made.x.shape == (2, 3, 16, 16)


class OneNoise(Noise):
    """No noise for the VAE, which then answers with its mean; then the same noise at every draw."""

    drawn = 0

    def draw(self) -> Tensor:
        self.drawn += 1
        return torch.randn((1, *self.shape), generator=generator()) * (self.drawn > 1)


def test_inpainting_in_latents(
    latent: Path, differences: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """diffusers, with a UNet of four channels, noises the known region with one noise throughout."""
    parts = diffusers.StableDiffusionPipeline.from_pretrained(latent).components
    pipe = diffusers.StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False)
    pipe.scheduler = diffusers.DDIMScheduler.from_config(
        pipe.scheduler.config, timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=True
    )
    monkeypatch.setattr(sampling, "Noise", OneNoise)
    gaussian = diffusers.models.autoencoders.vae.DiagonalGaussianDistribution
    monkeypatch.setattr(gaussian, "sample", lambda self, generator: self.mode())
    picture, mask = low_picture(), torch.zeros(1, 1, 16, 16)
    mask[..., 4:12, 6:16] = 1
    theirs = pictures_of(
        pipe,
        "a rocket",
        image=(picture + 1) / 2,
        mask_image=mask,
        height=16,
        width=16,
        strength=0.8,
        num_inference_steps=10,
        guidance_scale=7.5,
    )
    start = one_picture(picture)
    edit = sf.Edit(
        expression=sf.prompt("a rocket"), start=start, keep=start, mask=sf.Mask(mask), strength=0.8
    )
    ours = sf.sample(sf.load(str(latent)), edit, seed=SEED, solver="ddim", steps=10, guidance=7.5).x
    assert torch.equal(ours.where(mask == 0, picture), picture)
    made = mask.bool().expand_as(ours)
    name = "StableDiffusionInpaintPipeline, four channels, ddim, what is made"
    compare(differences, name, ours[made], (2 * theirs - 1)[made])


def test_inpainting_of_all_and_of_nothing_in_latents(latent: Path) -> None:
    model, how = sf.load(str(latent)), {"seed": SEED, "steps": 3, "solver": "ddim"}
    picture = low_picture()
    everything = sf.sample(model, sf.inpaint(picture, torch.ones(1, 1, 16, 16), "a"), **how).x
    fresh = sf.sample(model, "a", **how).x
    # the known region drew its noise between, but nothing of it was used by a solver without draws
    torch.testing.assert_close(everything, fresh, atol=TOLERANCE, rtol=0)
    nothing = sf.sample(model, sf.inpaint(picture, torch.zeros(1, 1, 16, 16), "a"), **how).x
    assert torch.equal(nothing, picture)
    small = torch.zeros(1, 3, 8, 8)
    with pytest.raises(UsageError, match="8 x 8 pixels does not fit a run of 16 x 16"):
        sf.sample(model, sf.inpaint(small, torch.zeros(1, 1, 8, 8), "a"), **how)


def test_anagrams_of_latents_go_through_pixels_when_asked(
    latent: Path, stages: list[Path], tmp_path: Path
) -> None:
    model, how = sf.load(str(latent)), {"seed": SEED, "steps": 3, "in_pixels": True}
    made = sf.sample(model, sf.anagram("a cat", "a dog", view="rotate_180"), **how)
    other = sf.sample(model, sf.anagram("a cat", "a bird", view="rotate_180"), **how)
    assert made.x.shape == (1, 3, 16, 16)
    assert not torch.allclose(made.x, other.x, atol=1e-3)
    recipe = parse_recipe(json.loads(json.dumps(made.recipe.plain())))
    assert recipe.in_pixels
    assert torch.equal(sf.run(recipe, model).x, made.x)
    mask = torch.zeros(1, 1, 16, 16)
    kept = sf.sample(model, sf.inpaint(low_picture(), mask, sf.hybrid(far="a", near="b")), **how).x
    assert torch.equal(kept, low_picture())
    for refused, what, message in (
        (model, "a cat", "nothing in the expression acts on pixels"),
        (model, sf.panorama("a", size=(16, 16)), "crops do not go with in_pixels"),
        (model, sf.anagram("a", "b", view="patch_permute:patches=16"), "do not divide 8 x 8 pixels"),
        (model, sf.prompt("a").low_pass(2), "do not sum to the identity"),
        (
            model,
            sf.anagram("a", "b").guided(3, projection=Projected()),
            "projected guidance of pictures",
        ),
        (sf.load(str(stages[0])), sf.anagram("a", "b"), "works on pixels already"),
    ):
        with pytest.raises(UsageError, match=message):
            sf.sample(refused, what, **how)
    stage = sf.load(str(tiny.latent_upscaler(tmp_path)))
    settings = {"seed": SEED, "steps": 2, "stages": [StageSettings(steps=2)]}
    cascade = Cascade(sf.load(str(stages[0])), stage)
    with pytest.raises(UsageError, match="acts on pixels"):
        sf.sample(cascade, sf.anagram("a", "b"), **settings)
    larger = sf.sample(cascade, sf.anagram("a", "b"), in_pixels=True, **settings)
    assert larger.x.shape[-1] == 32
    assert [stage.in_pixels for stage in (larger.recipe, *larger.recipe.stages)] == [False, True]


# ---------------------------------------------------------------------------------------------- the table


def test_the_table_of_differences(differences: dict[str, float], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{'largest difference from diffusers ' + diffusers.__version__:64} float32")
        for name, value in differences.items():
            print(f"{name:64} {value:.1e}")
    assert all(value <= TOLERANCE for value in differences.values())
