"""What the pages of docs/ say to type is typed here: `python` and `sh` blocks, in an empty folder."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import sfumato as sf
from sfumato.apps.cli import main

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
_FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.M | re.S)


def blocks(page: str) -> list[tuple[str, str]]:
    """The fenced blocks that are to be run, with their language."""
    text = (DOCS / page).read_text(encoding="utf-8")
    own = page not in {"design.md", "log.md"}  # the plan and the log tell, they do not teach
    return [(kind, code) for kind, code in _FENCE.findall(text) if own and kind in {"python", "sh"}]


def commands(code: str) -> Iterator[list[str]]:
    """The command lines of a block, comments left out."""
    for line in code.splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


RUN = [page for page in PAGES if blocks(page)]


def test_there_is_something_to_run() -> None:
    assert {"index.md", "first-hour.md", "how-to/anagram.md", "how-to/nest.md"} <= set(RUN)
    assert sum(len(blocks(page)) for page in RUN) > 40


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_the_examples_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {}
    for number, (kind, code) in enumerate(blocks(page), 1):
        if kind == "python":
            exec(compile(code, f"{page}, block {number}", "exec"), space)
            continue
        for program, *words in commands(code):
            assert program == "sfumato", f"{page}: a block of sh holds the commands of sfumato alone"
            assert main(words) == 0, f"{page}: {shlex.join(words)}"


def test_own_parts_take_ten_lines_and_two_imports() -> None:
    """docs/how-to/extend.md, but for its last block, which is about recipes."""
    *parts, _ = [code for kind, code in blocks("how-to/extend.md") if kind == "python"]
    for code in parts:
        lines = [line for line in code.splitlines() if line.strip()]
        imported = [line for line in lines if re.match(r"\s*(import|from) ", line)]
        assert set(imported) <= {
            "import sfumato as sf",
            "import torch",
            "from dataclasses import dataclass",
        }
        assert len(lines) - len(imported) <= 10, code


def tree_of(page: str, root: str) -> Iterator[Path]:
    """The files and folders that begin the lines of a page's tree; indentation is depth."""
    text = (DOCS.parent / page).read_text(encoding="utf-8")
    block = next(
        code for kind, code in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S) if "core/" in code
    )
    above: list[str] = [root]
    for line in block.splitlines():
        found = re.match(r"( {0,4})([\w/.]+?(?:/|\.py))(?:\s|$)", line)
        if found is None:
            continue
        depth = len(found[1]) // 2
        above[depth + 1 :] = [found[2]]
        yield Path(*above)


@pytest.mark.parametrize(("page", "root"), [("README.md", "."), ("docs/design.md", "src/sfumato")])
def test_the_trees_are_true(page: str, root: str) -> None:
    paths = list(tree_of(page, root))
    assert len(paths) > 30
    assert [str(path) for path in paths if not (DOCS.parent / path).exists()] == []


@pytest.mark.slow
def test_the_readme_s_first_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The later blocks want a gated model or a server."""
    monkeypatch.chdir(tmp_path)
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    first = next(code for kind, code in _FENCE.findall(text) if kind == "python")
    exec(compile(first, "README.md", "exec"), {})
    made = [path.stem.partition("-")[0] for path in tmp_path.iterdir()]
    assert (set(made), made.count("seven")) == ({"seven", "anagram", "nested"}, 8)


@pytest.mark.slow
def test_the_pages_are_built_without_a_warning_and_ask_for_nothing_outside(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(DOCS.parent / "mkdocs.yml"), site_dir=str(tmp_path), strict=True)
    build(config)
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) >= len(PAGES)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=\"?(?:https?:)?//(?!squidfunk)", text), (
            page
        )
    mathematics = (tmp_path / "mathematics" / "index.html").read_text(encoding="utf-8")
    assert mathematics.count("<math ") > 60
    assert "$$" not in mathematics
    reference = "".join(page.read_text(encoding="utf-8") for page in (tmp_path / "reference").rglob("*.html"))
    for name in set(sf.__all__) - {"__version__"}:
        assert re.search(rf'id="sfumato[\w.]*\.{name}"', reference), name
