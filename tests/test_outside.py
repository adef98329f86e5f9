"""Files from outside: each of tests/data/cases is the smallest input that once failed."""

import gzip
import io
import os
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sfumato.apps.cli import consent
from sfumato.apps.cli.app import main
from sfumato.core.notation import from_json
from sfumato.errors import SfumatoError, UsageError
from sfumato.parsing import parse_json, parse_yaml
from sfumato.pictures import (
    check_encodable,
    is_animated,
    picture_size,
    read_mask,
    read_metadata,
    read_picture,
    save_picture,
    to_uint8,
)
from sfumato.recipe import Recipe, parse_recipe, read_recipe
from sfumato.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from sfumato.training.datasets import read_idx_dataset
from sfumato.training.lock import FolderLock

CASES = Path(__file__).parent / "data" / "cases"
LABEL = {"model": "digits", "expression": {"label": 3}, "steps": 2, "size": (28, 28), "seed": 1}


def pixels(*given: object, **options: object) -> np.ndarray:
    return to_uint8(read_picture(*given, **options))[0].permute(1, 2, 0).numpy()  # type: ignore[arg-type]


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def blocks() -> Image.Image:
    """Four colours in squares of 16 pixels, which lossy formats keep."""
    small = np.array([[[220, 30, 30], [30, 200, 40]], [[40, 40, 210], [240, 240, 240]]], np.uint8)
    return Image.fromarray(small.repeat(16, 0).repeat(16, 1))


# --- pictures ------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "colour"), [("icc_swapped.png", (24, 201, 24)), ("icc_p3.png", (220, 0, 0))]
)
def test_a_profile_is_converted_to_srgb(name: str, colour: tuple[int, int, int]) -> None:
    assert np.abs(pixels(CASES / name)[5, 5].astype(int) - colour).max() <= 2
    assert pixels(CASES / name, managed=False)[5, 5].tolist() == [200, 30, 30]


@pytest.mark.parametrize("profile", [b"no profile", b"\0" * 200])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_bad_profile_counts_as_none(kind: str, profile: bytes) -> None:
    with_it, without = (pixels(encoded(blocks(), kind, **o)) for o in ({"icc_profile": profile}, {}))
    assert np.array_equal(with_it, without)


