"""The report at toy size: every section, real pictures, and that the code on the page makes those pixels."""

import os
import re
import shlex
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml

import sfumato as sf
from drawn import Drawn
from sfumato.apps.cli import main
from sfumato.apps.report.build import Report, chosen
from sfumato.apps.report.chapters import REPORT, Chapter
from sfumato.apps.report.page import Code, Distance, Drawing, Gap, Row, Section, Table, Turns
from sfumato.apps.report.tour import default_tour, read_tour, shipped_tour
from sfumato.apps.report.trainings import Trainings
from sfumato.apps.report.workspace import Subject
from sfumato.errors import UsageError
from sfumato.models.files.registry import MODELS
from sfumato.models.runtime.placement import Placement
from sfumato.pictures import read_metadata, read_picture, save_picture, to_uint8
from sfumato.recipe import parse_recipe
from sfumato.sampling import run
from sfumato.training.presets import PRESETS

PART_A = tuple(chapter for chapter in REPORT.chapters if chapter.part == "A")
TOURS = default_tour(Drawn()).parent


def write_tour(folder: Path) -> Path:
    """A tour of small things: prompts that `Drawn` draws, and pictures of 20 x 20."""
    folder.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(1)
    for name in ("one", "two"):
        save_picture(torch.rand((3, 20, 20), generator=generator) * 2 - 1, folder / f"{name}.png")
    mask = -torch.ones((1, 20, 20))
    mask[:, 8:] = 1
    save_picture(mask, folder / "mask.png")
    data = {
        "seed": 5,
        "count": 2,
        "prompts": ["a disc", "a bar"],
        "steps": [2, 4],
        "given": {"picture": "one.png", "prompt": "a disc"},
        "levels": [0.3, 0.6],
        "guided": "a ring",
        "scales": [1, 3],
        "translate": [
            {"picture": "one.png", "prompt": "a disc"},
            {"picture": "two.png", "prompt": "it's a “bar”"},
        ],
        "other": {"picture": "one.png", "prompt": "a bar"},
        "starts": [1, 3],
        "of": 5,
        "inpaint": [{"picture": "two.png", "mask": "mask.png", "prompt": "a ring"}],
        "jump": 2,
        "repeats": 2,
        "anagrams": [
            {"upright": "a disc", "seen": "a bar", "view": "flip"},
            {"upright": "a disc", "seen": "a ring", "view": "rotate_cw", "seed": 9},
            {"upright": "a bar", "seen": "a ring", "view": "patch_permute:patches=4,seed=3"},
        ],
        "hybrids": [{"far": "a disc", "near": "a bar"}],
        "three": {"far": "a disc", "middle": "a bar", "near": "a ring"},
        "both": ["a disc", "a ring"],
        "without": {"what": "a disc", "without": "a bar"},
        "nested": {"upright": "a disc", "near": "a bar", "seen": "a ring", "view": "flip"},
        "wide": {"prompt": "a ring", "times": 3},
    }  # fmt: skip
    path = folder / "tour.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True))
    return path


def shipped() -> Trainings:
    return Trainings(runs=None, device=torch.device("cpu"), dtype=torch.float32)


def report_of(out: Path, tour: Path, *, quick: bool = False) -> Report:
    return Report(
        subjects={"model": Subject(model=Drawn(), tour=read_tour(tour), tour_folder=tour.parent)},
        out=out,
        quick=quick,
        trainings=shipped(),
        command="sfumato report --model drawn",
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Section]]:
    """Part A with the drawn model, two pictures of each question."""
    folder = tmp_path_factory.mktemp("report")
    return folder / "out", report_of(folder / "out", write_tour(folder / "tour")).make(chapters=PART_A)


def sources(section: Section) -> Iterator[Code]:
    for block in section.blocks:
        if not isinstance(block, Gap):
            yield block.code


def shown(section: Section) -> Iterator[str]:
    """The files of every picture on the page."""
    for block in section.blocks:
        match block:
            case Row():
                yield from (picture.file for picture in block.pictures)
            case Turns():
                yield from (p.file for turn in block.turns for p in (turn.upright, turn.seen))
            case Distance():
                yield block.picture.file


