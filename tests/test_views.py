import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import avg_pool2d

from sfumato.core.engine import Engine
from sfumato.core.expression import mean, prompt
from sfumato.core.noise import Noise
from sfumato.core.path import make_path
from sfumato.core.sampler import sampler
from sfumato.core.schedule import BetaTable
from sfumato.core.solvers import DDIM, DDPM, Solver
from sfumato.core.views import (
    VIEWS,
    InnerCircle,
    Jigsaw,
    LinearView,
    Negate,
    PatchPermute,
    PixelMap,
    PixelPermute,
    Skew,
    SquareHinge,
    View,
    check_orthogonal,
    make_view,
)
from sfumato.errors import UsageError
from toys import Toy

TEXTS = [
    *VIEWS,
    "skew:amount=-0.3",
    "patch_permute:patches=4,seed=3",
    "pixel_permute:seed=9",
    "jigsaw:seed=1",
    "jigsaw:seed=2",
    "inner_circle:radius=1,turns=1",
    "inner_circle:radius=0.4,turns=3",
    "square_hinge:squares=2",
]
PERMUTING = [text for text in TEXTS if text != "negate"]
SQUARE_ONLY = ["rotate_cw", "rotate_ccw", "jigsaw", "square_hinge", "inner_circle:turns=1"]
SAME_AT_EVERY_SIZE = [
    text
    for text in TEXTS
    if text.partition(":")[0] not in ("skew", "pixel_permute", "jigsaw", "inner_circle")
]

quick = settings(max_examples=20, deadline=None)
texts = st.sampled_from(TEXTS)
seeds = st.integers(0, 10_000)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def larger(x: Tensor, factor: int) -> Tensor:
    return x.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


def matrix(carry, height: int, width: int) -> Tensor:
    """The dense matrix of a map of (1, height, width) pictures, a column for each pixel."""
    pixels = torch.eye(height * width).view(-1, 1, height, width)
    return carry(pixels).flatten(1).T


# --------------------------------------------------------------------------------------- what every view is


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("side", [8, 16])
def test_the_matrix_is_orthogonal_and_the_inverse_is_its_transpose(text, side):
    view = make_view(text)
    v, back = matrix(view.forward, side, side), matrix(view.inverse, side, side)
    assert torch.equal(v.T @ v, torch.eye(side * side))
    assert torch.equal(v @ v.T, torch.eye(side * side))
    assert torch.equal(back, v.T)


@quick
@given(text=texts, seed=seeds, side=st.sampled_from([8, 24, 56, 64]), channels=st.integers(1, 4))
def test_round_trip_norm_and_linearity(text, seed, side, channels):
    view = make_view(text)
    x, y = normal(2, channels, side, side, seed=seed), normal(2, channels, side, side, seed=seed + 1)
    seen = view.forward(x)
    assert seen.shape == x.shape
    assert torch.equal(view.inverse(seen), x)
    assert torch.equal(view.forward(view.inverse(x)), x)
    assert math.isclose(float(seen.norm()), float(x.norm()), rel_tol=1e-5)
    torch.testing.assert_close(view.forward(0.5 * x - 2 * y), 0.5 * seen - 2 * view.forward(y))
    check_orthogonal(view, (channels, side, side))


@pytest.mark.parametrize("text", TEXTS)
def test_every_picture_and_every_channel_is_treated_alike(text):
    x = normal(2, 3, 64, 64)
    seen = make_view(text).forward(x)
    for i in range(2):
        for c in range(3):
            assert torch.equal(make_view(text).forward(x[i : i + 1, c : c + 1]), seen[i : i + 1, c : c + 1])


@pytest.mark.parametrize("text", PERMUTING)
def test_permutations_keep_the_values(text):
    x = normal(1, 1, 64, 64)
    seen = make_view(text).forward(x)
    assert torch.equal(seen.flatten().sort().values, x.flatten().sort().values)
    assert (text == "identity") == torch.equal(seen, x)


