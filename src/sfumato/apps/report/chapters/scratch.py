"""Part B: networks trained from scratch on handwritten digits."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.apps.report import diagram
from sfumato.apps.report.page import Block, Code, Drawing, Gap, Row, Table
from sfumato.apps.report.picture_sets import PictureSet, make_row
from sfumato.apps.report.snippets import Snippet, call, literal, program, statement
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
    from torch import Tensor

    from sfumato.apps.report.trainings import Trained, Trainings
    from sfumato.apps.report.workspace import Workspace
    from sfumato.training.presets import Preset

SIGMAS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)  # of the exercise, for pixels in [0, 1]
NOISED, DENOISED = (0, 3, 7), (2, 5)  # digits that are noised, and that are denoised
SEED = 0
FAST_SOLVER, FAST_STEPS = "dpm++2m", 20  # of --quick, instead of the 300 steps of the classic models
JUDGED = 500  # digits that are evaluated after a training
CLASSIC, MODERN = ("digits-denoise", "digits-time", "digits-class"), "digits"
# The epochs whose sheets are shown
EPOCHS = {
    "digits-denoise": (1, 5),
    "digits-time": (5, 20),
    "digits-class": (5, 20),
    MODERN: (1, PRESETS[MODERN].epochs),
}


def one_noise_level(work: Workspace) -> Iterator[Block]:
    """The one-step denoiser: network, noising, training, and noise that it never saw."""
    folder = Path(str(files("sfumato"))) / "apps" / "report" / "mnist"
    for digit in {*NOISED, *DENOISED}:
        shutil.copyfile(folder / f"mnist-{digit}.png", work.folder / f"mnist-{digit}.png")
    yield _noising(work)
    trained = _find(work, "digits-denoise")
    if trained is None:
        yield _no_model("digits-denoise")
        return
    yield _network(trained, "digits-denoise")
    yield from _training(work, trained, "digits-denoise", "Clean, noised, denoised, from the top.")
    yield _other_noise(work, trained)


def time(work: Workspace) -> Iterator[Block]:
    """The network that is given the time."""
    name = "digits-time"
    trained = _find(work, name)
    if trained is None:
        yield _no_model(name)
        return
    yield from _classic(work, trained, name)
    drawn = PictureSet(
        what=call(unconditional),
        command=("generate",),
        name="drawn",
        seed=SEED,
        count=10,
        alt="a digit drawn from noise",
        model=model_snippet(trained.model),
        solver=FAST_SOLVER if work.quick else None,
        steps=FAST_STEPS if work.quick else None,
    )
    pictures, code = make_row(work, [drawn])
    yield Row(
        title=f"Drawn now by `{name}`",
        note=_how(work),
        pictures=pictures,
        columns=len(pictures),
        code=code,
    )


def classes(work: Workspace) -> Iterator[Block]:
    """The network that is given the class as well; the modern preset beside it; the table."""
    name = "digits-class"
    trained = _find(work, name)
    if trained is None:
        yield _no_model(name)
    else:
        yield from _classic(work, trained, name)
        yield from _by_class(work, trained, "drawn", f"Digits by class, `{name}`", classic=True)
    modern = _find(work, MODERN)
    if modern is None:
        yield _no_model(MODERN)
    else:
        yield _network(modern, MODERN)
        yield from _by_class(work, modern, MODERN, f"The modern preset, `{MODERN}`", classic=False)
    yield _figures()
    if not work.quick:
        yield from _judged(work)


def _find(work: Workspace, name: str) -> Trained | None:
    return _trainings(work).find(name, EPOCHS[name], work.on_progress)


def _trainings(work: Workspace) -> Trainings:
    assert work.trainings is not None
    return work.trainings


def _classic(work: Workspace, trained: Trained, name: str) -> Iterator[Block]:
    """Diagram, loss, sheets of two epochs."""
    yield _network(trained, name)
    yield from _training(work, trained, name, "As the training drew them.")


def _by_class(
    work: Workspace, trained: Trained, prefix: str, title: str, *, classic: bool
) -> Iterator[Block]:
    """One digit of each class; all of them once more without guidance."""
    model = trained.model
    fast = classic and work.quick
    for guidance, word in ((None, f"guidance {model.defaults.guidance:g}"), (1.0, "guidance off")):
        sets = [
            PictureSet(
                what=literal(digit),
                command=("generate", digit),
                name=f"{prefix}-{digit}{'' if guidance is None else '-off'}",
                seed=SEED + i,
                alt=f"a {digit}, {word}",
                model=model_snippet(model),
                guidance=guidance,
                solver=FAST_SOLVER if fast else None,
                steps=FAST_STEPS if fast else None,
            )
            for i, digit in enumerate(model.class_names)
        ]
        pictures, code = make_row(work, sets)
        yield Row(
            title=f"{title}, {word}",
            note=_how(work) if classic else "",
            pictures=pictures,
            columns=len(sets),
            code=code,
        )


def _how(work: Workspace) -> str:
    if work.quick:
        return f"DPM-Solver++ (2M) in {FAST_STEPS} steps, to be quick; the model's default is DDPM in 300."
    return "DDPM in 300 steps, the model's default."


# -------------------------------------------------------------------------------------------- what noise does


def _noising(work: Workspace) -> Block:
    """x + sigma eps over sigma."""
    return Row(
        title="The noising process",
        note="σ is that of pixels in [0, 1], as the exercise counts.",
        columns=len(SIGMAS),
        **_over_sigma(work, "noised", NOISED, lambda x: x, None),
    )


def _other_noise(work: Workspace, trained: Trained) -> Block:
    """The denoiser at levels of noise that it was not trained for."""
    return Row(
        title="Out of distribution: noise that it was not trained for",
        note="Trained at σ = 0.5 alone; its estimates from less noise and from more.",
        columns=len(SIGMAS),
        **_over_sigma(
            work,
            "denoised",
            DENOISED,
            lambda x: one_step_denoised(trained.model, x, 1.0, unconditional()),
            model_snippet(trained.model),
        ),
    )


def _over_sigma(
    work: Workspace,
    name: str,
    digits: tuple[int, ...],
    change: Callable[[Tensor], Tensor],
    model: Snippet | None,
) -> dict[str, Any]:
    """Pictures of noised digits, changed, and their code. model: denoises them in one step.

    In the package pixels lie in [-1, 1], so sigma is twice that of the exercise.
    """
    shown = []
    for digit in digits:
        picture = picture_snippet(work.folder, f"mnist-{digit}.png").value
        for sigma in SIGMAS:
            x = noised(FixedSigma(2 * sigma), picture, 1.0, seed=SEED) if sigma else picture
            file = f"{work.section}-{name}-{digit}-{sigma:g}.png"
            shown.append(work.save(change(x), file, f"a {digit}, {name}, sigma {sigma:g}", f"σ = {sigma:g}"))
    lines = [
        f"for digit in {digits}:",
        '    picture = sf.read_picture(f"mnist-{digit}.png")',
        f"    for sigma in {SIGMAS}:",
        "        x = picture",
        "        if sigma > 0:  # pixels lie in [-1, 1] here: twice the sigma of [0, 1]",
        f"            x = noised(FixedSigma(2 * sigma), picture, 1.0, seed={SEED})",
    ]
    if model is not None:
        lines.append("        x = one_step_denoised(model, x, 1.0, sf.unconditional())")
    lines.append(f'        save_picture(x.clamp(-1, 1), f"{work.section}-{name}-{{digit}}-{{sigma:g}}.png")')
    uses: list[Callable[..., Any]] = [FixedSigma, noised, save_picture]
    if model is not None:
        uses.append(one_step_denoised)
    needs = [model] if model is not None else []
    return {"pictures": tuple(shown), "code": Code(python=program([statement(lines, *needs, uses=uses)]))}


# --------------------------------------------------------------------------------------- network and training


def _network(trained: Trained, name: str) -> Block:
    """The diagram, from the module itself."""
    model = trained.model
    seen = anatomy(model.network, model.shape)
    line = "print(anatomy(model.network, model.shape))"
    return Drawing(
        title=f"The network of `{name}`",
        note=f"{seen.parameters / 1e6:.2f} million parameters. Drawn from the module itself, one pass "
        "watched: boxes are its parts with the shape that each gives.",
        svg=diagram.draw(seen),
        least=diagram.width_of(seen),
        code=Code(python=program([statement(line, model_snippet(model), uses=[anatomy])])),
    )


def _training(work: Workspace, trained: Trained, name: str, about: str) -> Iterator[Block]:
    """The loss curve and the sheets of two epochs; a gap says what is missing. about: what a sheet shows."""
    record, preset, epochs = trained.record, PRESETS[name], EPOCHS[name]
    options = [word for epoch in epochs for word in ("--sample-at", str(epoch))]
    command = shlex.join(["sfumato", "train", name, *options])
    if record is None:
        yield Gap(
            title=f"The training of `{name}`",
            text=f"{_trained_for(trained)}, and no record of its training lies beside the weights, so there "
            f"is no loss curve and no sheet of an epoch to show. `{command}` makes both, or the report "
            "without --quick.",
        )
        return
    yield Drawing(
        title=f"Training `{name}`: the loss",
        note=f"{record.steps:,} steps of {preset.batch}. The line is the mean over a stretch of steps, "
        "the band all of its steps.",
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


def _trained_for(trained: Trained) -> str:
    """How long the weights were trained, as their provenance says."""
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
    """Every preset and its measurements."""
    rows = []
    for name in (*CLASSIC, MODERN):
        preset = PRESETS[name]
        rows.append(
            (f"`{name}`", _network_words(preset), f"{preset.epochs} × {preset.batch}", *_measured(preset))
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


def _judged(work: Workspace) -> Iterator[Block]:
    """Measurements of the models that this report trained."""
    from sfumato.evaluation.digits import draw_function, evaluate

    rows = []
    for name in ("digits-time", "digits-class", MODERN):
        trained = _find(work, name)
        if trained is None:
            continue
        modern = name == MODERN
        draw = draw_function(
            trained.model,
            solver=None if modern else FAST_SOLVER,
            steps=None if modern else FAST_STEPS,
            on_progress=work.on_progress,
        )
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