def test_every_section_is_there_with_pictures_that_are_not_constant(made: tuple[Path, list[Section]]) -> None:
    out, sections = made
    assert [section.id for section in sections] == [chapter.id for chapter in PART_A]
    for section in sections:
        assert section.status == "done", section.error
        files = list(shown(section))
        assert files
        for file in files:
            pixels = to_uint8(read_picture(out / "pictures" / file))
            assert pixels.float().std() > 1, file
    page = (out / "index.html").read_text()
    for chapter in REPORT.chapters:
        assert f'<section id="s{chapter.id}"' in page
    assert page.count('<div class="formula"><math ') == len(REPORT.chapters)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page)


def test_every_picture_with_a_recipe_replays(made: tuple[Path, list[Section]]) -> None:
    out, sections = made
    model, replayed = Drawn(), 0
    for file in sorted({file for section in sections for file in shown(section)}):
        metadata = read_metadata(out / "pictures" / file)
        if metadata is None or "recipe" not in metadata:
            continue
        recipe = parse_recipe(metadata["recipe"])
        inputs = {}
        for sha, known in recipe.inputs.items():
            path = out / "pictures" / known.file
            x = read_picture(path) if known.kind == "picture" else sf.read_mask(path, size=(16, 16))
            inputs[sha] = x
        again = to_uint8(run(recipe, model, inputs).x[0]).int()
        there = to_uint8(read_picture(out / "pictures" / file)[0]).int()
        assert (again - there).abs().max() <= 1, file
        replayed += 1
    assert replayed > 40