@pytest.mark.parametrize("text", SAME_AT_EVERY_SIZE)
@pytest.mark.parametrize(("side", "factor"), [(64, 4), (32, 2), (56, 3)])
def test_the_view_of_an_enlarged_picture_is_the_enlarged_view(text, side, factor):
    view, x = make_view(text), normal(1, 2, side, side)
    assert torch.equal(view.forward(larger(x, factor)), larger(view.forward(x), factor))


@pytest.mark.parametrize(
    "text", [t for t in SAME_AT_EVERY_SIZE if "patches=8" not in t and t != "patch_permute"]
)
def test_also_from_28(text):
    view, x = make_view(text), normal(1, 1, 28, 28)
    assert torch.equal(view.forward(larger(x, 8)), larger(view.forward(x), 8))


def test_pixels_move_at_256_as_at_64():
    view, x = PixelPermute(seed=4), normal(1, 3, 64, 64)
    assert torch.equal(view.forward(larger(x, 4)), larger(view.forward(x), 4))


@pytest.mark.parametrize("text", ["jigsaw", "jigsaw:seed=1", "inner_circle", "inner_circle:turns=3"])
def test_cuts_differ_between_sizes_only_where_they_run(text):
    view = make_view(text)
    ids = torch.arange(64 * 64).view(1, 1, 64, 64).double()
    small, large = larger(view.forward(ids), 4), view.forward(larger(ids, 4))
    agree = avg_pool2d((small == large).double(), 4)[0, 0] == 1  #  pixels of 64 that agree as a whole
    if isinstance(view, Jigsaw):
        piece = view.pieces(64)
    else:
        y = torch.arange(64) - 31.5
        piece = (y[:, None] ** 2 + y**2 <= 24**2).long()
    cut = torch.zeros(64, 64, dtype=torch.bool)
    for axis in (0, 1):
        for step in (1, -1):
            cut |= piece != piece.roll(step, axis)
    near = cut.clone()
    for axis in (0, 1):
        near |= cut.roll(1, axis) | cut.roll(-1, axis)
    assert agree[~near].all()
    assert agree.double().mean() > 0.85


@pytest.mark.parametrize(
    "text", ["identity", "flip", "mirror", "rotate_180", "negate", "skew", "inner_circle"]
)
def test_pictures_that_are_not_square(text):
    view, x = make_view(text), normal(1, 3, 24, 40)
    assert torch.equal(view.inverse(view.forward(x)), x)
    check_orthogonal(view, (3, 24, 40))


def test_cells_need_not_be_square():
    view, x = PatchPermute(patches=4, seed=1), normal(1, 1, 8, 16)
    assert torch.equal(view.forward(x.repeat_interleave(3, -1)), view.forward(x).repeat_interleave(3, -1))
    check_orthogonal(PixelPermute(), (1, 32, 128))


@pytest.mark.parametrize("text", TEXTS)
def test_a_variance_moves_as_the_pixels_do_and_is_never_negated(text):
    view, variance = make_view(text), normal(1, 3, 64, 64).tanh()
    there = view.forward(variance)
    expected = -there if view.negates else there
    assert torch.equal(view.forward_variance(variance), expected)
    assert torch.equal(view.inverse_variance(view.forward_variance(variance)), variance)


def test_only_negate_changes_signs():
    assert [name for name, view in VIEWS.items() if view.negates] == ["negate"]


# --------------------------------------------------------------------------------- each view by another way


def rows(*lines: str) -> Tensor:
    """A small picture, a letter per pixel."""
    return torch.tensor([[float(ord(letter)) for letter in line] for line in lines])[None, None]


