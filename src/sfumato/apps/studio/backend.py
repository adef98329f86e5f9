"""What stands behind the page: it hands recipes to the worker and returns previews and pictures.

Every visitor has a history and at most one job. A new job cancels the one before; so does leaving.
"""

import html
import queue
import secrets
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL.Image import Image
from torch import Tensor

from sfumato.core.expression import Expression
from sfumato.core.notation import from_json
from sfumato.core.writing import Inputs
from sfumato.errors import UsageError
from sfumato.models.cascade import Stages
from sfumato.models.understanding import remarks_on
from sfumato.pictures import to_image
from sfumato.pictures.grid import enlarge_pixels
from sfumato.recipe import Recipe
from sfumato.results import Pictures
from sfumato.sampling import make_recipe
from sfumato.serving import Ended, Event, Job, Made, Part, State, Stepped, Worker
from sfumato.techniques import Edit

SHOWN = 320  # pixels: small pictures are enlarged up to this
EVERY = 0.15  # seconds between two updates of the page
PREVIEWS = 10_000  # of every step
HISTORY = 60  # pictures that a visitor finds again
REMEMBERED = 64  # input pictures, of all visitors
VISITORS = 200


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """The settings of the page and the session that has them; None is the model's default."""

    session: str | None
    model: str
    seed: int
    count: int = 1
    steps: int | None = None
    guidance: float | None = None
    solver: str | None = None


@dataclass(frozen=True, kw_only=True)
class MadePicture:
    """A picture of the history: its file, with the recipe inside."""

    path: Path
    recipe: Recipe
    x: Tensor = field(repr=False, compare=False)  # (C, H, W)

    @property
    def captioned(self) -> tuple[str, str]:
        """What a gallery shows: the file, with the prompts and the seed under it."""
        prompts = " | ".join(self.recipe.prompts()) or "anything"
        return str(self.path), f"{prompts} · seed {self.recipe.seed}"


@dataclass
class Visitor:
    """One open page."""

    history: list[MadePicture] = field(default_factory=list)  # the newest first
    job: Job | None = None
    steps: list[Stepped] = field(default_factory=list)  # of the latest study, for its slider


@dataclass(frozen=True, kw_only=True)
class Update:
    """What the page shows from now on."""

    pictures: Sequence[tuple[Image | str, str]]
    status: str  # HTML
    made: Sequence[MadePicture] = ()  # when the job is done
    steps: Sequence[Stepped] = ()  # likewise


