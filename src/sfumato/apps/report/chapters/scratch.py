"""Part B: networks trained from scratch on handwritten digits."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.apps.report import curve, diagram
from sfumato.apps.report.desk import model_said, picture_said
from sfumato.apps.report.page import Block, Drawing, Gap, Row, Source, Table
from sfumato.apps.report.said import as_said, say, script
from sfumato.apps.report.shots import Shot, source, take
from sfumato.apps.report.trainings import copy_sheet
from sfumato.core.expression import unconditional
from sfumato.core.schedule import FixedSigma
from sfumato.models.networks.anatomy import anatomy
from sfumato.study import noised, one_step_denoised
from sfumato.training.presets import PRESETS

if TYPE_CHECKING:
    from sfumato.apps.report.desk import Desk
    from sfumato.apps.report.trainings import Trained
    from sfumato.training.presets import Preset

SIGMAS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)  # of the exercise, for pixels in [0, 1]
NOISED, DENOISED = (0, 3, 7), (2, 5)  # digits that are noised, and that are denoised
SEED = 0
FAST_SOLVER, FAST_STEPS = "dpm++2m", 20  # of --quick, instead of the 300 steps of the classic models
JUDGED = 500  # digits that are evaluated after a training
CLASSIC, MODERN = ("digits-denoise", "digits-time", "digits-class"), "digits"


def one_noise_level(desk: Desk) -> Iterator[Block]:
    """The one-step denoiser: network, noising, training, and noise that it never saw."""
    _lay_out_digits(desk)
    yield _noising(desk)
    trained = desk.trainings.find("digits-denoise", (1, 5), desk.show)
    if trained is None:
        yield _no_model("digits-denoise")
        return
    yield _network(trained, "digits-denoise")
    sheets = Sheets("b1", (1, 5), "Clean, noised, denoised, from the top.")
    yield from _training(desk, trained, "digits-denoise", sheets)
    yield _other_noise(desk, trained)


def time(desk: Desk) -> Iterator[Block]:
    """The network that is told the time."""
    yield from _sampler(desk, "digits-time", "b2")


def classes(desk: Desk) -> Iterator[Block]:
    """The network that is told the class as well; the modern preset beside it; the table."""
    yield from _sampler(desk, "digits-class", "b3")
    modern = desk.trainings.find(MODERN, (1, PRESETS[MODERN].epochs), desk.show)
    if modern is None:
        yield _no_model(MODERN)
    else:
        yield _network(modern, MODERN)
        yield from _by_class(desk, modern, f"b3-{MODERN}", f"The modern preset, `{MODERN}`", classic=False)
    yield _figures()
    if not desk.quick:
        yield from _judged(desk)


def _sampler(desk: Desk, name: str, prefix: str) -> Iterator[Block]:
    """Diagram, loss, sheets of two epochs, and digits drawn now."""
    epochs = (5, 20)
    trained = desk.trainings.find(name, epochs, desk.show)
    if trained is None:
        yield _no_model(name)
        return
    yield _network(trained, name)
    yield from _training(desk, trained, name, Sheets(prefix, epochs, "As the training drew them."))
    if trained.model.class_names:
        yield from _by_class(desk, trained, prefix, f"Digits by class, `{name}`")
        return
    shot = Shot(
        what=say(unconditional),
        command=("generate",),
        name=f"{prefix}-drawn",
        seed=SEED,
        count=10,
        alt="a digit drawn from noise",
        model=model_said(trained.model),
        solver=FAST_SOLVER if desk.quick else None,
        steps=FAST_STEPS if desk.quick else None,
    )
    (pictures,) = take(desk, [shot])
    yield Row(
        title=f"Drawn now by `{name}`",
        note=_how(desk),
        pictures=tuple(pictures),
        columns=len(pictures),
        source=source(desk, [shot]),
    )


def _by_class(
    desk: Desk, trained: Trained, prefix: str, title: str, *, classic: bool = True
) -> Iterator[Block]:
    """One digit of each class; all of them once more without guidance."""
    model = trained.model
    fast = classic and desk.quick
    for guidance, word in ((None, f"guidance {model.defaults.guidance:g}"), (1.0, "guidance off")):
        shots = [
            Shot(
                what=as_said(digit),
                command=("generate", digit),
                name=f"{prefix}-{digit}{'' if guidance is None else '-off'}",
                seed=SEED + i,
                alt=f"a {digit}, {word}",
                model=model_said(model),
                guidance=guidance,
                solver=FAST_SOLVER if fast else None,
                steps=FAST_STEPS if fast else None,
            )
            for i, digit in enumerate(model.class_names)
        ]
        yield Row(
            title=f"{title}, {word}",
            note=_how(desk) if classic else "",
            pictures=tuple(shown for (shown,) in take(desk, shots)),
            columns=len(shots),
            source=source(desk, shots),
        )


def _how(desk: Desk) -> str:
    if desk.quick:
        return f"DPM-Solver++ (2M) in {FAST_STEPS} steps, to be quick; the model's own way is DDPM in 300."
    return "DDPM in 300 steps, the model's own way."


# -------------------------------------------------------------------------------------------- what noise does


def _lay_out_digits(desk: Desk) -> None:
    folder = Path(str(files("sfumato"))) / "apps" / "report" / "mnist"
    for digit in {*NOISED, *DENOISED}:
        shutil.copyfile(folder / f"mnist-{digit}.png", desk.folder / f"mnist-{digit}.png")


def _noising(desk: Desk) -> Block:
    """x + sigma eps over sigma; in house units, where pixels lie in [-1, 1], sigma is twice as large."""
    shown = []
    for digit in NOISED:
        picture = picture_said(desk.folder, f"mnist-{digit}.png").value
        for sigma in SIGMAS:
            x = noised(FixedSigma(2 * sigma), picture, 1.0, seed=SEED) if sigma else picture
            file = f"b1-noised-{digit}-{sigma:g}.png"
            shown.append(desk.keep(x, file, f"a {digit}, sigma {sigma:g}", f"σ = {sigma:g}"))
    body = [
        f"for digit in {NOISED}:",
        '    picture = sf.read_picture(f"mnist-{digit}.png")',
        f"    for sigma in {SIGMAS}:",
        "        x = picture",
        "        if sigma > 0:  # pixels lie in [-1, 1] here: twice the sigma of [0, 1]",
        f"            x = noised(FixedSigma(2 * sigma), picture, 1.0, seed={SEED})",
        '        save_picture(x.clamp(-1, 1), f"b1-noised-{digit}-{sigma:g}.png")',
    ]
    imports = {
        "from sfumato.core.schedule import FixedSigma",
        "from sfumato.pictures import save_picture",
        "from sfumato.study import noised",
    }
    return Row(
        title="The noising process",
        note="σ is that of pixels in [0, 1], as the exercise counts.",
        pictures=tuple(shown),
        columns=len(SIGMAS),
        source=Source(python=script(frozenset(imports), body)),
    )


def _other_noise(desk: Desk, trained: Trained) -> Block:
    """The denoiser at levels of noise that it was not trained for."""
    shown = []
    for digit in DENOISED:
        picture = picture_said(desk.folder, f"mnist-{digit}.png").value
        for sigma in SIGMAS:
            x = noised(FixedSigma(2 * sigma), picture, 1.0, seed=SEED) if sigma else picture
            clean = one_step_denoised(trained.model, x, 1.0, unconditional())
            file = f"b1-denoised-{digit}-{sigma:g}.png"
            shown.append(desk.keep(clean, file, f"a {digit} denoised from sigma {sigma:g}", f"σ = {sigma:g}"))
    body = [
        *model_said(trained.model).before,
        f"for digit in {DENOISED}:",
        '    picture = sf.read_picture(f"mnist-{digit}.png")',
        f"    for sigma in {SIGMAS}:",
        "        x = picture",
        "        if sigma > 0:",
        f"            x = noised(FixedSigma(2 * sigma), picture, 1.0, seed={SEED})",
        "        x = one_step_denoised(model, x, 1.0, sf.unconditional())",
        '        save_picture(x, f"b1-denoised-{digit}-{sigma:g}.png")',
    ]
    imports = {
        "from sfumato.core.schedule import FixedSigma",
        "from sfumato.pictures import save_picture",
        "from sfumato.study import noised, one_step_denoised",
        *model_said(trained.model).imports,
    }
    return Row(
        title="Out of distribution: noise that it was not trained for",
        note="Trained at σ = 0.5 alone; what it makes of less and of more.",
        pictures=tuple(shown),
        columns=len(SIGMAS),
        source=Source(python=script(frozenset(imports), body)),
    )


# --------------------------------------------------------------------------------------- network and training


def _network(trained: Trained, name: str) -> Block:
    """The diagram, from the module itself."""
    model = trained.model
    seen = anatomy(model.network, model.shape)
    imports = {"from sfumato.models.networks.anatomy import anatomy", *model_said(model).imports}
    lines = [*model_said(model).before, "print(anatomy(model.network, model.shape))"]
    return Drawing(
        title=f"The network of `{name}`",
        note=f"{seen.parameters / 1e6:.2f} million parameters. Drawn from the module itself, one pass "
        "watched: boxes are its parts with the shape that each gives.",
        svg=diagram.draw(seen),
        least=diagram.width_of(seen),
        source=Source(python=script(frozenset(imports), lines)),
    )


@dataclass(frozen=True)
class Sheets:
    """The sheets that a training is to have drawn: what their files begin with, of which epochs, of what."""

    prefix: str
    epochs: tuple[int, ...]
    about: str


def _training(desk: Desk, trained: Trained, name: str, sheets: Sheets) -> Iterator[Block]:
    """The loss curve and the sheets of two epochs; what is not there is said."""
    record, preset = trained.record, PRESETS[name]
    command = shlex.join(
        ["sfumato", "train", name, *(w for epoch in sheets.epochs for w in ("--sample-at", str(epoch)))]
    )
    if record is None:
        yield Gap(
            title=f"The training of `{name}`",
            text=f"{_so_far(trained)}, and no record of its training lies beside the weights, so there is "
            f"no loss curve and no sheet of an epoch to show. `{command}` makes both, or the report "
            "without --quick.",
        )
        return
    yield Drawing(
        title=f"Training `{name}`: the loss",
        note=f"{record.steps:,} steps of {preset.batch}. The line is the mean over a stretch of steps, "
        "the band all of its steps.",
        svg=curve.draw(record),
        source=Source(commands=(command,)),
    )
    for epoch in sheets.epochs:
        sheet = trained.sheet(epoch)
        title = f"After epoch {epoch}" if epoch > 1 else "After the first epoch"
        if sheet is None:
            yield Gap(
                title=title,
                text=f"The training that is at hand did not draw epoch {epoch} of `{name}`: `{command}` "
                "does.",
            )
            continue
        file = f"{sheets.prefix}-epoch-{epoch:02d}.png"
        copy_sheet(sheet, desk.folder / file)
        yield Row(
            title=title,
            note=sheets.about,
            pictures=(desk.shown(file, f"sheet of {name} after epoch {epoch}"),),
            wide=True,
            source=Source(commands=(command,)),
        )


def _so_far(trained: Trained) -> str:
    """How long the weights were trained, from what they say of themselves."""
    step = trained.model.provenance.get("step")
    return f"These weights were trained for {step} steps" if isinstance(step, int) else "These weights ship"


def _no_model(name: str) -> Block:
    return Gap(
        title=f"`{name}`",
        text=f"No weights of `{name}` ship with this version, so its diagram, its loss curve and its samples "
        f"are missing here. `sfumato train {name}` trains it, and so does the report without --quick.",
    )


# --------------------------------------------------------------------------------------------- the table


def _figures() -> Block:
    """Every preset, what it is, and what was measured of it."""
    rows = []
    for name in (*CLASSIC, MODERN):
        preset = PRESETS[name]
        rows.append(
            (f"`{name}`", _network_words(preset), f"{preset.epochs} × {preset.batch}", *_measured(preset))
        )
    return Table(
        title="The table of figures",
        note="Measured where docs/log.md says, and not by this report; a dash where nothing was. "
        "Accuracy: how often the package's digit classifier reads the digit that was asked for. FID "
        "on its features.",
        head=("preset", "network", "epochs × batch", "accuracy", "FID", "training"),
        rows=tuple(rows),
        source=Source(commands=("sfumato evaluate --model digits --count 1000",)),
    )


def _network_words(preset: Preset) -> str:
    parameters = preset.network_config.get("hidden") or preset.network_config.get("width")
    return f"{preset.network}, {parameters} channels"


def _measured(preset: Preset) -> tuple[str, str, str]:
    known = preset.measured
    accuracy = next((v for key, v in known.items() if key.startswith("accuracy")), None)
    fid = next((v for key, v in known.items() if key.startswith("FID at")), None)
    return (
        f"{accuracy:.2%}" if isinstance(accuracy, float) else "–",
        f"{fid:g}" if isinstance(fid, float) else "–",
        str(known.get("training", "–")),
    )


def _judged(desk: Desk) -> Iterator[Block]:
    """What the trainings of this report came to."""
    from sfumato.evaluation.digits import evaluate, sampled

    rows = []
    for name in ("digits-time", "digits-class", MODERN):
        trained = desk.trainings.find(
            name, (5, 20) if name != MODERN else (1, PRESETS[MODERN].epochs), desk.show
        )
        if trained is None:
            continue
        modern = name == MODERN
        draw = sampled(
            trained.model,
            solver=None if modern else FAST_SOLVER,
            steps=None if modern else FAST_STEPS,
            on_progress=desk.show,
        )
        report = evaluate(draw, count=JUDGED, seed=SEED, asked=bool(trained.model.class_names))
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
