"""What is refused before it is loaded, what is encoded once, and what is fetched: one line each."""

from __future__ import annotations

import gc
import json
import shutil
import socket
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import diffusers
import huggingface_hub
import pytest
import sentencepiece
import torch
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors.torch import load_file, save_file
from torch import nn

import sfumato as sf
import tiny_pipelines as tiny
from sfumato.cache import cache_folder
from sfumato.core.solvers import SOLVERS
from sfumato.errors import ModelUnavailableError, SfumatoError, UsageError
from sfumato.models.files.headers import read_shapes
from sfumato.models.files.registry import HUB
from sfumato.models.pretrained import encoders, loading
from sfumato.models.pretrained.loading import load_tokenizer, open_folder
from sfumato.models.pretrained.prompts import EncodedPrompts

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def ddpm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.unet2d(tmp_path_factory.mktemp("ddpm"))


@pytest.fixture(scope="module")
def deepfloyd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.deepfloyd(tmp_path_factory.mktemp("deepfloyd"))


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.stable_diffusion(tmp_path_factory.mktemp("latents"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def header(path: Path, edit: Callable[[dict[str, Any]], None], *, cut: int = 0) -> None:
    """Rewrite the header of a safetensors file, the weights as they are."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + length])
    edit(entries)
    new = json.dumps(entries).encode()
    path.write_bytes(len(new).to_bytes(8, "little") + new + content[8 + length :][: -cut or None])


def first(entries: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = next(value for name, value in entries.items() if name != "__metadata__")
    return entry


def as_pickle(folder: Path) -> None:
    weights = folder / "unet" / WEIGHTS
    torch.save({"x": torch.zeros(1)}, weights.with_suffix(".bin"))
    weights.unlink()


def shards(folder: Path, *names: str) -> None:
    (folder / "unet" / WEIGHTS).unlink()
    index = folder / "unet" / f"{WEIGHTS}.index.json"
    index.write_text(json.dumps({"weight_map": {str(i): name for i, name in enumerate(names)}}))


# what is done to a good folder, the word that the refusal holds, the exit code
DAMAGE: dict[str, tuple[Callable[[Path], object], str, int]] = {
    "another class": (
        lambda f: change(f / "model_index.json", _class_name="FluxPipeline"),
        "holds a FluxPipeline; sfumato loads",
        1,
    ),
    "a class of its own": (
        lambda f: change(f / "model_index.json", unet=["evil", "EvilUNet"]),
        "unet is a EvilUNet, which sfumato does not load",
        1,
    ),
    "an index that is no index": (
        lambda f: change(f / "model_index.json", unet=["x", 3]),
        "not a library and a class",
        1,
    ),
    "not JSON": (lambda f: (f / "model_index.json").write_text("{"), "is not JSON", 1),
    "deep JSON": (lambda f: (f / "model_index.json").write_text("[" * 100_000), "is not JSON", 1),
    "remote code": (
        lambda f: change(f / "unet" / "config.json", auto_map={"AutoModel": "evil.py--Evil"}),
        "code from a model is never run",
        1,
    ),
    "absurd channels": (
        lambda f: change(f / "unet" / "config.json", block_out_channels=[10**9, 10**9]),
        r"block_out_channels = 1e\+09 is absurd",
        1,
    ),
    "absurd pictures": (
        lambda f: change(f / "unet" / "config.json", sample_size=100_000),
        "sample_size = 100000 is absurd",
        1,
    ),
    "absurd depth": (
        lambda f: change(f / "unet" / "config.json", layers_per_block=100_000),
        "layers_per_block = 100000 is absurd",
        1,
    ),
    "more channels than the weights": (
        lambda f: change(f / "unet" / "config.json", block_out_channels=[80_000, 160_000]),
        "by config.json",
        1,
    ),
    "more classes than the weights": (
        lambda f: change(f / "unet" / "config.json", num_class_embeds=900_000),
        "its files hold",
        1,
    ),
    "an unknown schedule": (
        lambda f: change(f / "scheduler" / "scheduler_config.json", beta_schedule="sigmoid"),
        "the schedule 'sigmoid'",
        1,
    ),
    "an unknown prediction": (
        lambda f: change(f / "scheduler" / "scheduler_config.json", prediction_type="score"),
        "the prediction type 'score'",
        1,
    ),
    "an unknown variance": (
        lambda f: change(f / "scheduler" / "scheduler_config.json", variance_type="fixed_large_log"),
        "the variance 'fixed_large_log'",
        1,
    ),
    "classes that are no classes": (
        lambda f: change(f / "unet" / "config.json", class_embed_type="timestep"),
        "takes more than a class",
        1,
    ),
    "no scheduler": (lambda f: shutil.rmtree(f / "scheduler"), "there is no .*scheduler_config.json", 3),
    "no weights": (lambda f: (f / "unet" / WEIGHTS).unlink(), "no safetensors weights", 3),
    "a pickle": (as_pickle, "as a pickle, which can run code", 1),
    "a shard that is missing": (lambda f: shards(f, "a.safetensors"), "a.safetensors is missing", 3),
    "a shard elsewhere": (lambda f: shards(f, "../a.safetensors"), "no safetensors file beside it", 1),
    "weights cut short": (
        lambda f: header(f / "unet" / WEIGHTS, lambda entries: None, cut=100),
        "bytes of weights, its header says",
        1,
    ),
    "almost nothing": (lambda f: (f / "unet" / WEIGHTS).write_bytes(b"\x10"), "is cut short", 1),
    "a header without end": (
        lambda f: (f / "unet" / WEIGHTS).write_bytes((2**62).to_bytes(8, "little") + b"{}"),
        "its header would have",
        1,
    ),
    "a shape that lies": (
        lambda f: header(f / "unet" / WEIGHTS, lambda e: first(e).update(shape=[10**6, 10**6])),
        "lies about its tensors",
        1,
    ),
    "offsets that lie": (
        lambda f: header(f / "unet" / WEIGHTS, lambda e: first(e).update(data_offsets=[-8, 10**12])),
        "lies about its tensors",
        1,
    ),
    "a tensor twice": (
        lambda f: header(f / "unet" / WEIGHTS, lambda e: e.update(again=first(e))),
        "overlap or leave gaps",
        1,
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_or_hostile_folder_is_one_line(name: str, ddpm: Path, tmp_path: Path) -> None:
    damage, message, code = DAMAGE[name]
    folder = shutil.copytree(ddpm, tmp_path / "model")
    damage(folder)
    with pytest.raises(SfumatoError, match=message) as caught:
        sf.load(str(folder))
    assert caught.value.exit_code == code
    assert "\n" not in str(caught.value)


class Evil:
    """What a pickle runs when it is opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def test_nothing_of_a_folder_is_ever_run(ddpm: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    code = f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
    folder = shutil.copytree(ddpm, tmp_path / "model")
    for place in (folder, folder / "unet"):
        (place / "evil.py").write_text(code)
        (place / "__init__.py").write_text(code)
    change(folder / "unet" / "config.json", auto_map={"AutoModel": "evil.py--Evil"})
    with pytest.raises(SfumatoError, match="code from a model is never run"):
        sf.load(str(folder))
    shutil.copy(ddpm / "unet" / "config.json", folder / "unet" / "config.json")
    change(
        folder / "model_index.json", unet=["evil", "UNet2DModel"]
    )  # the class counts, not the library named
    assert sf.load(str(folder)).shape == (3, 16, 16)
    change(folder / "unet" / "config.json", _class_name="Evil", _auto_class="evil.Evil")
    sf.load(str(folder))
    (folder / "unet" / WEIGHTS).unlink()
    torch.save(Evil(marker), folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(SfumatoError, match="as a pickle"):
        sf.load(str(folder))
    assert not marker.exists()
    torch.load(folder / "unet" / "diffusion_pytorch_model.bin", weights_only=False)
    assert marker.exists()  # the trap was live


def in_shards(folder: Path) -> list[Path]:
    """The weights of the UNet in two shards with their index, as large models have them."""
    whole = folder / "unet" / WEIGHTS
    tensors = load_file(whole)
    names = sorted(tensors)
    halves = {"a": names[: len(names) // 2], "b": names[len(names) // 2 :]}
    files = {half: whole.with_name(f"diffusion_pytorch_model-{half}.safetensors") for half in halves}
    for half, own in halves.items():
        save_file({name: tensors[name] for name in own}, files[half])
    weight_map = {name: files[half].name for half, own in halves.items() for name in own}
    index = {"metadata": {"total_size": whole.stat().st_size}, "weight_map": weight_map}
    (folder / "unet" / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    whole.unlink()
    return list(files.values())


def test_weights_in_shards_and_one_cut_short(ddpm: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(ddpm, tmp_path / "model")
    shards = in_shards(folder)
    made = sf.sample(sf.load(str(folder)), sf.unconditional(), seed=0, steps=2).x
    assert torch.equal(made, sf.sample(sf.load(str(ddpm)), sf.unconditional(), seed=0, steps=2).x)
    shards[1].write_bytes(shards[1].read_bytes()[:-100])
    with pytest.raises(SfumatoError, match=rf"{shards[1].name} holds .* its header says") as caught:
        sf.load(str(folder))
    assert (caught.value.exit_code, "\n" in str(caught.value)) == (1, False)


def test_an_old_repository_keeps_its_network_beside_the_index(ddpm: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(ddpm, tmp_path / "model")
    for part in ("unet", "scheduler"):
        for file in (folder / part).iterdir():
            file.rename(folder / file.name)
        (folder / part).rmdir()
    made = sf.sample(sf.load(str(folder)), sf.unconditional(), seed=0, steps=2).x
    assert torch.equal(made, sf.sample(sf.load(str(ddpm)), sf.unconditional(), seed=0, steps=2).x)


def test_damage_of_what_is_loaded_later_is_one_line(deepfloyd: Path, tmp_path: Path) -> None:
    for part, damage, message in (
        ("text_encoder", lambda f: header(f / "model.safetensors", lambda e: None, cut=9), "its header says"),
        ("text_encoder", lambda f: change(f / "config.json", num_layers=100_000), "is absurd"),
        ("text_encoder", lambda f: change(f / "config.json", d_model=64), "by config.json"),
        ("tokenizer", lambda f: (f / "tokenizer.json").write_text("{"), "tokenizer cannot be loaded"),
        ("tokenizer", lambda f: change(f / "tokenizer_config.json", auto_map={"x": "y"}), "never run"),
        ("scheduler", lambda f: change(f / "scheduler_config.json", trained_betas=[0.1]), "not known here"),
    ):
        folder = shutil.copytree(deepfloyd, tmp_path / "model")
        damage(folder / part)
        with pytest.raises(SfumatoError, match=message) as caught:
            sf.sample(sf.load(str(folder)), "a cat", seed=0, steps=1)
        assert (caught.value.exit_code, "\n" in str(caught.value)) == (1, False)
        shutil.rmtree(folder)


# ------------------------------------------------------------------------------------------ overflows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_that_are_not_finite_stop_with_a_word_about_dtype(ddpm: Path, dtype: torch.dtype) -> None:
    model = sf.load(str(ddpm), dtype=dtype)
    model.network.network.get_parameter("inner.conv_out.bias").data.fill_(torch.inf)
    with pytest.raises(SfumatoError, match="not finite: use float32") as caught:
        sf.sample(model, sf.unconditional(), seed=0, steps=2)
    assert caught.value.exit_code == 1


def test_a_decoder_that_overflows_stops_with_a_word_about_dtype(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tiny.stable_diffusion(tmp_path))
    model = sf.load(folder)
    monkeypatch.setattr(model, "decode", lambda x: torch.full((len(x), 3, 16, 16), torch.nan))
    with pytest.raises(SfumatoError, match="made NaN or infinity in float32: use float32"):
        sf.sample(model, "a", seed=0, steps=1)
    model = sf.load(folder, dtype=torch.bfloat16)
    monkeypatch.setattr(model, "decode", lambda x: torch.full((len(x), 3, 16, 16), -1.0))
    with pytest.raises(SfumatoError, match="made a black picture in bfloat16: use float32"):
        sf.sample(model, "a", seed=0, steps=1)
    assert sf.sample(sf.load(folder, dtype=torch.bfloat16), "a", seed=0, steps=1).x.std() > 0


@pytest.mark.parametrize(
    "name",
    [
        "DDPMScheduler",
        "DDIMScheduler",
        "PNDMScheduler",
        "EulerDiscreteScheduler",
        "EulerAncestralDiscreteScheduler",
        "HeunDiscreteScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "UniPCMultistepScheduler",
        "DEISMultistepScheduler",
    ],
)
def test_whatever_scheduler_a_folder_was_saved_with_is_read(latents: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(latents, tmp_path / "model")
    shutil.rmtree(folder / "scheduler")
    kwargs = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    getattr(diffusers, name)(**kwargs).save_pretrained(folder / "scheduler")
    model = sf.load(str(folder))
    alpha, _ = model.schedule.alpha_sigma(torch.tensor([1.0]))
    assert float(alpha) == pytest.approx(0.0683, abs=1e-4)  # Rombach et al.: sqrt of 0.00466
    assert model.defaults.solver in SOLVERS


def test_a_missing_folder_is_exit_code_3() -> None:
    with pytest.raises(ModelUnavailableError, match=r"no model 'nowhere'.*model_index.json") as caught:
        sf.load("nowhere")
    assert caught.value.exit_code == 3


def test_float16_is_refused_on_a_cpu(ddpm: Path, deepfloyd: Path) -> None:
    for folder in (ddpm, deepfloyd):
        with pytest.raises(UsageError, match="float16 on a CPU overflows"):
            sf.load(str(folder), dtype=torch.float16)


def test_the_headers_of_true_files_are_read(ddpm: Path) -> None:
    shapes = read_shapes(ddpm / "unet" / WEIGHTS)
    assert shapes["conv_in.weight"] == (8, 3, 3, 3)


def test_a_pretrained_network_is_not_saved_anew(ddpm: Path, tmp_path: Path) -> None:
    from sfumato.models.files.saved import save_model

    with pytest.raises(UsageError, match="stays in its folder"):
        save_model(sf.load(str(ddpm)), tmp_path / "out")


# ----------------------------------------------------------------------------------------------- embeddings


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The networks that come into memory, in order; the text encoder must be gone when the UNet comes."""
    order: list[str] = []
    alive: list[weakref.ref[nn.Module]] = []
    true = loading.load_network

    def load(folder: Any, component: str, **kwargs: Any) -> nn.Module:
        gc.collect()
        if component == "unet":
            assert not [ref for ref in alive if ref() is not None]
        module = true(folder, component, **kwargs)
        order.append(component)
        if component == "text_encoder":
            alive.append(weakref.ref(module))
        return module

    monkeypatch.setattr(loading, "load_network", load)
    monkeypatch.setattr(encoders, "load_network", load)
    return order


def prompts_of(model: sf.Model | Path) -> EncodedPrompts:
    model = sf.load(str(model)) if isinstance(model, Path) else model
    assert isinstance(model.conditioner, EncodedPrompts)
    return model.conditioner


def test_texts_are_encoded_once_and_before_the_unet(deepfloyd: Path, loaded: list[str]) -> None:
    what = sf.anagram("a cat", "a dog", view="flip").guided(3, negative="a bird")
    made = sf.sample(sf.load(str(deepfloyd)), what, seed=0, steps=2).x
    assert loaded == ["text_encoder", "unet"]
    again = sf.sample(sf.load(str(deepfloyd)), what, seed=0, steps=2).x
    assert loaded == ["text_encoder", "unet", "unet"]  # from the cache on disk
    assert torch.equal(made, again)
    sf.sample(sf.load(str(deepfloyd)), "A DOG ", seed=0, steps=1, guidance=1)  # cleaned, it is known
    assert loaded.count("text_encoder") == 1


def test_guidance_that_ends_early_does_not_bring_the_encoder_back(deepfloyd: Path, loaded: list[str]) -> None:
    what = sf.prompt("a cat").guided(3, between=(0.0, 0.5))  # the empty text is first asked half-way
    sf.sample(sf.load(str(deepfloyd)), what, seed=0, steps=4)
    assert loaded == ["text_encoder", "unet"]


def test_a_cache_that_cannot_be_written_is_no_failure(
    deepfloyd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="cannot write embeddings .* encoded anew in every run"):
        prompts_of(deepfloyd).embeddings.prepare(["a cat"])


def test_a_damaged_cache_is_encoded_again(deepfloyd: Path, loaded: list[str]) -> None:
    prompts_of(deepfloyd).embeddings.prepare(["a cat"])
    (kept,) = (cache_folder() / "embeddings").rglob("*.safetensors")
    kept.write_bytes(b"damaged")
    prompts_of(deepfloyd).embeddings.prepare(["a cat"])
    assert loaded == ["text_encoder", "text_encoder"]


def test_embeddings_travel_as_a_file_and_replace_the_encoder(
    deepfloyd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = sf.load(str(deepfloyd))
    made = sf.sample(model, "a cat", seed=0, steps=2).x
    file = prompts_of(model).embeddings.export(tmp_path / "prompts.safetensors", ["a cat", ""])

    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "empty"))
    bare = shutil.copytree(deepfloyd, tmp_path / "bare")
    shutil.rmtree(bare / "text_encoder")
    other = sf.load(str(bare))
    with pytest.raises(ModelUnavailableError, match="no text encoder and no embedding of"):
        sf.sample(other, "a cat", seed=0, steps=2)
    assert prompts_of(other).read(file) == ["a cat", ""]
    assert torch.equal(sf.sample(other, "a cat", seed=0, steps=2).x, made)
    with pytest.raises(ModelUnavailableError, match="no embedding of 'a dog'"):
        sf.sample(other, "a dog", seed=0, steps=2)


def test_embeddings_of_another_encoder_are_refused(deepfloyd: Path, tmp_path: Path) -> None:
    file = prompts_of(deepfloyd).embeddings.export(tmp_path / "prompts.safetensors", ["a cat"])
    model = prompts_of(tiny.stable_diffusion(tmp_path / "latent"))
    with pytest.raises(UsageError, match="encoded by another text encoder"):
        model.embeddings.read(file)
    with pytest.raises(UsageError, match="cannot be read as embeddings"):
        model.embeddings.read(tmp_path / "nowhere.safetensors")
    with pytest.raises(UsageError, match="holds no embeddings that sfumato wrote"):
        model.embeddings.read(deepfloyd / "unet" / WEIGHTS)


def test_embeddings_that_do_not_fit_are_one_line(deepfloyd: Path, tmp_path: Path) -> None:
    model = prompts_of(deepfloyd)
    good = model.write(tmp_path / "good.safetensors", ["a cat"])
    bare = shutil.copytree(deepfloyd, tmp_path / "bare")
    shutil.rmtree(bare / "text_encoder")
    tensors, about = load_file(good), {"format": "sfumato-embeddings-1", "encoder": "", "texts": '["a cat"]'}
    for name, changed, message in (
        ("narrow", {"0": tensors["0"][:, :3].contiguous()}, r"this model takes \(L, 32\)"),
        ("pooled", {"0": tensors["0"], "0.pooled": torch.zeros(3)}, "another pooled part"),
        ("nan", {"0": tensors["0"] * torch.nan}, "not finite"),
        ("missing", {"1": tensors["0"]}, "cannot be read as embeddings"),
    ):
        file = tmp_path / f"{name}.safetensors"
        save_file(changed, file, about)
        with pytest.raises(UsageError, match=message) as caught:
            prompts_of(bare).read(file)
        assert "\n" not in str(caught.value)
    other = prompts_of(bare)
    other.read(good)
    save_file({"0": tensors["0"][:5].contiguous()}, tmp_path / "short.safetensors", about)
    with pytest.raises(UsageError, match="of another length"):
        other.read(tmp_path / "short.safetensors")
    with pytest.raises(UsageError, match=r"written as \.safetensors"):
        model.write(tmp_path / "x.pt", ["a cat"])
    with pytest.raises(UsageError, match="digits takes no encoded prompts"):
        sf.load("digits", embeddings=[good])


def test_pooled_embeddings_travel_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.stable_diffusion_xl(tmp_path / "xl")
    made = sf.sample(sf.load(str(folder)), "a cat", seed=0, steps=2).x
    file = prompts_of(folder).write(tmp_path / "prompts.safetensors", ["a cat"])
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "empty"))
    shutil.rmtree(folder / "text_encoder_2")
    assert torch.equal(sf.sample(sf.load(str(folder), embeddings=[file]), "a cat", seed=0, steps=2).x, made)


def test_a_stage_without_a_text_encoder_asks_that_of_the_first(
    deepfloyd: Path, tmp_path: Path, loaded: list[str]
) -> None:
    larger = tiny.deepfloyd(tmp_path / "two", size=32, upscales=True)
    how: dict[str, Any] = {"seed": 0, "steps": 1, "stages": [sf.StageSettings(steps=1)]}
    made = sf.sample(sf.load_cascade(str(deepfloyd), str(larger)), "a cat", **how).x
    shutil.rmtree(larger / "text_encoder")
    loaded.clear()
    assert torch.equal(sf.sample(sf.load_cascade(str(deepfloyd), str(larger)), "a cat", **how).x, made)
    assert loaded == ["unet", "unet"]  # the texts are in the cache of the encoder that is left
    file = prompts_of(deepfloyd).write(tmp_path / "prompts.safetensors", ["a cat"])
    bare = shutil.copytree(deepfloyd, tmp_path / "bare")
    shutil.rmtree(bare / "text_encoder")
    cascade = sf.load_cascade(str(bare), str(larger), embeddings=[file])
    assert torch.equal(sf.sample(cascade, "a cat", **how).x, made)
    with pytest.raises(UsageError, match="cannot be read as embeddings"):
        sf.load_cascade(str(bare), str(larger), embeddings=[tmp_path / "nowhere.safetensors"])


def test_clip_under_the_names_that_published_folders_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They say text_model. before each name, and keep a buffer of positions that is no weight today."""
    folder = tiny.stable_diffusion(tmp_path / "latent")
    here = prompts_of(folder).embeddings.rows(["a cat"], torch.device("cpu")).hidden
    weights = folder / "text_encoder" / "model.safetensors"
    names = {name.removeprefix("text_model."): tensor for name, tensor in load_file(weights).items()}
    published = {f"text_model.{name}": tensor for name, tensor in names.items()}
    published["text_model.embeddings.position_ids"] = torch.arange(20)[None]
    save_file(published, weights, {"format": "pt"})
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "another"))
    assert torch.equal(prompts_of(folder).embeddings.rows(["a cat"], torch.device("cpu")).hidden, here)


def test_the_sentencepiece_tokenizer_that_deepfloyd_ships(deepfloyd: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(deepfloyd, tmp_path / "model")
    (folder / "tokenizer" / "tokenizer.json").unlink()
    corpus = [f"a {animal} and a {thing}" for animal in ("cat", "dog") for thing in ("rocket", "campfire")]
    stem = folder / "tokenizer" / "spiece"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus),
        model_prefix=str(stem),
        vocab_size=30,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(f"{stem}.model")
    tokenizer = load_tokenizer(open_folder(folder))
    for words in ("a cat", "a dog and a campfire"):
        assert tokenizer(words).input_ids == [*pieces.encode(words), 1]
    prompts_of(folder).embeddings.prepare(["a cat"])


def test_a_text_that_is_too_long_is_cut_with_a_word(deepfloyd: Path) -> None:
    with pytest.warns(UserWarning, match="the prompt is cut to 77 tokens"):
        prompts_of(deepfloyd).embeddings.prepare(["a cat " * 40])


# --------------------------------------------------------------------------------------------------- hub


ANSWER: Any = MagicMock()  # of a server; the errors of the hub carry one


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            GatedRepoError("no\nno", response=ANSWER),
            "accept its licence at .*IF-I-M-v1.0.*hf auth login",
        ),
        (RepositoryNotFoundError("no", response=ANSWER), "the hub shows no DeepFloyd/IF-I-M-v1.0"),
        (RevisionNotFoundError("no", response=ANSWER), "has no revision"),
        (OSError("no route\nat all"), r"cannot be fetched \(no route\)"),
    ],
)
def test_what_the_hub_refuses_is_one_line_and_exit_code_3(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", MagicMock(side_effect=error))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(ModelUnavailableError, match=message) as caught:
        sf.load("deepfloyd-m")
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_offline_makes_no_connection(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    connect = MagicMock(side_effect=AssertionError("a connection was made"))
    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1" if way == "environment" else "0")
    with pytest.raises(ModelUnavailableError, match="not in the local cache, and this run is offline"):
        sf.load("somebody/no-such-model", offline=way == "argument")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], list[dict[str, Any]]]:
    """Let a local folder stand for what the hub holds: -> what is asked of the hub, in order."""

    def stand_for(folder: Path) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def fetch(repository: str, **kwargs: Any) -> str:
            calls.append({**kwargs, "repository": repository})
            return str(folder)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
        return calls

    return stand_for


def fetched(call: dict[str, Any], file: str) -> bool:
    """Whether a call fetches a file of the repository: as the hub's own client decides it."""
    patterns = {key: call[key] for key in ("allow_patterns", "ignore_patterns")}
    return bool(list(huggingface_hub.utils.filter_repo_objects([file], **patterns)))


def test_a_pinned_revision_and_no_pickles_are_asked_for(asked: Any, ddpm: Path) -> None:
    calls = asked(ddpm)
    assert sf.load("google/ddpm-cifar10-32@abc123").shape == (3, 16, 16)
    assert {(call["repository"], call["revision"]) for call in calls} == {
        ("google/ddpm-cifar10-32", "abc123")
    }
    for file in (f"unet/{WEIGHTS}", WEIGHTS, "config.json", "scheduler/scheduler_config.json"):
        assert fetched(calls[-1], file), file
    for file in ("unet/diffusion_pytorch_model.bin", "unet/evil.py", "whole.safetensors", "other/x.json"):
        assert not fetched(calls[-1], file), file
    assert fetched(calls[0], "model_index.json")
    assert not fetched(calls[0], "config.json")


def test_filters_are_fetched_where_a_licence_asks_for_them(asked: Any, tmp_path: Path) -> None:
    filtered = tiny.deepfloyd(tmp_path / "if", size=32, filters=tiny.if_filters(objects=False))
    calls = asked(filtered)
    sf.load("deepfloyd-m")
    for file in ("safety_checker/model.safetensors", "watermarker/config.json"):
        assert fetched(calls[-1], file), file
    latent = tiny.stable_diffusion(tmp_path / "latent")
    change(latent / "model_index.json", safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    calls = asked(latent)
    sf.load("sd-1.5")
    assert not fetched(calls[-1], "safety_checker/model.safetensors")
    assert fetched(calls[-1], "vae/diffusion_pytorch_model.safetensors")


def cached(hub: Path, repository: str, revision: str, folder: Path) -> None:
    """A folder as the hub's client keeps it once it is fetched."""
    own = hub / f"models--{repository.replace('/', '--')}"
    shutil.copytree(folder, own / "snapshots" / revision)
    (own / "refs").mkdir(exist_ok=True)
    (own / "refs" / "main").write_text(revision)


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_what_is_cached_is_loaded_without_a_connection_at_the_revision_that_is_pinned(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ddpm: Path, way: str
) -> None:
    connect = MagicMock(side_effect=AssertionError("a connection was made"))
    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1" if way == "environment" else "0")
    offline = way == "argument"
    old, new = "a" * 40, "b" * 40
    cached(tmp_path / "hub", "somebody/faces", old, ddpm)
    cached(tmp_path / "hub", "somebody/faces", new, tiny.unet2d(tmp_path / "classes", classes=5))
    assert len(sf.load("somebody/faces", offline=offline).class_names) == 5
    assert len(sf.load(f"somebody/faces@{new}", offline=offline).class_names) == 5
    assert sf.load(f"somebody/faces@{old}", offline=offline).class_names == ()
    with pytest.raises(ModelUnavailableError, match="not in the local cache, and this run is offline"):
        sf.load(f"somebody/faces@{'c' * 40}", offline=offline)
    cached(tmp_path / "hub", HUB["deepfloyd-m"].repository, old, tiny.deepfloyd(tmp_path / "if"))
    assert sf.load("deepfloyd-m", offline=offline).shape == (3, 16, 16)
    connect.assert_not_called()


def test_t5_is_not_fetched_where_prompts_come_encoded(asked: Any, deepfloyd: Path, tmp_path: Path) -> None:
    file = prompts_of(deepfloyd).write(tmp_path / "prompts.safetensors", ["a cat"])
    weights = "text_encoder/model-00001-of-00002.safetensors"
    calls = asked(deepfloyd)
    sf.load("deepfloyd")
    assert fetched(calls[-1], weights)
    sf.load("deepfloyd", embeddings=[file])
    assert not fetched(calls[-1], weights)
    assert fetched(calls[-1], "tokenizer/spiece.model")
    for published in ("safety_checker/model.safetensors", "watermarker/config.json"):
        assert not fetched(calls[-1], published)  # this folder's index names none


def test_a_cascade_by_name_fetches_what_its_height_needs_and_one_text_encoder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, deepfloyd: Path, loaded: list[str]
) -> None:
    larger = tiny.deepfloyd(tmp_path / "two", size=32, upscales=True)
    upscaler = tiny.latent_upscaler(tmp_path / "three")  # by 2, as the true one by 4
    here = {"deepfloyd-m": deepfloyd, "deepfloyd-2-m": larger, "x4-upscaler": upscaler}
    places = {HUB[name].repository: folder for name, folder in here.items()}
    calls: list[dict[str, Any]] = []

    def fetch(repository: str, **kwargs: Any) -> str:
        calls.append({**kwargs, "repository": repository})
        folder = shutil.copytree(places[repository], tmp_path / str(len(calls)))
        for part in ("text_encoder", "text_encoder_2"):
            if (folder / part).is_dir() and not fetched(calls[-1], f"{part}/model.safetensors"):
                shutil.rmtree(folder / part)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    cascade = sf.load_cascade("deepfloyd-m", upscale=32)
    assert [model.name for model in cascade.stages] == ["deepfloyd-m", "deepfloyd-2-m"]
    assert places.keys() - {call["repository"] for call in calls} == {HUB["x4-upscaler"].repository}
    t5 = {call["repository"]: fetched(call, "text_encoder/model.safetensors") for call in calls}
    assert t5 == {HUB["deepfloyd-m"].repository: True, HUB["deepfloyd-2-m"].repository: False}
    how: dict[str, Any] = {"seed": 0, "steps": 1}
    recipe = sf.sample(cascade, "a cat", stages=[sf.StageSettings(steps=1)], **how).recipe
    assert [stage.model for stage in (recipe, *recipe.stages)] == ["deepfloyd-m", "deepfloyd-2-m"]
    assert loaded == ["text_encoder", "unet", "unet"]

    assert sf.load_cascade("deepfloyd-m").sizes == [16, 32]
    deep = sf.load_cascade("deepfloyd-m", upscale=64)
    assert deep.sizes == [16, 32, 64]
    assert sf.sample(deep, "a cat", stages=[sf.StageSettings(steps=1)] * 2, **how).x.shape[-1] == 64
    with pytest.raises(UsageError, match="makes 16, 32, 64 pixels, not 128"):
        sf.load_cascade("deepfloyd-m", upscale=128)