class Backend:
    """The sessions of the studio and their jobs, over one worker."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self._folder = tempfile.TemporaryDirectory(prefix="sfumato-studio-")
        self._visitors: OrderedDict[str, Visitor] = OrderedDict()
        self._inputs: OrderedDict[str, object] = OrderedDict()
        self._lock = threading.Lock()

    def model(self, name: str | None) -> Stages:
        """A model by its name, else the first; UsageError while the models are being loaded."""
        if not self.worker.models:
            raise UsageError("the model is still being loaded: try again in a moment")
        return self.worker.models.get(name or "") or self.worker.models[self.worker.names[0]]

    def visitor(self, name: str | None) -> Visitor:
        """The visitor of this session."""
        with self._lock:
            visitor = self._visitors.setdefault(name or "", Visitor())
            self._visitors.move_to_end(name or "")
            while len(self._visitors) > VISITORS:
                self._dismiss(next(iter(self._visitors)))
            return visitor

    def leave(self, name: str | None) -> None:
        """Forget a visitor whose page was closed, and cancel the job."""
        with self._lock:
            self._dismiss(name or "")

    def _dismiss(self, name: str) -> None:
        gone = self._visitors.pop(name, None)
        if gone is None:
            return
        if gone.job is not None:
            self.worker.cancel(gone.job)
        for entry in gone.history:
            entry.path.unlink(missing_ok=True)

    def stop(self, name: str | None) -> None:
        job = self.visitor(name).job
        if job is not None:
            self.worker.cancel(job)

    def start_of(self, recipe: Recipe) -> Tensor:
        """The picture (C, H, W) that a recipe starts from."""
        start = self._inputs[recipe.start or ""]
        assert isinstance(start, Tensor)
        return start[0]

    # -- making

    def part(self, settings: SamplingSettings, what: Expression | Edit | str, *, larger: bool = True) -> Part:
        """The recipe of an expression, an edit or a prompt under these settings.

        larger: with the stages that make the pictures larger.
        """
        model = self.model(settings.model)
        recipe, inputs = make_recipe(
            model,
            what,
            upscale=None if larger else model.stages[0].shape[1],
            seed=settings.seed,
            count=settings.count,
            steps=settings.steps,
            solver=settings.solver,
            guidance=settings.guidance,
        )
        self._remember(inputs)
        return Part(recipe=recipe, inputs=inputs)

    def again(self, recipe: Recipe) -> Part:
        """A recipe once more, with the input pictures that are remembered."""
        if recipe.model not in self.worker.names:
            raise UsageError(f"the recipe is of the model {recipe.model}, which is not loaded here")
        inputs = dict(self._inputs)
        if not {recipe.start, recipe.keep, recipe.mask, recipe.low} <= {None, *inputs}:
            raise UsageError("the input pictures of the recipe are forgotten: edit them again")
        return Part(recipe=recipe, inputs=inputs)

    def _remember(self, inputs: Inputs) -> None:
        self._inputs.update(inputs)
        for name in inputs:
            self._inputs.move_to_end(name)
        while len(self._inputs) > REMEMBERED:
            self._inputs.popitem(last=False)

    def make(self, session: str | None, parts: Sequence[Part]) -> Iterator[Update]:
        """Make the pictures of some recipes: previews on the way, in the end the pictures of the history.

        Raises:
            Exception: whatever ended the job; a SfumatoError where a picture cannot be made.
        """
        self.stop(session)
        visitor = self.visitor(session)
        remarks = "".join(map(status_html, self._remarks(parts)))
        events: queue.Queue[Event] = queue.Queue()
        job = self.worker.submit(parts, client=f"studio/{session}", previews=PREVIEWS, listener=events.put)
        visitor.job = job
        try:
            for update in self._follow(visitor, job, events):
                yield replace(update, status=update.status + remarks) if update.made else update
        finally:
            self.worker.cancel(job)
            if visitor.job is job:
                visitor.job = None

    def _remarks(self, parts: Sequence[Part]) -> list[str]:
        """What the models do not understand of the prompts of some recipes."""
        found = (
            remark
            for part in parts
            for remark in remarks_on(
                self.model(part.recipe.model), from_json(part.recipe.expression, part.inputs)
            )
        )
        return list(dict.fromkeys(found))

    def _follow(self, visitor: Visitor, job: Job, events: queue.Queue[Event]) -> Iterator[Update]:
        shown: list[Tensor | None] = [None] * len(job)
        steps: list[Stepped] = []
        yield Update(pictures=[], status=status_html("Waiting for its turn …", share=0))
        while True:
            for event in _drained(events):
                match event:
                    case Stepped(picture=i, x0=x0):
                        shown[i] = x0
                        steps.append(event)
                    case Made(picture=i, x=x):
                        shown[i] = x
                    case Ended(state=State.CANCELLED):
                        yield Update(pictures=_previews(shown), status=status_html("Stopped."))
                        return
                    case Ended(error=Exception() as error):
                        raise error
                    case Ended():
                        made = [self._keep(visitor, job, i) for i in range(len(job))]
                        count = "1 picture" if len(made) == 1 else f"{len(made)} pictures"
                        status = status_html(f"{count} in {time.time() - job.created:.1f} s.")
                        captioned = [entry.captioned for entry in made]
                        yield Update(pictures=captioned, status=status, made=made, steps=steps)
                        return
            if any(x is not None for x in shown):
                left = self.worker.seconds_left(job)
                text = f"{job.progress:.0%} · about {max(1, round(left))} s left"
                status = status_html(text, share=job.progress)
                yield Update(pictures=_previews(shown), status=status)

    def _keep(self, visitor: Visitor, job: Job, i: int) -> MadePicture:
        x, recipe = job.pictures[i], job.recipes[i][0]
        assert x is not None
        data = Pictures(x[None], recipe).encode(0, ".png", enlarge=enlargement(x))
        path = Path(self._folder.name, f"sfumato-{recipe.seed}-{secrets.token_hex(4)}.png")
        path.write_bytes(data)
        entry = MadePicture(path=path, recipe=recipe, x=x)
        visitor.history.insert(0, entry)
        for old in visitor.history[HISTORY:]:
            old.path.unlink(missing_ok=True)
        del visitor.history[HISTORY:]
        return entry


def shown(x: Tensor) -> Image:
    """A picture (C, H, W) for the page, small ones enlarged."""
    return to_image(enlarge_pixels(x, enlargement(x)))


def enlargement(x: Tensor) -> int:
    """How many pixels wide the page shows a pixel of a picture."""
    return max(1, min(64, SHOWN // x.shape[-1]))


def status_html(text: str, *, share: float | None = None, wrong: bool = False) -> str:
    """A line of status as HTML. share: of the work that is done, for a bar. wrong: it is an alert."""
    opening = '<div class="status wrong" role="alert">' if wrong else '<div class="status">'
    bar = "" if share is None else f'<div class="bar"><div style="width:{100 * share:.0f}%"></div></div>'
    return f"{opening}{bar}{html.escape(text)}</div>"


def _previews(pictures: Sequence[Tensor | None]) -> list[tuple[Image | str, str]]:
    return [(shown(x), "") for x in pictures if x is not None]


def _drained(events: queue.Queue[Event]) -> list[Event]:
    """All events that are there, after a moment in which more may come."""
    drained = [events.get()]
    if not isinstance(drained[0], Ended):
        time.sleep(EVERY)
    while not events.empty():  # nobody else takes from it
        drained.append(events.get())
    return drained