@pytest.mark.parametrize("chapter", PART_A, ids=lambda chapter: chapter.id)
def test_the_python_on_the_page_makes_its_pictures(
    made: tuple[Path, list[Section]], chapter: Chapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, sections = made
    section = sections[PART_A.index(chapter)]
    inputs = ("one.png", "two.png", "mask.png")
    for name in inputs:
        shutil.copy(out / "pictures" / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sf, "load", lambda name: {"drawn": Drawn()}[name], raising=False)
    for source in sources(section):
        exec(compile(source.python, chapter.id, "exec"), {})
    own = {file for file in shown(section) if file.startswith(f"{section.id}-")}
    assert own  # others are inputs, or shown again from the sections before
    for file in own:
        ours, theirs = (
            to_uint8(read_picture(folder / file)).int() for folder in (tmp_path, out / "pictures")
        )
        assert (ours - theirs).abs().max() <= 1, file


@pytest.mark.parametrize("chapter", PART_A, ids=lambda chapter: chapter.id)
def test_the_commands_on_the_page_make_its_pictures(
    made: tuple[Path, list[Section]], chapter: Chapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, sections = made
    section = sections[PART_A.index(chapter)]
    for path in [
        *(out / "pictures").glob("*.yaml"),
        *(out / "pictures" / n for n in ("one.png", "two.png", "mask.png")),
    ]:
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sfumato.models.files.registry.check_name", lambda name: None)
    monkeypatch.setattr("sfumato.models.files.registry.load", lambda name, **_: {"drawn": Drawn()}[name])
    for source in sources(section):
        for command in source.commands:
            program, *words = shlex.split(command)
            assert program == "sfumato"
            assert main(words) == 0, command
    for path in tmp_path.glob(f"{section.id}-*.png"):
        ours, theirs = (to_uint8(read_picture(p)).int() for p in (path, out / "pictures" / path.name))
        assert (ours - theirs).abs().max() <= 1, path.name
    made_here = {path.name for path in tmp_path.glob("*.png")}
    asked = {f for f in shown(section) if "-seen" not in f and f.startswith(f"{section.id}-")}
    if section.id not in {"1", "2", "3", "4"}:  # their command makes a sheet
        assert asked <= made_here
    else:
        assert "denoise.png" in made_here


def test_the_picture_seen_through_a_view_is_the_view_of_the_picture(made: tuple[Path, list[Section]]) -> None:
    out, sections = made
    turned = {"flip": lambda x: x.flip(-2), "rotate_cw": lambda x: x.rot90(-1, (-2, -1))}
    seen = 0
    for block in sections[8].blocks:
        assert isinstance(block, Turns)
        for turn in block.turns:
            if turn.view in turned:
                upright, other = (read_picture(out / "pictures" / p.file) for p in (turn.upright, turn.seen))
                assert torch.equal(turned[turn.view](upright), other)
                seen += 1
    assert seen == 4


def test_other_arithmetic_is_said_in_the_code(tmp_path: Path) -> None:
    tour = write_tour(tmp_path / "tour")
    report = report_of(tmp_path / "out", tour, quick=True)
    report.subjects["model"].model.place(Placement(dtype=torch.bfloat16))
    for section in report.make(chapters=chosen(["0", "1", "10"])):
        assert section.status == "done", section.error
        for source in sources(section):
            assert all("--dtype bfloat16" in command for command in source.commands)
            assert 'sf.load("drawn", dtype=torch.bfloat16)' in source.python
            assert "\nimport torch\n" in source.python


# ----------------------------------------------------------------------------------- resuming and failing


def test_a_stopped_report_goes_on_at_the_section_it_was_in(tmp_path: Path) -> None:
    tour = write_tour(tmp_path / "tour")
    chapters = PART_A[:3]

    class Stop(BaseException):
        pass

    def stopping(_: object) -> Iterator[Row]:
        raise Stop
        yield

    stopped = [chapters[0], replace(chapters[1], make=stopping), chapters[2]]
    report = report_of(tmp_path / "out", tour)
    with pytest.raises(Stop):
        report.make(chapters=stopped)
    page = (tmp_path / "out" / "index.html").read_text()
    assert 'id="s0" data-status="done"' in page
    assert 'id="s1" data-status="waiting"' in page
    before = (tmp_path / "out" / "sections" / "0.json").read_bytes()

    kept: dict[str, bool] = {}
    sections = report_of(tmp_path / "out", tour).make(
        chapters=chapters, on_section=lambda made: kept.update({made.chapter.id: made.kept})
    )
    assert kept == {"0": True, "1": False, "2": False}
    assert [section.status for section in sections] == ["done"] * 3
    assert (tmp_path / "out" / "sections" / "0.json").read_bytes() == before


def test_ctrl_c_in_a_section_leaves_a_whole_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["report", "--model", "digits", "--quick", "--section", "1", "--section", "3", "--out", str(out)]
    with monkeypatch.context() as first:
        name = "sfumato.apps.report.chapters.noise.one_step_denoised"
        first.setattr(name, lambda *_: signal.raise_signal(signal.SIGINT))
        assert main(words) == 128 + signal.SIGINT
    assert capsys.readouterr().err.splitlines()[-1] == "stopped by SIGINT"
    assert not list(out.rglob("*.part"))
    page = (out / "index.html").read_text()
    assert page.rstrip().endswith("</html>")
    assert 'id="s1" data-status="done"' in page
    assert 'id="s3" data-status="waiting"' in page
    assert main(words) == 0
    assert re.search("A1 The forward process +kept", capsys.readouterr().err)


def test_a_failed_section_is_shown_and_the_others_come(tmp_path: Path) -> None:
    def failing(_: object) -> Iterator[Row]:
        raise RuntimeError("the <network>\nis tired")
        yield

    chapters = [PART_A[0], replace(PART_A[1], make=failing), PART_A[2]]
    tour = write_tour(tmp_path / "tour")
    sections = report_of(tmp_path / "out", tour).make(chapters=chapters)
    assert [section.status for section in sections] == ["done", "failed", "done"]
    page = (tmp_path / "out" / "index.html").read_text()
    assert "RuntimeError: the &lt;network&gt; is tired" in page
    again = report_of(tmp_path / "out", tour).make(chapters=PART_A[:3])  # a failed one is tried again
    assert [section.status for section in again] == ["done"] * 3


@pytest.mark.parametrize("change", ["prompt", "picture", "quick"])
def test_what_a_section_depends_on_makes_it_anew(tmp_path: Path, change: str) -> None:
    tour = write_tour(tmp_path / "tour")
    report_of(tmp_path / "out", tour).make(chapters=PART_A[:1])
    if change == "prompt":
        tour.write_text(tour.read_text().replace("guided: a ring", "guided: a dot"))
    if change == "picture":
        shutil.copy(tour.parent / "one.png", tour.parent / "two.png")
    kept: list[bool] = []
    again = report_of(tmp_path / "out", tour, quick=change == "quick")
    again.make(chapters=PART_A[:1], on_section=lambda made: kept.append(made.kept))
    assert kept == [False]


def test_damaged_sections_are_made_again(tmp_path: Path) -> None:
    tour = write_tour(tmp_path / "tour")
    report_of(tmp_path / "out", tour).make(chapters=PART_A[:1])
    (tmp_path / "out" / "sections" / "0.json").write_text('{"id": "0"')
    sections = report_of(tmp_path / "out", tour).make(chapters=PART_A[:1])
    assert sections[0].status == "done"


# ----------------------------------------------------------------------------------------------- Part B


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Section]]:
    """Part B, quick."""
    folder = tmp_path_factory.mktemp("scratch")
    report = report_of(folder / "out", write_tour(folder / "tour"), quick=True)
    return folder / "out", report.make(chapters=chosen(["b1", "b2", "b3"]))