SMALL = rows("abcd", "efgh", "ijkl", "mnop")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("identity", ("abcd", "efgh", "ijkl", "mnop")),
        ("flip", ("mnop", "ijkl", "efgh", "abcd")),
        ("mirror", ("dcba", "hgfe", "lkji", "ponm")),
        ("rotate_cw", ("miea", "njfb", "okgc", "plhd")),
        ("rotate_ccw", ("dhlp", "cgko", "bfjn", "aeim")),
        ("rotate_180", ("ponm", "lkji", "hgfe", "dcba")),
        ("skew:amount=1", ("ankh", "ebol", "ifcp", "mjgd")),
        ("skew:amount=0.5", ("anol", "ebcp", "ifgd", "mjkh")),  # down by 0, 0.5, 1, 1.5 pixels; halves up
        ("skew:amount=-1", ("afkp", "ejod", "inch", "mbgl")),
        # clockwise at the upper left and the lower right, the other way at the others
        ("square_hinge:squares=2", ("eadh", "fbcg", "jnok", "impl")),
        ("inner_circle:radius=1,turns=2", ("aond", "lkji", "hgfe", "mcbp")),
        ("inner_circle:radius=1,turns=1", ("aied", "njfb", "okgc", "mlhp")),
        ("inner_circle:radius=0.5,turns=2", ("abcd", "ekjh", "igfl", "mnop")),
    ],
)
def test_by_hand(text, expected):
    got = make_view(text).forward(SMALL)[0, 0]
    letters = ["".join(chr(int(value)) for value in row) for row in got]
    assert letters == list(expected)


@quick
@given(seed=seeds, side=st.sampled_from([4, 12, 28, 64]))
def test_turns_against_torch(seed, side):
    x = normal(1, 2, side, side, seed=seed)
    assert torch.equal(make_view("rotate_cw").forward(x), x.transpose(-1, -2).flip(-1))
    assert torch.equal(make_view("rotate_ccw").forward(x), x.transpose(-1, -2).flip(-2))
    assert torch.equal(make_view("rotate_180").forward(x), x.flip(-1).flip(-2))
    assert torch.equal(make_view("negate").forward(x), 0 - x)


@quick
@given(amount=st.floats(-3, 3), height=st.integers(2, 40), width=st.integers(2, 40))
def test_skew_rolls_each_column(amount, height, width):
    x = normal(1, 1, height, width)
    seen = Skew(amount=amount).forward(x)
    for j in range(width):
        shift = math.floor(amount * height * j / width + 0.5)
        assert torch.equal(seen[..., j], x[..., j].roll(shift, -1))


@quick
@given(seed=seeds, patches=st.integers(2, 6), size=st.integers(1, 5))
def test_patches_arrive_whole_and_each_once(seed, patches, size):
    x = normal(1, 1, patches * size, patches * size)

    def cut(picture: Tensor) -> list[tuple[float, ...]]:
        cells = picture.unfold(-2, size, size).unfold(
            -2, size, size
        )  #   (1, 1, patches, patches, size, size)
        return sorted(tuple(cell.flatten().tolist()) for cell in cells[0, 0].flatten(0, 1))

    assert cut(PatchPermute(patches=patches, seed=seed).forward(x)) == cut(x)


def test_patches_as_many_as_pixels_is_a_permutation_of_pixels():
    x = normal(1, 1, 16, 16)
    assert torch.equal(PatchPermute(patches=16, seed=5).forward(x), PixelPermute(seed=5).forward(x))


@quick
@given(squares=st.integers(2, 6), size=st.integers(1, 5))
def test_hinged_squares_turn_in_their_places(squares, size):
    x = normal(1, 1, squares * size, squares * size)
    seen = SquareHinge(squares=squares).forward(x)
    for i in range(squares):
        for j in range(squares):
            place = (..., slice(i * size, (i + 1) * size), slice(j * size, (j + 1) * size))
            turn = "rotate_cw" if (i + j) % 2 == 0 else "rotate_ccw"
            assert torch.equal(seen[place], make_view(turn).forward(x[place]))


@pytest.mark.parametrize("radius", [0.3, 0.75, 1.0])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_the_disc_turns_and_the_rest_stays(radius, turns):
    x, n = normal(1, 1, 30, 30), 30
    seen, turned = InnerCircle(radius=radius, turns=turns).forward(x), x.rot90(-turns, (-2, -1))
    for i in range(n):
        for j in range(n):
            inside = math.hypot(i + 0.5 - n / 2, j + 0.5 - n / 2) <= radius * n / 2
            assert seen[0, 0, i, j] == (turned if inside else x)[0, 0, i, j]


