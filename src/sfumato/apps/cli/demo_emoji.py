"""The second half of the demo: every technique with the text-to-image model that ships, on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.apps.cli.inputs import Inputs
from sfumato.apps.cli.pick import AMONG, Choice, Judged
from sfumato.apps.cli.progress import told
from sfumato.apps.cli.sheets import save_sheet, together
from sfumato.errors import UsageError

if TYPE_CHECKING:
    from sfumato.core.expression import Expression
    from sfumato.models.model import Model
    from sfumato.results import Pictures
    from sfumato.techniques import Edit

PROMPTS = ("a rocket", "a skull", "a panda", "a dog", "an old man", "a sunflower", "camping", "a pen")
GUIDED, SCALES = "a panda", (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 9.0)
DOODLE, STRENGTHS = ("house-by-hand.png", "a house"), (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
INPAINT = ("mushroom.png", "mask-above.png", "a deciduous tree")
# Of twenty pairs that were tried (bench/illusions.py), some of those of which the classifier sees both
FLIPPED = (("a panda", "a sunflower"), ("a snowman", "a light bulb"), ("a penguin", "a pear"))
TURNED = (("a ghost", "a jellyfish"), ("a pig face", "a strawberry"), ("a rabbit face", "a tulip"))
HYBRIDS = (("a rabbit face", "a tulip"), ("a bear", "a cookie"), ("an octopus", "a balloon"))
SIGMA = 3  #   of the hybrids: at the default, 2, the near subject is rarely seen (docs/log.md)
EACH = 4  #    pictures in a row; of a fusion the best of AMONG, as `--pick best` keeps them
ENLARGE = 2

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>sfumato: demo</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
         color-scheme: light dark; }
  h1, h2 { font-weight: 600 } figure { margin: 0 0 2rem } img { max-width: 100%; background: #fff }
  .flip { transform: scaleY(-1) } .turn { transform: rotate(180deg) }
  .far { width: 25%; vertical-align: bottom } code { font-size: .9em }
</style>
<h1>Pictures from {{ model }}</h1>
<p>Made on this machine from the weights that ship, seeds from {{ seed }} on.
{% if among %}None is picked, but of the anagrams and hybrids: those are the best {{ each }} of {{ among }},
as the classifier reads them (<code>--pick best</code>), and their pairs are some of those that work, of
twenty that were tried.{% else %}None is picked.{% endif %}
Each sheet carries its recipes: <code>sfumato replay FILE</code>.</p>
{% for shown in sheets %}
<figure><h2>{{ shown.title }}</h2>
<img src="{{ shown.file }}" alt="{{ shown.title }}">
{% if shown.again %}<br>
<img class="{{ shown.again }}" src="{{ shown.file }}" alt="the same, seen otherwise">{% endif %}
<figcaption>{{ shown.said }}</figcaption></figure>
{% endfor %}
</html>
"""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A sheet on the page; `again` is the CSS class of a second look at it."""

    file: str
    title: str
    said: str
    again: str = ""


@dataclass(frozen=True, kw_only=True)
class EmojiTour:
    """One model, one folder, one seed; the sheets as they are made."""

    model: Model
    out: Path
    seed: int
    shown: list[Shown] = field(default_factory=list)

    @cached_property
    def among(self) -> int | None:
        """Of how many pictures a fusion's are the best; None where nothing here reads them."""
        from sfumato.evaluation.readers import reader_of

        try:
            reader_of(self.model)
        except UsageError:
            return None
        return AMONG

    def all(self) -> Path:
        """Every sheet, and the page that shows them."""
        self.sheet("emoji-prompts.png", "Prompts", ", ".join(PROMPTS), PROMPTS, count=EACH)
        self.guidance()
        self.translate()
        self.inpaint()
        self.fusions()
        return self.page()

    def sheet(
        self,
        name: str,
        title: str,
        said: str,
        questions: Sequence[Expression | Edit | str],
        *,
        count: int,
        among: int | None = None,
        again: str = "",
        inputs: Inputs | None = None,
    ) -> None:
        """A sheet with a row for each question: its first `count` pictures, or the best of `among`."""
        from sfumato.sampling import make_run

        path, recorded = self.out / name, inputs.files if inputs is not None else None
        choice = None if among is None else Choice(keep=count, among=among)
        judges = [] if choice is None else [choice.judge(self.model, question) for question in questions]
        with told(path, title) as bar:
            jobs = [
                make_run(self.model, question, seed=self.seed, count=among or count, files=recorded)
                for question in questions
            ]
            parts = together(jobs, bar)
            if judges:
                parts = [
                    best for made, judge in zip(parts, judges, strict=True) for best in _best(made, judge)
                ]
            columns = count if count > 1 else len(questions)
            save_sheet(parts, path, columns=columns, enlarge=ENLARGE)
        self.shown.append(Shown(file=name, title=title, said=said, again=again))

    def guidance(self) -> None:
        """One prompt, one seed, by the scale of guidance."""
        from sfumato.core.expression import prompt

        questions = [prompt(GUIDED).guided(scale) for scale in SCALES]
        said = f"{GUIDED}, guidance {', '.join(f'{scale:g}' for scale in SCALES)}"
        self.sheet("emoji-guidance.png", "Guidance", said, questions, count=1)

    def translate(self) -> None:
        """A drawing by hand, by strength."""
        from sfumato.techniques import translate

        inputs, (name, prompt) = Inputs(self.model), DOODLE
        picture = inputs.picture(drawing(name))
        edits = [translate(picture, prompt, strength=strength) for strength in STRENGTHS]
        said = f"{prompt}, from a drawing, strength {', '.join(map(str, STRENGTHS))}"
        self.sheet("emoji-translate.png", "A drawing, translated", said, edits, count=1, inputs=inputs)

    def inpaint(self) -> None:
        """The upper part of a picture made anew."""
        from sfumato.techniques import inpaint

        inputs, (name, mask, prompt) = Inputs(self.model), INPAINT
        source = drawing(name)
        edit = inpaint(inputs.picture(source), inputs.mask(drawing(mask), "white", of=source), prompt)
        said = f"{name}, what is white in {mask} made anew as {prompt}"
        self.sheet("emoji-inpaint.png", "Inpainted", said, [edit], count=2 * EACH, inputs=inputs)

    def fusions(self) -> None:
        """Anagrams through two views, and hybrids."""
        from sfumato.techniques import anagram, hybrid

        for view, pairs, title, again in (
            ("flip", FLIPPED, "Anagrams, flipped", "flip"),
            ("rotate_180", TURNED, "Anagrams, turned over", "turn"),
        ):
            questions = [anagram(one, other, view=view) for one, other in pairs]
            said = "; ".join(f"{one}, and {other}" for one, other in pairs)
            self.sheet(f"emoji-{view}.png", title, said, questions, count=EACH, among=self.among, again=again)
        questions = [hybrid(far=far, near=near, sigma=SIGMA) for far, near in HYBRIDS]
        said = "; ".join(f"{far} from afar, {near} from near" for far, near in HYBRIDS)
        said += f"; sigma {SIGMA}"
        title = "Hybrids, large and small"
        self.sheet("emoji-hybrid.png", title, said, questions, count=EACH, among=self.among, again="far")

    def page(self) -> Path:
        """The page that shows all sheets."""
        from jinja2 import Environment

        page = Environment(autoescape=True).from_string(PAGE)
        path = self.out / "index.html"
        text = page.render(
            model=self.model.name, seed=self.seed, sheets=self.shown, each=EACH, among=self.among
        )
        path.write_text(text, encoding="utf-8")
        return path


def _best(made: Pictures, judge: Judged) -> list[Pictures]:
    """The best of one question's pictures, each with the recipe of itself alone."""
    from sfumato.results import Pictures

    rows, _ = judge.best(made.x)
    return [Pictures(made.x[row : row + 1], made.recipe.single(row)) for row in rows]


def drawing(name: str) -> Path:
    """A picture or mask that ships with the tours."""
    return Path(str(files("sfumato"))) / "apps" / "report" / "tours" / name
