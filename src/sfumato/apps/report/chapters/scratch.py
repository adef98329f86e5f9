"""Part B: networks trained from scratch on handwritten digits."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.apps.report.diagram import Diagram
from sfumato.apps.report.page import Block, Code, Drawing, Gap, Row, Table
from sfumato.apps.report.picture_sets import make_row, prompted
from sfumato.apps.report.snippets import program, statement
from sfumato.apps.report.trainings import copy_sheet
from sfumato.apps.report.workspace import model_snippet, picture_snippet
from sfumato.core.expression import unconditional
from sfumato.core.schedule import FixedSigma
from sfumato.models.networks.anatomy import anatomy
from sfumato.pictures import save_picture
from sfumato.study import noised, one_step_denoised
from sfumato.training.loss_curve import draw_loss_curve
from sfumato.training.presets import PRESETS

if TYPE_CHECKING:
    from sfumato.apps.report.trainings import Trained
    from sfumato.apps.report.workspace import Workspace

SIGMAS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)  # of the exercise, for pixels in [0, 1]
NOISED, DENOISED = (0, 3, 7), (2, 5)  # digits that are noised, and that are denoised
SEED = 0
FAST: dict[str, Any] = {
    "solver": "dpm++2m",
    "steps": 20,
}  # of --quick, instead of the 300 steps of the classic models
JUDGED = 500  # digits that are evaluated after a training
CLASSIC, MODERN = ("digits-denoise", "digits-time", "digits-class"), "digits"
# The epochs whose sheets are shown
EPOCHS = {
    "digits-denoise": (1, 5),
    "digits-time": (5, 20),
    "digits-class": (5, 20),
    MODERN: (1, PRESETS[MODERN].epochs),
}
AS_DRAWN = "As the training drew them."  # of the sheets of an epoch


def one_noise_level(work: Workspace) -> Iterator[Block]:
    """The one-step denoiser: network, noising, training, and noise that it never saw."""
    folder = Path(str(files("sfumato"))) / "apps" / "report" / "mnist"
    for digit in {*NOISED, *DENOISED}:
        shutil.copyfile(folder / f"mnist-{digit}.png", work.folder / f"mnist-{digit}.png")
    note = "σ is that of pixels in [0, 1], as the exercise counts."
    yield _over_sigma(work, "The noising process", note, NOISED, None)
    yield from _blocks_of(work, "digits-denoise", _denoiser)


def time(work: Workspace) -> Iterator[Block]:
    """The network that is given the time."""
    yield from _blocks_of(work, "digits-time", _timed)


def classes(work: Workspace) -> Iterator[Block]:
    """The network that is given the class as well; the modern preset beside it; the table."""
    yield from _blocks_of(work, "digits-class", _classed)
    yield from _blocks_of(work, MODERN, _modern)
    yield _figures()
    if not work.quick:
        yield from _judged(work)


def _find(work: Workspace, name: str) -> Trained | None:
    assert work.trainings is not None
    return work.trainings.find(name, EPOCHS[name], work.on_progress)


def _blocks_of(
    work: Workspace, name: str, make: Callable[[Workspace, Trained], Iterator[Block]]
) -> Iterator[Block]:
    """What is shown of the model of a preset; a gap where no weights ship."""
    trained = _find(work, name)
    if trained is not None:
        yield from make(work, trained)
        return
    yield Gap(
        title=f"`{name}`",
        text=f"No weights of `{name}` ship with this version, so its diagram, its loss curve and its samples "
        f"are missing here. `sfumato train {name}` trains it, and so does the report without --quick.",
    )


def _denoiser(work: Workspace, trained: Trained) -> Iterator[Block]:
    yield _network(trained)
    yield from _training(work, trained, "Clean, noised, denoised, from the top.")
    title = "Out of distribution: noise that it was not trained for"
    note = "Trained at σ = 0.5 alone; its estimates from less noise and from more."
    yield _over_sigma(work, title, note, DENOISED, trained)


def _timed(work: Workspace, trained: Trained) -> Iterator[Block]:
    yield _network(trained)
    yield from _training(work, trained, AS_DRAWN)
    settings, model = FAST if work.quick else {}, model_snippet(trained.model)
    alt = "a digit drawn from noise"
    drawn = prompted(None, name="drawn", seed=SEED, count=10, alt=alt, model=model, **settings)
    yield make_row(work, f"Drawn now by `{trained.preset}`", [drawn], note=_how(work), columns=10)


def _classed(work: Workspace, trained: Trained) -> Iterator[Block]:
    yield _network(trained)
    yield from _training(work, trained, AS_DRAWN)
    title, settings = f"Digits by class, `{trained.preset}`", FAST if work.quick else {}
    yield from _by_class(work, trained, "drawn", title, note=_how(work), **settings)


def _modern(work: Workspace, trained: Trained) -> Iterator[Block]:
    yield _network(trained)
    yield from _by_class(work, trained, MODERN, f"The modern preset, `{MODERN}`")


def _by_class(
    work: Workspace, trained: Trained, prefix: str, title: str, *, note: str = "", **settings: Any
) -> Iterator[Block]:
    """One digit of each class; all of them once more without guidance."""
    model = trained.model
    for guidance, word, end in (
        (None, f"guidance {model.defaults.guidance:g}", ""),
        (1.0, "guidance off", "-off"),
    ):
        sets = [
            prompted(
                digit,
                name=f"{prefix}-{digit}{end}",
                seed=SEED + i,
                alt=f"a {digit}, {word}",
                model=model_snippet(model),
                guidance=guidance,
                **settings,
            )
            for i, digit in enumerate(model.class_names)
        ]
        yield make_row(work, f"{title}, {word}", sets, note=note, columns=len(sets))


def _how(work: Workspace) -> str:
    if work.quick:
        steps = FAST["steps"]
        return f"DPM-Solver++ (2M) in {steps} steps, to be quick; the model's default is DDPM in 300."
    return "DDPM in 300 steps, the model's default."


# -------------------------------------------------------------------------------------------- what noise does


def _over_sigma(
    work: Workspace, title: str, note: str, digits: tuple[int, ...], trained: Trained | None
) -> Block:
    """Noised digits over sigma; with a model, what it makes of them in one step.

    In the package pixels lie in [-1, 1], so sigma is twice that of the exercise.
    """
    name = "noised" if trained is None else "denoised"
    shown = []
    for digit in digits:
        picture = picture_snippet(work.folder, f"mnist-{digit}.png").value
        for sigma in SIGMAS:
            x = noised(FixedSigma(2 * sigma), picture, 1.0, seed=SEED) if sigma else picture
            x = x if trained is None else one_step_denoised(trained.model, x, 1.0, unconditional())
            file = f"{work.section}-{name}-{digit}-{sigma:g}.png"
            shown.append(work.save(x, file, f"a {digit}, {name}, sigma {sigma:g}", f"σ = {sigma:g}"))
    lines = [
        f"for digit in {digits}:",
        '    picture = sf.read_picture(f"mnist-{digit}.png")',
        f"    for sigma in {SIGMAS}:",
        "        x = picture",
        "        if sigma > 0:  # pixels lie in [-1, 1] here: twice the sigma of [0, 1]",
        f"            x = noised(FixedSigma(2 * sigma), picture, 1.0, seed={SEED})",
    ]
    needs = []
    uses: list[Callable[..., Any]] = [FixedSigma, noised, save_picture]
    if trained is not None:
        lines.append("        x = one_step_denoised(model, x, 1.0, sf.unconditional())")
        needs.append(model_snippet(trained.model))
        uses.append(one_step_denoised)
    lines.append(f'        save_picture(x.clamp(-1, 1), f"{work.section}-{name}-{{digit}}-{{sigma:g}}.png")')
    code = Code(python=program([statement(lines, *needs, uses=uses)]))
    return Row(title=title, note=note, pictures=tuple(shown), columns=len(SIGMAS), code=code)


# --------------------------------------------------------------------------------------- network and training


def _network(trained: Trained) -> Block:
    """The diagram, from the module itself."""
    model = trained.model
    seen = anatomy(model.network, model.shape)
    drawn = Diagram(seen)
    line = "print(anatomy(model.network, model.shape))"
    return Drawing(
        title=f"The network of `{trained.preset}`",
        note=f"{seen.parameters / 1e6:.2f} million parameters. Drawn from the module itself, one pass "
        "watched: boxes are its parts with the shape that each gives.",
        svg=drawn.svg(),
        least=int(drawn.width),
        code=Code(python=program([statement(line, model_snippet(model), uses=[anatomy])])),
    )


def _training(work: Workspace, trained: Trained, about: str) -> Iterator[Block]:
    """The loss curve and the sheets of two epochs; a gap says what is missing. about: what a sheet shows."""
    record, name = trained.record, trained.preset
    epochs = EPOCHS[name]
    options = [word for epoch in epochs for word in ("--sample-at", str(epoch))]
    command = shlex.join(["sfumato", "train", name, *options])
    if record is None:
        step = trained.model.provenance.get("step")
        done = isinstance(step, int)
        weights = f"These weights were trained for {step} steps" if done else "These weights ship"
        yield Gap(
            title=f"The training of `{name}`",
            text=f"{weights}, and no record of its training lies beside the weights, so there "
            f"is no loss curve and no sheet of an epoch to show. `{command}` makes both, or the report "
            "without --quick.",
        )
        return
    yield Drawing(
        title=f"Training `{name}`: the loss",
        note=f"{record.steps:,} steps of {PRESETS[name].batch}. The line is the mean over a stretch of "
        "steps, the band all of its steps.",
        svg=draw_loss_curve(record),
        code=Code(commands=(command,)),
    )
    for epoch in epochs:
        sheet = trained.sheet(epoch)
        title = f"After epoch {epoch}" if epoch > 1 else "After the first epoch"
        if sheet is None:
            text = f"This training of `{name}` drew no sheet of epoch {epoch}: `{command}` does."
            yield Gap(title=title, text=text)
            continue
        file = f"{work.section}-epoch-{epoch:02d}.png"
        copy_sheet(sheet, work.folder / file)
        yield Row(
            title=title,
            note=about,
            pictures=(work.picture(file, f"sheet of {name} after epoch {epoch}"),),
            wide=True,
            code=Code(commands=(command,)),
        )


# --------------------------------------------------------------------------------------------- the table


def _figures() -> Block:
    """Every preset and its measurements."""
    rows = []
    for name in (*CLASSIC, MODERN):
        preset = PRESETS[name]
        channels = preset.network_config.get("hidden") or preset.network_config.get("width")
        accuracy, fid = (
            next((value for key, value in preset.measured.items() if key.startswith(start)), None)
            for start in ("accuracy", "FID at")
        )
        rows.append(
            (
                f"`{name}`",
                f"{preset.network}, {channels} channels",
                f"{preset.epochs} × {preset.batch}",
                f"{accuracy:.2%}" if isinstance(accuracy, float) else "–",
                f"{fid:g}" if isinstance(fid, float) else "–",
                str(preset.measured.get("training", "–")),
            )
        )
    return Table(
        title="The table of figures",
        note="docs/log.md says how these were measured; this report did not measure them. A dash: not "
        "measured. Accuracy: how often the package's digit classifier reads the digit of the prompt. FID "
        "on its features.",
        head=("preset", "network", "epochs × batch", "accuracy", "FID", "training"),
        rows=tuple(rows),
        code=Code(commands=("sfumato evaluate --model digits --count 1000",)),
    )


def _judged(work: Workspace) -> Iterator[Block]:
    """Measurements of the models that this report trained."""
    from sfumato.evaluation.digits import draw_function, evaluate

    rows: list[tuple[str, ...]] = []
    real: tuple[str, ...] = ()
    for name in ("digits-time", "digits-class", MODERN):
        trained = _find(work, name)
        if trained is None:
            continue
        settings: dict[str, Any] = {} if name == MODERN else FAST
        draw = draw_function(trained.model, on_progress=work.on_progress, **settings)
        report = evaluate(draw, count=JUDGED, seed=SEED, conditional=bool(trained.model.class_names))
        accuracy = "–" if report.accuracy is None else f"{report.accuracy:.2%}"
        rows.append((f"`{name}`", accuracy, f"{report.fid:.2f}", f"{report.seconds_per_100:.1f}"))
        real = ("real test digits", f"{report.yardstick.accuracy:.2%}", f"{report.yardstick.fid:.2f}", "–")
    yield Table(
        title=f"Measured now, on {JUDGED} digits of each",
        note="The FID falls with the number of samples: compare it with that of real digits, not with the "
        "table above. Classic models with DPM-Solver++ (2M) in 20 steps.",
        head=("", "accuracy", "FID", "seconds for 100"),
        rows=(*rows, real) if rows else (),
    )