# ----------------------------------------------------------------------------------------------- the jigsaw


def silhouette(piece: Tensor, number: int) -> Tensor:
    """A piece alone, its cell in the middle of a window of two cells, (2 m, 2 m) bool."""
    m = len(piece) // 4
    alone = torch.nn.functional.pad(piece == number, (m, m, m, m))
    top, left = number // 4 * m + m // 2, number % 4 * m + m // 2
    return alone[top : top + 2 * m, left : left + 2 * m]


@pytest.mark.parametrize("seed", range(8))
def test_jigsaw_pieces_of_a_kind_are_congruent(seed):
    piece = Jigsaw(seed=seed).pieces(64)
    for kind in ([0, 3, 15, 12], [1, 2, 7, 11, 14, 13, 8, 4], [5, 6, 10, 9]):
        first = silhouette(piece, kind[0])
        for other in kind[1:]:
            assert any(torch.equal(first, silhouette(piece, other).rot90(k)) for k in range(4))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("side", [28, 64])
def test_jigsaw_pieces_are_connected_and_interlock(seed, side):
    piece, m = Jigsaw(seed=seed).pieces(side), side // 4
    cells = torch.arange(16).view(4, 4).repeat_interleave(m, 0).repeat_interleave(m, 1)
    for number in range(16):
        inside = piece == number
        grown = inside & (cells == number)
        while True:
            wider = torch.nn.functional.max_pool2d(grown[None].double(), (1, 3), 1, (0, 1))[0] > 0
            taller = torch.nn.functional.max_pool2d(grown[None].double(), (3, 1), 1, (1, 0))[0] > 0
            step = (wider | taller) & inside
            if torch.equal(step, grown):
                break
            grown = step
        assert torch.equal(grown, inside)
    # One tab across each of the 24 borders, from one side or from the other.
    for i in range(4):
        for j in range(3):
            for board, numbers in (
                (piece, (4 * i + j, 4 * i + j + 1)),
                (piece.T, (i + 4 * j, i + 4 * j + 4)),
            ):
                strip = board[i * m : (i + 1) * m, (j + 1) * m - 1 : (j + 1) * m + 1]  #     (m, 2)
                to_right = (strip[:, 1] == numbers[0]).any()
                to_left = (strip[:, 0] == numbers[1]).any()
                assert to_right != to_left


@pytest.mark.parametrize("seed", range(8))
def test_jigsaw_pieces_move_whole_to_other_places_of_their_kind(seed):
    view, side = Jigsaw(seed=seed), 64
    piece = view.pieces(side)
    seen = view.forward(piece[None, None].double())[0, 0]
    kind = {0: 2, 3: 2, 12: 2, 15: 2, 5: 4, 6: 4, 9: 4, 10: 4}  #   by the number of neighbours; else 3
    came = []
    for place in range(16):
        (number,) = seen[piece == place].unique().tolist()
        assert number != place
        assert kind.get(int(number), 3) == kind.get(place, 3)
        came.append(number)
    assert sorted(came) == list(range(16))


def test_jigsaw_cut_is_the_same_after_a_quarter_turn():
    piece = Jigsaw(seed=3).pieces(64)
    turned = piece.rot90(-1)
    numbers = torch.arange(16).view(4, 4).rot90(-1).flatten().argsort()
    assert torch.equal(numbers[turned], piece)


# --------------------------------------------------------------------------------------------- seeds, texts


@pytest.mark.parametrize("cls", [PatchPermute, PixelPermute, Jigsaw])
def test_seeds_differ_and_repeat(cls):
    x = normal(1, 1, 64, 64)
    seen = [cls(seed=seed).forward(x) for seed in range(6)]
    for i in range(6):
        assert torch.equal(cls(seed=i).forward(x), seen[i])
        assert not any(torch.equal(seen[i], seen[j]) for j in range(i))