@pytest.mark.parametrize("name", ["bigtext.png", "bigxmp.png"])
def test_long_texts_are_left_out(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_picture(CASES / name).shape[1:] == (3, *picture_size(CASES / name))
        assert read_metadata(CASES / name) is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@given(exif=st.binary(min_size=1, max_size=60))
def test_spoiled_exif_refuses_no_pixels(kind: str, exif: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_picture(encoded(blocks(), kind, exif=b"Exif\0\0MM\0*\0\0\0\x08" + exif))
    assert found.shape[2:] == (32, 32)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.gif", "GIF"), ("a.tif", "TIFF"), ("a.bmp", "BMP"), ("a.avif", "AVIF"), ("a.heic", "HEIF")],
)
def test_further_formats_are_read(tmp_path: Path, name: str, kind: str) -> None:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    (tmp_path / name).write_bytes(encoded(blocks(), kind))
    apart = np.abs(pixels(tmp_path / name).astype(int) - np.asarray(blocks()))
    assert apart.mean() < 6
    assert picture_size(tmp_path / name) == (32, 32)
    assert not is_animated(tmp_path / name)


def test_heic_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UsageError, match=r"sfumato\[heic\]"):
        read_picture(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_read_and_said(kind: str) -> None:
    data = encoded(blocks(), kind, save_all=True, append_images=[Image.new("RGB", (32, 32))], lossless=True)
    assert is_animated(data)
    with pytest.warns(UserWarning, match="first"):
        assert pixels(data).mean() > 90


def test_a_tall_picture_keeps_its_upper_part_and_a_wide_one_its_middle() -> None:
    rows = np.repeat(np.arange(0, 240, 2, dtype=np.uint8)[:, None], 40, 1)  # 120 high, 40 wide
    kept = {fit: pixels(Image.fromarray(rows), size=40, fit=fit)[..., 0] for fit in ("top", "crop", "pad")}
    assert np.array_equal(kept["top"], rows[:40])
    assert np.array_equal(kept["crop"], rows[40:80])
    assert (kept["pad"][:, 0] == 255).all()
    assert np.array_equal(pixels(Image.fromarray(rows), size=40)[..., 0], kept["top"])
    wide = Image.fromarray(rows.T.copy())
    assert np.array_equal(pixels(wide, size=40)[..., 0], rows.T[:, 40:80])
    with pytest.raises(UsageError, match="top"):
        read_picture(wide, size=40, fit="left")  # type: ignore[arg-type]


def test_a_line_of_a_mask_survives_reduction() -> None:
    size = picture_size(CASES / "photo1024.png")
    assert read_mask(CASES / "mask_line.png", size=size, resize=64).sum() > 0
    with pytest.raises(UsageError):
        read_mask(CASES / "mask_line.png", size=size, resize=64, thin=False)


def test_a_mask_in_the_part_that_is_cut_off_is_said_so() -> None:
    size = picture_size(CASES / "wide.png")
    with pytest.raises(UsageError, match=r"left.*pad"):
        read_mask(CASES / "mask_wide_left.png", size=size, resize=64)
    assert read_mask(CASES / "mask_wide_left.png", size=size, resize=64, fit="pad").sum() > 0


@given(st.integers(0, 199), st.integers(0, 199), st.integers(1, 40), st.integers(1, 40), st.integers(0, 199))
def test_every_part_of_a_mask_has_a_pixel_near(
    top: int, left: int, height: int, width: int, line: int
) -> None:
    drawn = np.zeros((200, 200), np.uint8)
    drawn[top : top + height, left : left + width] = 255  # a box, and a thin line
    drawn[line] = 255
    mask = read_mask(Image.fromarray(drawn), size=(200, 200), resize=20)
    near = torch.nn.functional.max_pool2d(mask, 3, stride=1, padding=1)[0, 0]
    rows, columns = np.nonzero(drawn)
    assert near[rows // 10, columns // 10].all()


def test_what_a_format_cannot_hold_is_refused_before() -> None:
    with pytest.raises(UsageError, match="64 KiB"):
        check_encodable("a.jpg", size=(8, 8), metadata={"prompt": "x" * 70_000})
    check_encodable("a.png", size=(8, 8), metadata={"prompt": "x" * 70_000})
    with pytest.raises(UsageError, match="16383"):
        check_encodable("a.webp", size=(8, 20_000))


# --- texts ------------------------------------------------------------


def test_a_recipe_may_begin_with_the_mark_of_windows() -> None:
    assert read_recipe(CASES / "r_bom.json").expression == {"guided": 1.4, "of": {"prompt": "7"}}


ALIASES = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{c}: &{c} [{','.join(['*' + b] * 9)}]\n" for b, c in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
@pytest.mark.parametrize(
    "text",
    [
        ALIASES,
        "&a [*a]",
        "seed: " + "9" * 5000,
        '{"seed": ' + "9" * 5000 + "}",
        "[" * 100_000,
        "x: .nan\n? [1]\n: 2",
    ],
    ids=["aliases", "cycle", "digits", "json digits", "deep", "no text"],
)
def test_texts_that_would_not_end_are_refused(tmp_path: Path, text: str, suffix: str) -> None:
    path = tmp_path / f"r{suffix}"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)


def test_a_device_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").symlink_to("/dev/zero")
    with pytest.raises(UsageError, match="regular file"):
        read_recipe(tmp_path / "r.yaml")


@given(st.text(max_size=200))
def test_whatever_the_text_it_is_read_or_refused(text: str) -> None:
    for parse in (parse_json, parse_yaml):
        try:
            parse(text)
        except ValueError as error:
            assert "\n" not in str(error) or parse is parse_json  # noqa: PT017


@pytest.mark.parametrize("field", ["steps", "seed", "count", "jump", "repeats", "strength", "until"])
def test_true_is_no_number_of_a_recipe(field: str) -> None:
    with pytest.raises(UsageError, match=field):
        parse_recipe({**LABEL, field: True})


@pytest.mark.parametrize(
    "expression",
    [
        {"label": True},
        {"guided": True, "of": {"label": 3}},
        {"guided": 2, "of": {"label": 3}, "between": [False, True]},
        {"guided": 2, "of": {"label": 3}, "negative": {"label": True}},
        {"sum": [{"label": 3}], "weights": [True]},
        {"crops": True, "of": {"label": 3}},
    ],
)
def test_true_is_no_number_of_an_expression(expression: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="true and false"):
        from_json(expression, {})


def test_unconditional_stays_true() -> None:
    from_json({"guided": 2, "of": {"label": 3}, "negative": {"unconditional": True}}, {})


def test_settings_with_commas_stand_in_quotes() -> None:
    recipe = parse_recipe({**LABEL, "model": "/data/my models, v2: small/emoji"})
    assert 'Model: "/data/my models, v2: small/emoji", ' in recipe.parameters()


@pytest.mark.parametrize("place", [12, 20, 40])
def test_a_damaged_gz_is_a_promised_error(tmp_path: Path, place: int) -> None:
    content = bytearray(
        gzip.compress(struct.pack(">HBBIII", 0, 8, 3, 4, 28, 28) + bytes(range(49)) * 64, mtime=0)
    )
    content[place] ^= 0xFF
    (tmp_path / "i.gz").write_bytes(content)
    (tmp_path / "l.gz").write_bytes(gzip.compress(struct.pack(">HBBI", 0, 8, 1, 4) + bytes(range(4))))
    with pytest.raises(SfumatoError):
        read_idx_dataset(tmp_path / "i.gz", tmp_path / "l.gz", name="own", classes=("a", "b", "c", "d"))


# --- the command line ------------------------------------------------------------


@pytest.mark.parametrize("name", ["t_win.json", "t_win_rel.json"])
def test_paths_of_windows_are_found(tmp_path: Path, name: str) -> None:
    out = tmp_path / "o.png"
    assert main(["run", str(CASES / name), "--inputs", str(CASES), "--out", str(out)]) == 0
    assert out.is_file()


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii"])
def test_a_console_of_few_letters_ends_nothing(encoding: str) -> None:
    code = "import sys; from sfumato.apps.cli.app import main; sys.exit(main(['generate', '--mödel-кот…']))"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
    )
    assert ended.returncode == 2
    # of ASCII the library for consoles thinks that it is a mistake, and writes UTF-8
    assert b"--m" in ended.stderr
    assert b"?" in ended.stderr or encoding == "ascii"


