"""Making the report: section after section, each kept as it is done.

A folder of a report:

    index.html          the page, rendered anew after every section
    pictures/           its pictures, the inputs, and recipes where only they say it
    sections/<id>.json  what was made, with the hash of all that it depends on
    runs/               the trainings of Part B, unless --quick

A section whose hash still holds is not made again; so a report that was stopped goes on at the section it was
in, and a changed prompt makes all but nothing else. Every file appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from sfumato import __version__
from sfumato.apps.report.chapters import CHAPTERS, Chapter
from sfumato.apps.report.desk import Desk, unseen
from sfumato.apps.report.page import Gap, Section
from sfumato.apps.report.render import About, render
from sfumato.errors import SfumatoError, UsageError
from sfumato.pictures.files import one_line, publish

if TYPE_CHECKING:
    from sfumato.apps.report.tour import Tour
    from sfumato.apps.report.trainings import Show, Trainings
    from sfumato.models.model import Model

FORMAT = 1  # of a section; another one is made again


@dataclass(frozen=True, kw_only=True)
class Told:
    """What happened to a section."""

    chapter: Chapter
    section: Section
    kept: bool  # it was there already


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report to be made. beside: where the tour's files lie. command: what a person types to make it."""

    model: Model
    tour: Tour
    beside: Path
    out: Path
    quick: bool
    trainings: Trainings
    command: str

    def make(
        self,
        *,
        chapters: Sequence[Chapter] = CHAPTERS,
        watch: Callable[[Chapter], Show] | None = None,
        tell: Callable[[Told], None] | None = None,
    ) -> list[Section]:
        """Make what is not there yet, and the page; returns the sections in order.

        watch: a bar for a section that begins. tell: hears of each section when it is there.

        Raises:
            UsageError: the tour's pictures cannot be read; nothing was begun.
            SfumatoError: the folder cannot be written.
        """
        pictures, sections = self.out / "pictures", self.out / "sections"
        try:
            for folder in (pictures, sections):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SfumatoError(f"cannot write into {self.out}: {error.strerror or error}") from error
        desk = Desk(
            model=self.model,
            tour=self.tour,
            folder=pictures,
            beside=self.beside,
            quick=self.quick,
            trainings=self.trainings,
        )
        desk.lay_out()
        made = {chapter.id: kept for chapter in CHAPTERS if (kept := self._kept(chapter, sections))}
        self._page(made)
        for chapter in chapters:
            there = chapter.id in made
            if not there:
                desk.show = watch(chapter) if watch else unseen
                made[chapter.id] = self._made(chapter, desk)
                publish(_file(sections, chapter), made[chapter.id].model_dump_json(indent=1).encode())
                self._page(made)
            if tell is not None:
                tell(Told(chapter=chapter, section=made[chapter.id], kept=there))
        return [made[chapter.id] for chapter in chapters]

    def _made(self, chapter: Chapter, desk: Desk) -> Section:
        """The section; whatever goes wrong in it is said in it."""
        start = time.monotonic()
        blocks, error = [], ""
        for old in desk.folder.glob(f"{chapter.id}-*"):
            old.unlink()
        try:
            for block in chapter.make(desk):
                blocks.append(block)
        except Exception as failure:  # of any kind: the other sections still come
            kind = "" if isinstance(failure, SfumatoError) else f"{type(failure).__name__}: "
            error = one_line(f"{kind}{failure}")
        incomplete = any(isinstance(block, Gap) for block in blocks)
        return Section(
            id=chapter.id,
            key=self._key(chapter),
            status="failed" if error else "incomplete" if incomplete else "done",
            error=error,
            seconds=time.monotonic() - start,
            blocks=tuple(blocks),
        )

    def _kept(self, chapter: Chapter, folder: Path) -> Section | None:
        """The section of an earlier run, if it is whole and still true."""
        try:
            section = Section.model_validate_json(_file(folder, chapter).read_bytes())
        except (OSError, ValidationError):
            return None
        return section if section.key == self._key(chapter) and section.status == "done" else None

    def _key(self, chapter: Chapter) -> str:
        """The hash of what a section depends on."""
        depends = {
            "format": FORMAT,
            "version": __version__,
            "chapter": chapter.id,
            "quick": self.quick,
            "model": [self.model.name, self.model.sha256, str(self.model.dtype), str(self.model.device)],
        }
        if chapter.part == "A":
            depends["tour"] = self.tour.model_dump(mode="json")
            depends["files"] = [_sha256(self.beside / name) for name in self.tour.files()]
        else:
            depends["weights"] = self.trainings.state()
        return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()

    def _page(self, made: dict[str, Section]) -> None:
        about = About(
            model=self.model.name,
            weights=self.model.sha256 or "",
            quick=self.quick,
            command=self.command,
            version=__version__,
            device=str(self.model.device),
        )
        publish(self.out / "index.html", render(CHAPTERS, made, about).encode())


def chosen(ids: Sequence[str]) -> tuple[Chapter, ...]:
    """The chapters of these ids, in the order of the report; all for none.

    Raises:
        UsageError: there is no such section.
    """
    known = {chapter.id: chapter for chapter in CHAPTERS}
    for name in ids:
        if name not in known:
            raise UsageError(f"no section {name!r}: there are {', '.join(known)}")
    return tuple(chapter for chapter in CHAPTERS if not ids or chapter.id in ids)


def _file(folder: Path, chapter: Chapter) -> Path:
    return folder / f"{chapter.id}.json"


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