@pytest.mark.parametrize("text", TEXTS)
def test_text_round_trip(text):
    view = make_view(text)
    assert make_view(str(view)) == view
    assert hash(make_view(str(view))) == hash(view)
    assert view.name == text.partition(":")[0]


@quick
@given(amount=st.floats(-5, 5), seed=st.integers(0, 2**64), patches=st.integers(2, 99))
def test_every_value_survives_its_text(amount, seed, patches):
    for view in (Skew(amount=amount), PatchPermute(patches=patches, seed=seed), Jigsaw(seed=seed)):
        assert make_view(str(view)) == view


def test_views_are_told_apart():
    views = [make_view(text) for text in TEXTS]
    assert len(set(views)) == len({str(view) for view in views}) == len(TEXTS)
    assert str(make_view(" patch_permute : seed = 3 ")) == "patch_permute:patches=8,seed=3"


def test_every_name_has_one_line_of_help():
    names = (
        "identity, flip, mirror, rotate_cw, rotate_ccw, rotate_180, negate, skew, patch_permute, "
        "pixel_permute, jigsaw, inner_circle, square_hinge"
    )
    assert ", ".join(VIEWS) == names
    for view in VIEWS.values():
        assert view.description
        assert "\n" not in view.description


# ----------------------------------------------------------------------------------------- what users bring


@quick
@given(seed=seeds, height=st.integers(1, 9), width=st.integers(1, 9), factor=st.integers(1, 3))
def test_a_pixel_map_moves_as_its_index_says(seed, height, width, factor):
    index = torch.randperm(height * width, generator=torch.Generator().manual_seed(seed)).view(height, width)
    view, x = PixelMap(index), normal(1, 2, height, width)
    assert torch.equal(view.forward(x).flatten(2), x.flatten(2)[..., index.flatten()])
    assert torch.equal(view.forward(larger(x, factor)), larger(view.forward(x), factor))
    check_orthogonal(view, (1, height * factor, width * factor))


def test_pixel_maps_are_equal_by_content():
    index = torch.arange(12).view(3, 4)
    first, again, other = PixelMap(index), PixelMap(index.clone().int()), PixelMap(index.flip(0))
    assert first == again
    assert hash(first) == hash(again)
    assert first != other
    assert first != PixelMap(index.view(4, 3))
    index[0] = 0  # not shared
    assert torch.equal(first.forward(SMALL[..., :3, :]), SMALL[..., :3, :])


def fourier(x: Tensor) -> Tensor:
    """An orthogonal map that mixes pixels: the discrete Hartley transform of the rows."""
    n = x.shape[-1]
    angle = 2 * math.pi * torch.arange(n)[:, None] * torch.arange(n) / n
    return x @ ((angle.cos() + angle.sin()) / math.sqrt(n))


def test_a_linear_view_that_is_orthogonal_is_accepted():
    view = LinearView(fourier, fourier, name="hartley")
    check_orthogonal(view, (3, 16, 24))
    with pytest.raises(UsageError, match="hartley mixes pixels, so that a learned variance cannot pass"):
        view.inverse_variance(normal(1, 1, 16, 16))


def test_a_solver_that_reads_no_variance_takes_any_view() -> None:
    view, schedule = LinearView(fourier, fourier, name="hartley"), BetaTable("linear")
    e = mean("a", prompt("b").seen(view))

    def made(toy: Toy, solver: Solver) -> Tensor:
        x, draw = normal(1, 3, 8, 8), Noise([1], (3, 8, 8)).draw
        path = make_path(schedule, 3)
        (out,) = Engine(toy).run(sampler(e, x=x, path=path, schedule=schedule, solver=solver, draw=draw))
        return out

    for solver in (DDIM(), DDPM(), DDIM(eta=1.0)):
        torch.testing.assert_close(made(Toy(variance=True), solver), made(Toy(), solver))
    with pytest.raises(UsageError, match="hartley mixes pixels"):
        made(Toy(variance=True), DDPM(variance="learned"))