def test_a_recipe_that_makes_more_than_the_picture_is_asked_for(tmp_path: Path) -> None:
    path = save_picture(torch.zeros(1, 28, 28), tmp_path / "a.png")
    one = parse_recipe(LABEL)
    consent.check_work([one], path, yes=False)
    for changed in ({"count": 100_000}, {"steps": 10_000, "repeats": 100}):
        costly = Recipe.model_validate({**LABEL, **changed})
        with pytest.raises(UsageError, match="--yes"):
            consent.check_work([costly], path, yes=False)
        consent.check_work([costly], path, yes=True)


def test_models_that_are_not_here_are_fetched_after_a_yes(tmp_path: Path) -> None:
    assert consent.hub_models(["emoji", str(tmp_path), "someone/model", "sd-1.5"]) == [
        "someone/model",
        "sd-1.5",
    ]


# --- trainings ------------------------------------------------------------


def test_a_second_training_in_a_folder_is_refused_with_the_first_ones_process(tmp_path: Path) -> None:
    first = FolderLock(tmp_path / "run")
    code = (
        "import sys; from pathlib import Path; from sfumato.training.lock import FolderLock\n"
        "FolderLock(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    refused = subprocess.run(command, check=False, capture_output=True, text=True)
    assert f"process {os.getpid()}" in refused.stderr
    first.free()
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("old", [False, True])
def test_the_step_of_a_manifest_is_covered(tmp_path: Path, old: bool) -> None:
    path = write_checkpoint(tmp_path, Checkpoint(step=7, facts={}, groups={}))
    manifest = path / "manifest.json"
    text = manifest.read_text()
    if old:  # without the hash of itself
        text = "\n".join(line for line in text.splitlines() if not line.startswith(' "sha256"')).replace(
            '},\n "step"', '},\n "step"'
        )
        manifest.write_text(text)
        assert read_checkpoint(path).step == 7
    manifest.write_text(text.replace('"step": 7', '"step": 8'))
    with pytest.raises(SfumatoError, match="manifest"):
        read_checkpoint(path)
