"""What is done to the pages while they are built.

Formulas between dollar signs become MathML: no script, no request of a reader's. The page reference/more.md
gets every public name that no other page documents.
"""

import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

import sfumato as sf

_CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.S)
_BLOCK = re.compile(r"\$\$(.+?)\$\$", re.S)
_INLINE = re.compile(r"(?<![\\$\w])\$([^$\n]+?)\$(?![\w$])")
_DOCUMENTED = re.compile(r"^::: \S+\.(\w+)$", re.M)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page's text before it becomes HTML."""
    if page.file.src_uri == "reference/more.md":
        folder = Path(page.file.abs_src_path).parent
        markdown += "".join(f"\n::: {name}\n" for name in undocumented(folder))
    pieces = _CODE.split(markdown)
    return "".join(piece if i % 2 else _formulas(piece) for i, piece in enumerate(pieces))


def undocumented(folder: Path) -> list[str]:
    """The public names, with their modules, that the pages of the reference leave out."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.md")))
    there = set(_DOCUMENTED.findall(text)) | {"__version__"}
    return [f"{getattr(sf, name).__module__}.{name}" for name in sf.__all__ if name not in there]


def _formulas(text: str) -> str:
    text = _BLOCK.sub(lambda found: convert(found[1].strip(), display="block"), text)
    # in a span: at the start of a line, Markdown would take a bare <math> for a paragraph of its own
    return _INLINE.sub(lambda found: f"<span>{convert(found[1].strip())}</span>", text)
