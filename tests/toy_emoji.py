"""A dozen real emoji in three styles, from the files under tests/data."""

from pathlib import Path

from sfumato.training.emoji.dataset import EmojiDataset, build

FOLDER = Path(__file__).parent / "data" / "emoji"
STYLES = ("noto", "twemoji", "flat")


def toy_files() -> tuple[tuple[bytes, bytes], dict[str, tuple[bytes, bytes]]]:
    """What `build` takes: the tables of names, and every style's icons and characters."""

    def read(name: str) -> bytes:
        return (FOLDER / f"{name}.json").read_bytes()

    return (read("data"), read("messages")), {
        style: (read(f"{style}-icons"), read(f"{style}-chars")) for style in STYLES
    }


def toy_emoji(side: int = 16) -> EmojiDataset:
    """The data set that they make."""
    names, styles = toy_files()
    return build(names, styles, side=side)


def toy_more() -> tuple[dict[str, bytes], tuple[bytes, str]]:
    """What else `build` takes: a further style, and silhouettes, one of which is no emoji."""
    icons = {style: (FOLDER / f"{style}-icons.json").read_bytes() for style in STYLES}
    return {"line": icons["flat"]}, (icons["noto"], "ghost = ghost\nkeycap-1\n")