def test_part_b_comes_from_what_ships(scratch: tuple[Path, list[Section]]) -> None:
    out, sections = scratch
    for section in sections:
        assert (section.status, section.error) == ("done", "")
        assert not [block for block in section.blocks if isinstance(block, Gap)]
        for file in shown(section):
            assert to_uint8(read_picture(out / "pictures" / file)).float().std() > 1, file
    drawn = [block for block in sections[0].blocks if isinstance(block, Drawing)]
    assert "down1" in drawn[0].svg
    assert "concatenated" in drawn[0].svg
    table = [block for block in sections[2].blocks if isinstance(block, Table)]
    names = [f"`{n}`" for n in PRESETS if n.startswith("digits")]
    assert [row[0] for row in table[0].rows] == names


def test_a_model_that_does_not_ship_is_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(MODELS, "digits-time")
    report = report_of(tmp_path / "out", write_tour(tmp_path / "tour"), quick=True)
    (section,) = report.make(chapters=chosen(["b2"]))
    assert section.status == "incomplete"
    (block,) = section.blocks
    assert isinstance(block, Gap)
    assert "No weights of `digits-time` ship" in block.text


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1, 2])
def test_the_python_of_part_b_makes_its_pictures(
    scratch: tuple[Path, list[Section]], index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, sections = scratch
    for path in (out / "pictures").glob("mnist-*.png"):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sf, "load", cache(sf.load), raising=False)
    for source in sources(sections[index]):
        exec(compile(source.python, "page", "exec"), {})
    sheets = {p.file for b in sections[index].blocks if isinstance(b, Row) and b.wide for p in b.pictures}
    for file in set(shown(sections[index])) - sheets:
        ours, theirs = (to_uint8(read_picture(p / file)).int() for p in (tmp_path, out / "pictures"))
        assert (ours - theirs).abs().max() <= 1, file


# ------------------------------------------------------------------------------------------------- tours


@pytest.mark.parametrize("name", ["emoji", "digits"])
def test_the_tours_that_ship_are_whole(name: str) -> None:
    tour = read_tour(TOURS / f"{name}.yaml")
    assert sum(anagram.view == "flip" for anagram in tour.anagrams) >= 3
    assert len({anagram.view for anagram in tour.anagrams} - {"flip"}) >= 4
    assert len(tour.hybrids) == len(tour.inpaint) == 3
    assert tour.starts == (1, 3, 5, 7, 10, 20)
    assert tour.of == 30
    assert len(tour.translate) == 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 5", "seed: -1", "seed: "),
        ("guided: a ring", "guidded: a ring", "guidded: Extra inputs"),
        ("view: flip", "view: flap", "no view 'flap'"),
        ("one.png", "none.png", "none.png"),
        ("levels:\n- 0.3", "levels:\n- 1.3", "levels.0: "),
        ("of: 5", "of: 3", "starts: 3"),
        ("seed: 5", "seed: [", "YAML"),
    ],
)
def test_a_wrong_tour_is_refused_in_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write_tour(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        read_tour(path)
    assert "\n" not in str(caught.value)


def test_a_tour_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml"):
        read_tour(tmp_path / "none.yaml")


def test_two_pictures_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write_tour(tmp_path / "tour")
    save_picture(read_picture(path.parent / "two.png")[0], path.parent / "one.jpg")
    path.write_text(path.read_text().replace("two.png", "one.jpg"))
    with pytest.raises(UsageError, match="two pictures"):
        report_of(tmp_path / "out", path).make()
    assert not list((tmp_path / "out" / "sections").iterdir())


# ------------------------------------------------------------------------------------------- command line


def test_the_command_makes_a_section_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["report", "--model", "digits", "--quick", "--section", "1", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(out / "index.html")
    assert "A1 The forward process" in said.err
    page = (out / "index.html").read_text()
    assert 'id="s1" data-status="done"' in page
    assert 'id="s2" data-status="waiting"' in page


def test_a_failed_section_is_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("no noise today")

    monkeypatch.setattr("sfumato.apps.report.chapters.noise.noised", broken)
    assert (
        main(["report", "--section", "1", "--section", "0", "--quick", "--out", str(tmp_path / "out")]) == 1
    )
    error = capsys.readouterr().err
    assert "failed: ValueError: no noise today" in error
    assert error.splitlines()[-1].startswith("error: failed: 1;")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--section", "12"], "--section 12"),
        (["--recipe", "none.yaml"], "none.yaml"),
        (["--out", "taken"], "--out taken"),
        (["--model", "nobody"], "nobody"),
    ],
)
def test_wrong_use_begins_nothing(
    words: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("taken").write_text("")
    assert main(["report", "--quick", *words]) in {2, 3}
    assert message in capsys.readouterr().err
    assert os.listdir() == ["taken"]


# --------------------------------------------------------------------------------------------------- the demo


class Lightest:
    """A reader that reads what the prompt says the better, the lighter a picture is."""

    def log_probabilities(self, pictures: torch.Tensor) -> torch.Tensor:
        light = 10 * pictures.mean((1, 2, 3))
        return torch.stack([light, -light], dim=1).log_softmax(1)

    def meaning(self, text: str) -> frozenset[int]:
        return frozenset({0 if text else 1})


@pytest.fixture
def best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Section]:
    """The anagrams of a tour that keeps the best two of five."""
    for module in ("workspace", "picture_sets"):
        monkeypatch.setattr(f"sfumato.apps.report.{module}.reader_of", lambda model: Lightest())
    path = write_tour(tmp_path / "tour")
    path.write_text(path.read_text() + "best_of: 5\n")
    (section,) = report_of(tmp_path / "out", path).make(chapters=chosen(["8"]))
    return tmp_path / "out", section