def test_a_variance_passes_a_linear_view_without_its_signs():
    signs = torch.where(normal(1, 1, 8, 8) > 0, 1.0, -1.0)
    view = LinearView(lambda x: signs * x.flip(-1), lambda x: (signs * x).flip(-1), name="signed")
    check_orthogonal(view, (3, 8, 8))
    variance = normal(2, 3, 8, 8).tanh()
    torch.testing.assert_close(view.forward_variance(variance), variance.flip(-1))
    torch.testing.assert_close(view.inverse_variance(variance), variance.flip(-1))
    assert view.negates


def blur(x: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(x, 3, 1, 1)


def rotation(degrees: float):
    a = math.radians(degrees)
    theta = torch.tensor([[[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0]]])

    def turn(x: Tensor) -> Tensor:
        grid = torch.nn.functional.affine_grid(theta.float(), list(x.shape), align_corners=False)
        return torch.nn.functional.grid_sample(x, grid, align_corners=False)

    return turn


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (
            LinearView(blur, blur, "blurred"),
            r"blurred is not orthogonal: it does not keep the norm \(residual 0\.\d+",
        ),
        (LinearView(lambda x: 2 * x, lambda x: x / 2, "doubled"), r"doubled .* keep the norm \(residual 1\)"),
        (
            LinearView(rotation(30), rotation(-30), "tilted"),
            r"tilted is not orthogonal: .* norm \(residual 0\.\d+",
        ),
        (
            LinearView(torch.tanh, torch.atanh, "squashed"),
            r"squashed is not orthogonal: it is not linear \(resid",
        ),
        (LinearView(lambda x: x + 1, lambda x: x - 1, "shifted"), r"shifted .* is not linear \(residual"),
        (
            LinearView(fourier, lambda x: x, "lost"),
            r"lost .* is not undone by its inverse \(residual 1\.\d+\)",
        ),
        (LinearView(lambda x: x * math.nan, lambda x: x, "void"), r"void .* is not linear \(residual nan\)"),
        (
            LinearView(lambda x: x[..., :4], lambda x: x, "cut"),
            r"cut changes the shape \(1, 1, 16, 16\) to \(1, 1, 16, 4",
        ),
    ],
)
def test_what_is_not_orthogonal_is_refused(view, message):
    with pytest.raises(UsageError, match=message) as raised:
        check_orthogonal(view, (1, 16, 16))
    assert "\n" not in str(raised.value)


# ------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no view ''; the views are: identity, flip, "),
        ("rotate", "there is no view 'rotate'; .* rotate_cw"),
        ("Flip", "there is no view 'Flip'"),
        ("flip:seed=1", "the view flip has no option 'seed=1': it takes none"),
        ("jigsaw:", "the view jigsaw has no option '': it takes seed"),
        ("jigsaw:patches=3", "the view jigsaw has no option 'patches=3': it takes seed"),
        ("patch_permute:8", "the view patch_permute has no option '8': it takes patches, seed"),
        ("patch_permute:patches=8,patches=4", "the view patch_permute is given patches twice"),
        (
            "patch_permute:patches=many",
            "patches of the view patch_permute must be a whole number, not 'many'",
        ),
        ("patch_permute:patches=2.5", "patches of the view patch_permute must be a whole number, not '2.5'"),
        (
            "patch_permute:patches=1",
            "patches of the view patch_permute must be a whole number from 2 up, not 1",
        ),
        ("pixel_permute:seed=-1", "seed of the view pixel_permute must be a whole number from 0 up, not -1"),
        ("jigsaw:seed=-1", "seed of the view jigsaw must be a whole number from 0 up, not -1"),
        ("skew:amount=nan", "amount of the view skew must be a finite number, not nan"),
        ("skew:amount=inf", "amount of the view skew must be a finite number, not inf"),
        ("skew:amount=wide", "amount of the view skew must be a number, not 'wide'"),
        ("inner_circle:radius=0", r"radius of the view inner_circle lies in \(0, 1\], not 0"),
        ("inner_circle:radius=1.1", r"radius of the view inner_circle lies in \(0, 1\], not 1.1"),
        ("inner_circle:turns=4", "turns of the view inner_circle is 1, 2 or 3 quarter turns, not 4"),
        (
            "square_hinge:squares=0",
            "squares of the view square_hinge must be a whole number from 2 up, not 0",
        ),
    ],
)
def test_bad_texts(text, message):
    with pytest.raises(UsageError, match=message) as raised:
        make_view(text)
    assert "\n" not in str(raised.value)


