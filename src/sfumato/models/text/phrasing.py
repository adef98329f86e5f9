"""How people phrase a prompt: the words around the thing that is meant, which say nothing of it."""

import re

FRAMES = (
    "a photo of {}",
    "a picture of {}",
    "a drawing of {}",
    "an oil painting of {}",
    "a painting of {}",
    "a watercolour of {}",
    "a watercolor painting of {}",
    "a pencil sketch of {}",
    "a cartoon of {}",
    "an illustration of {}",
    "a lithograph of {}",
    "an image of {}",
    "an icon of {}",
    "an emoji of {}",
    "{} emoji",
    "{} icon",
)
ENDINGS = ("on a white background", "on white", "in colour", "clip art", "simple", "close up", "centred")

STYLES = (
    "noto",
    "twemoji",
    "flat",
    "3d",
    "blob",
    "firefox",
    "emojione",
    "streamline",
    "line",
    "silhouette",
)

# What may stand behind the thing that is meant in a prompt: endings, and a style.
_ADDITIONS = (
    *ENDINGS,
    *(
        manner.format(style)
        for style in STYLES
        for manner in ("in the style of {}", "in a {} style", "{} style", "{} emoji")
    ),
    "twitter emoji",
    "flat design",
    "3d render",
)

# Bare words that several concepts share, or that name one which few people mean: which of them is drawn
COMMON = {
    "ball": "soccer ball",
    "boat": "sailboat",
    "bottle": "baby bottle",
    "bridge": "bridge at night",
    "cup": "teacup without handle",
    "face": "neutral face",
    "flower": "blossom",
    "hand": "raised hand",
    "hat": "top hat",
    "heart": "red heart",
    "letter": "envelope",
    "moon": "crescent moon",
    "people": "people holding hands",
    "smile": "grinning face",
    "tree": "deciduous tree",
    "water": "droplet",
}


def ended(words: str, ending: str) -> str:
    """The thing that is meant with one of the `ENDINGS` behind it."""
    return f"{words}{_joint(ending)}"


def without_frame(text: str) -> str:
    """What a prompt asks for, without frame, endings, style and article: "A rocket" -> "rocket"."""
    words, before = " ".join(text.lower().split()), ""
    while words != before:
        before = words
        for addition in _ADDITIONS:
            words = words.removesuffix(_joint(addition))
        for frame in FRAMES:
            start, end = frame.split("{}")
            if words.startswith(start) and words.endswith(end) and len(words) > len(frame) - 2:
                words = words.removeprefix(start).removesuffix(end)
        words = re.sub("^(a|an|the) (?=.)", "", words)
    return words


def _joint(addition: str) -> str:
    return f" {addition}" if addition.startswith(("in ", "on ")) else f", {addition}"


# A second thing behind the first one: "a cat and a dog", "a cat to the left of two dogs"
_JOINTS = (
    "and|on|on top of|above|over|under|below|beside|next to|near|behind|in front of|around|"
    "(?:(?:to|on) the )?(?:left|right) of"
)
_SECOND = re.compile(f"(.+?) (?:{_JOINTS}) ((?:an?|the|two|three) .+)")


def commonly(text: str) -> str:
    """What a bare word means (`COMMON`): "a flower" -> "blossom"; every other text as it is."""
    return COMMON.get(without_frame(text), text)


def things(text: str) -> tuple[str, ...]:
    """The one or two things that a prompt asks for: "a cat on a red car" -> "cat", "a red car".

    Where it is one, the prompt as it is.
    """
    found = _SECOND.fullmatch(without_frame(text))
    return (text,) if found is None else (found[1], found[2])