def test_the_best_of_many_are_kept(best: tuple[Path, Section]) -> None:
    out, section = best
    assert section.status == "done", section.error
    for block, seed in zip(section.blocks, (5, 9, 5), strict=True):
        assert isinstance(block, Turns)
        kept = [read_metadata(out / "pictures" / turn.upright.file) or {} for turn in block.turns]
        recipes = [parse_recipe(metadata["recipe"]) for metadata in kept]
        many = run(recipes[0].model_copy(update={"seed": seed, "count": 5}), Drawn(), {})
        order = many.x.mean((1, 2, 3)).argsort(descending=True)
        assert [recipe.seed for recipe in recipes] == [seed + i for i in order[:2].tolist()]
        assert all(flag in block.code.commands[0] for flag in ("--count 2", "--pick best", "--from 5"))


def test_the_python_of_the_best_of_many_makes_them(
    best: tuple[Path, Section], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, section = best
    (tmp_path / "again").mkdir()
    monkeypatch.chdir(tmp_path / "again")
    monkeypatch.setattr(sf, "load", lambda name: {"drawn": Drawn()}[name], raising=False)
    for source in sources(section):
        exec(compile(source.python, "8", "exec"), {})
    for file in shown(section):
        ours, theirs = (to_uint8(read_picture(folder / file)).int() for folder in (Path(), out / "pictures"))
        assert (ours - theirs).abs().max() <= 1, file


def test_what_a_tour_leaves_out_the_page_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "tour.yaml"
    path.write_text("prompts: [a disc]\ncount: 1\n")
    sections = report_of(tmp_path / "out", path).make(chapters=PART_A)
    assert {section.status for section in sections} == {"done"}
    assert [section.id for section in sections if section.blocks] == ["0", "5"]
    assert (tmp_path / "out" / "index.html").read_text().count("The tour leaves this section out.") == 9


def test_the_tours_of_the_demo_are_whole() -> None:
    names = ("demo-emoji", "demo-digits", "demo-denoise")
    emoji, digits, denoise = (read_tour(shipped_tour(name)) for name in names)
    assert emoji.best_of == 16
    assert {anagram.view for anagram in emoji.anagrams} == {"flip", "rotate_180"}
    assert all((emoji.prompts, emoji.guided, emoji.translate, emoji.inpaint, emoji.hybrids))
    assert digits.prompts == tuple("0123456789")
    assert all((digits.anagrams, digits.hybrids, digits.translate, digits.inpaint))
    assert denoise.given is not None
    assert 1 in denoise.levels


# ------------------------------------------------------------------------------------------ what is default


def test_the_tour_is_what_the_model_understands() -> None:
    assert default_tour(Drawn()).name == "emoji.yaml"
    assert default_tour(sf.load("digits")).name == "digits.yaml"
