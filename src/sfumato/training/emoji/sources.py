"""Where the icons and their names come from: npm packages, pinned by version and by the sha256 of each file.

OpenMoji is never among them: its licence asks of pictures made from it to be shared alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sfumato.training.download import Collection, ExpectedFile
from sfumato.training.packages import npm_package


@dataclass(frozen=True, kw_only=True)
class Style:
    """One way of drawing, and the collections that hold its `icons.json` and its `chars.json`.

    chars: None where icons are found by what their names spell
    """

    name: str
    icons: Collection
    chars: Collection | None


def _package(name: str, version: str, files: Mapping[str, ExpectedFile], folder: str = "") -> Collection:
    source = npm_package(f"{name}@{version}", folder)
    return Collection(name=f"{name.rpartition('/')[2]}-{version}", files=files, sources=(source,))


def _icons(
    name: str, version: str, icons: tuple[int, str], chars: tuple[int, str] | None = None
) -> Collection:
    found = {"icons.json": icons} | ({"chars.json": chars} if chars else {})
    files = {file: ExpectedFile(size=size, sha256=sha256) for file, (size, sha256) in found.items()}
    return _package(f"@iconify-json/{name}", version, files)


NAMES = _package(
    "emojibase-data",
    "17.0.0",
    {
        "data.json": ExpectedFile(
            size=775157, sha256="ed014f1049bd370c5794f815850156196ac382850f51c3e9f6a9e83553fb3f01"
        ),
        "messages.json": ExpectedFile(
            size=6499, sha256="6bffab078a0d90c4cca03bd3ff1045fdba33a77d31b1408b1cf1c414d7f1ab3c"
        ),
    },
    folder="en",
)
_NOTO = _icons(
    "noto",
    "1.2.9",
    (25233364, "9eac6ef4e7ec122b6f0e7ac281d61008afdbc720d0ce861e398b939daaa347c6"),
    (189666, "91485653ca890bff640f2a6c2d7be62d625a90527b6b4d816b41593675bf5c8f"),
)
_TWEMOJI = _icons(
    "twemoji",
    "1.2.5",
    (10187099, "5d5d820790565b764f2728675d487c9ee4c1fc83916d8567d5aca8ba7527c242"),
    (199063, "8e6a83d5a3ac185b2446154b9c4ee07c983bd4a5b2a21aa4b9ff04af9831eefe"),
)
_FLAT = _icons(
    "fluent-emoji-flat",
    "1.2.6",
    (8958092, "f5f4cf457c0db2ad5a2e42e033e02e0c87d10e43d0164cfffb3bb84914970a63"),
    (122756, "7f084c5a95807edb4702a7c9f6f18e74d59026d1c34ceb8cae85df0b9a9f0a10"),
)
_FLUENT = _icons(
    "fluent-emoji",
    "1.2.7",
    (103664935, "87f3336be6f46747d40d046a15ffa8b23809ff7a1a280b5d3521d3782fb85de7"),
)

STYLES = (
    Style(name="noto", icons=_NOTO, chars=_NOTO),  #            Apache-2.0
    Style(name="twemoji", icons=_TWEMOJI, chars=_TWEMOJI),  #   CC BY 4.0
    Style(name="flat", icons=_FLAT, chars=_FLAT),  #            MIT
    Style(
        name="3d", icons=_FLUENT, chars=_FLAT
    ),  #            MIT; names its icons as the flat ones are named
)

# Of these the concepts are not chosen: they are drawn once more, where a name spells a concept's label
MORE_STYLES = tuple(
    Style(name=name, icons=_icons(package, version, icons), chars=None)
    for name, package, version, icons in (
        (
            "blob",  #                                              Apache-2.0
            "noto-v1",
            "1.2.5",
            (8273516, "ce70d8aa90345cf389875c3571ecd245bd943401822a0c5a0f62336bf8487333"),
        ),
        (
            "firefox",  #                                           Apache-2.0
            "fxemoji",
            "1.2.2",
            (2782919, "d8ef67b94a32d0abcd314d1c35db56178eaa8fa8ad71130e312f3460e307c2bf"),
        ),
        (
            "emojione",  #                                          CC BY 4.0
            "emojione",
            "1.2.3",
            (2976514, "e9a865faed523a7c3535b5319ae533d09fac1a62b4e96920eb178bb60e707e80"),
        ),
        (
            "streamline",  #                                        CC BY 4.0
            "streamline-emojis",
            "1.2.4",
            (2585337, "d3cb7afee48544af5657a92951cff18ffef7b150a13b3df1bb54b8c0757bfad6"),
        ),
        (
            "line",  #                                              MIT
            "fluent-emoji-high-contrast",
            "1.2.6",
            (2765031, "c522fb74fef65ccef67b38dfdbf0f3dcd4353339e4b8faec4aa45faf83ed4739"),
        ),
    )
)

# Things that no emoji shows, and a few that one does: silhouettes.txt says which are taken and how they are
# called
SILHOUETTE = Style(
    name="silhouette",  #                                           CC BY 3.0
    icons=_icons(
        "game-icons",
        "1.2.4",
        (6463192, "b948029964d549d0ae3b17afead9c9d6f019ddcbdc34f52cb915dc460575c4cd"),
    ),
    chars=None,
)
SILHOUETTES = (Path(__file__).parent / "silhouettes.txt").read_text(encoding="utf-8")