def test_bad_values_without_a_text():
    with pytest.raises(UsageError, match=r"must be a whole number from 2 up, not 8\.0"):
        PatchPermute(patches=8.0)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="must be a whole number from 0 up, not True"):
        Jigsaw(seed=True)
    with pytest.raises(UsageError, match="must be a finite number, not '1'"):
        Skew(amount="1")  # type: ignore[arg-type]


@pytest.mark.parametrize("text", SQUARE_ONLY)
def test_square_pictures_only(text):
    view = make_view(text)
    for carry in (view.forward, view.inverse):
        with pytest.raises(
            UsageError, match=f"the view {view.name} needs a square picture, not 64 x 32 pixels"
        ):
            carry(normal(1, 1, 32, 64))


@pytest.mark.parametrize(
    ("view", "side", "message"),
    [
        (
            PatchPermute(),
            28,
            "cuts 8 x 8 cells, .* 28 x 28 pixels: use a multiple of 8, such as 24 or 32, instead of 28",
        ),
        (PatchPermute(), 6, "use a multiple of 8, such as 8, instead of 6"),
        (
            PixelPermute(),
            100,
            "cuts 64 x 64 cells, .* use a multiple of 64, such as 64 or 128, instead of 100",
        ),
        (Jigsaw(), 30, "the view jigsaw cuts 4 x 4 cells, .* such as 28 or 32, instead of 30"),
        (SquareHinge(squares=3), 64, "use a multiple of 3, such as 63 or 66, instead of 64"),
        (PixelMap(torch.arange(9).view(3, 3)), 8, "the view pixel_map cuts 3 x 3 cells"),
    ],
)
def test_cells_that_do_not_divide_the_picture(view, side, message):
    with pytest.raises(UsageError, match=message):
        view.forward(normal(1, 1, side, side))


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (torch.arange(4), r"a pixel map is a tensor \(h, w\) of whole numbers, not torch.int64 \(4,\)"),
        (torch.eye(2), r"of whole numbers, not torch.float32 \(2, 2\)"),
        (
            torch.tensor([[0, 1], [1, 2]]),
            r"names each of 0 .. 3 exactly once; .* 3 different values from 0 to 2",
        ),
        (
            torch.tensor([[1, 2], [3, 4]]),
            r"names each of 0 .. 3 exactly once; .* 4 different values from 1 to 4",
        ),
    ],
)
def test_bad_pixel_maps(index, message):
    with pytest.raises(UsageError, match=message):
        PixelMap(index)


# ---------------------------------------------------------------------------------------------------- traps


def test_a_view_first_used_in_inference_mode_can_be_differentiated_later():
    view: View = PixelPermute(seed=12345)
    with torch.inference_mode():
        view.forward(normal(1, 1, 8, 8))
    x = normal(1, 1, 8, 8).requires_grad_()
    g = normal(1, 1, 8, 8, seed=1)
    (view.forward(x) * g).sum().backward()
    assert torch.equal(x.grad, view.inverse(g))


def test_the_picture_is_not_changed_and_not_shared_on_negation():
    x = normal(1, 1, 8, 8)
    before = x.clone()
    for text in TEXTS:
        make_view(text).forward(x)
    assert torch.equal(x, before)
    assert Negate().forward_variance(x) is x
