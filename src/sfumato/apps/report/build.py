"""Making the report, section after section. Each is kept as soon as it is done.

A folder of a report:

    index.html          the page, rendered again after every section
    pictures/           its pictures, the inputs, and recipes where only they say it
    sections/<id>.json  what was made, with the hash of everything that it depends on
    runs/               the trainings of Part B, unless --quick

A section whose hash still holds is not made again. So a report that was stopped goes on at the section it was
in. Every file appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from sfumato.apps.report.chapters import REPORT, Chapter, Contents
from sfumato.apps.report.page import Gap, Section
from sfumato.apps.report.render import About, render
from sfumato.apps.report.workspace import OnProgress, Subject, Workspace, write_inputs
from sfumato.errors import SfumatoError, UsageError
from sfumato.pictures.files import one_line, publish
from sfumato.version import __version__

if TYPE_CHECKING:
    from sfumato.apps.report.trainings import Trainings

FORMAT = 2  # of a section; a section of another format is made again


@dataclass(frozen=True, kw_only=True)
class MadeSection:
    """A section that is there now. kept: an earlier run made it."""

    chapter: Chapter
    section: Section
    kept: bool


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report to be made.

    subjects: the models and tours by the names that chapters give them; the page names the first. trainings:
    of the chapters without a subject. command: what a person types to make the page.
    """

    subjects: Mapping[str, Subject]
    out: Path
    command: str
    contents: Contents = REPORT
    quick: bool = False
    trainings: Trainings | None = None

    def make(
        self,
        *,
        chapters: Sequence[Chapter] | None = None,
        on_start: Callable[[Chapter], OnProgress] | None = None,
        on_section: Callable[[MadeSection], None] | None = None,
    ) -> list[Section]:
        """Make the sections that are not there yet, and the page; returns the sections in order.

        chapters: those to make, by default all. on_start: called when a section begins; what it returns hears
        of the section's progress. on_section: called when a section is there.

        Raises:
            UsageError: the tour's pictures cannot be read; nothing was begun.
            SfumatoError: the folder cannot be written.
        """
        try:
            for path in (self._pictures, self.out / "sections"):
                path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SfumatoError(f"cannot write into {self.out}: {error.strerror or error}") from error
        files = {
            sha256: file
            for subject in self.subjects.values()
            for sha256, file in write_inputs(subject, self._pictures).items()
        }
        chapters = self.contents.chapters if chapters is None else chapters
        made = {c.id: kept for c in self.contents.chapters if (kept := self._kept(c))}
        self._write_page(made)
        for chapter in chapters:
            there = chapter.id in made
            if not there:
                work = Workspace(
                    section=chapter.id,
                    subject=self._subject(chapter),
                    folder=self._pictures,
                    quick=self.quick,
                    trainings=self.trainings,
                    on_progress=on_start(chapter) if on_start else lambda done, total: None,  # noqa: ARG005
                    files=files,
                )
                made[chapter.id] = self._made(chapter, work)
                publish(self._file(chapter), made[chapter.id].model_dump_json(indent=1).encode())
                self._write_page(made)
            if on_section is not None:
                on_section(MadeSection(chapter=chapter, section=made[chapter.id], kept=there))
        return [made[chapter.id] for chapter in chapters]

    @property
    def _pictures(self) -> Path:
        return self.out / "pictures"

    def _file(self, chapter: Chapter) -> Path:
        return self.out / "sections" / f"{chapter.id}.json"

    @property
    def _first(self) -> Subject:
        return next(iter(self.subjects.values()))

    def _subject(self, chapter: Chapter) -> Subject:
        return self._first if chapter.subject is None else self.subjects[chapter.subject]

    def _made(self, chapter: Chapter, work: Workspace) -> Section:
        """The section; it says itself whatever goes wrong in it."""
        start = time.monotonic()
        blocks, error = [], ""
        for old in work.folder.glob(f"{chapter.id}-*"):
            old.unlink()
        try:
            for block in chapter.make(work):
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

    def _kept(self, chapter: Chapter) -> Section | None:
        """The section of an earlier run, if it is whole and still true."""
        try:
            section = Section.model_validate_json(self._file(chapter).read_bytes())
        except (OSError, ValidationError):
            return None
        return section if section.key == self._key(chapter) and section.status == "done" else None

    def _key(self, chapter: Chapter) -> str:
        """The hash of what a section depends on."""
        subject = self._subject(chapter)
        model = subject.model
        depends = {
            "format": FORMAT,
            "version": __version__,
            "chapter": chapter.id,
            "quick": self.quick,
            "model": [[m.name, m.sha256, str(m.dtype), str(m.device)] for m in model.stages],
        }
        if chapter.subject is not None:
            depends["tour"] = subject.tour.model_dump(mode="json")
            depends["files"] = [_sha256(subject.tour_folder / name) for name in subject.tour.files()]
        elif self.trainings is not None:
            depends["weights"] = self.trainings.state()
        return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()

    def _write_page(self, made: dict[str, Section]) -> None:
        model = self._first.model
        about = About(
            model=model.name,
            weights=model.sha256 or "",
            quick=self.quick,
            command=self.command,
            version=__version__,
            device=str(model.stages[0].device),
        )
        publish(self.out / "index.html", render(self.contents, made, about).encode())


def chosen(ids: Sequence[str]) -> tuple[Chapter, ...]:
    """The chapters of the report with these ids, in its order; all for none.

    Raises:
        UsageError: there is no such section.
    """
    known = {chapter.id: chapter for chapter in REPORT.chapters}
    for name in ids:
        if name not in known:
            raise UsageError(f"--section {name}: there is no such section; there are {', '.join(known)}")
    return tuple(chapter for chapter in REPORT.chapters if not ids or chapter.id in ids)


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
