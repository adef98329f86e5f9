"""The text-to-image UNet that is trained here: residual blocks that take words, for small RGB pictures.

It is built for few passes over memory on a CPU. The picture is folded by two, and the work is done at three
sizes: little at half size, most at a quarter and an eighth, where positions also attend to one another and to
the words. Words enter twice: what the sentence recalls modulates every block and is a key, and single words
are keys, at the eighth beside the positions (as in Saharia et al. 2022, Imagen, appendix D.3.1). A picture
that is painted from words alone needs absolute positions, which convolutions do not know: each attending size
learns its own.
Sources of the blocks: see residual.py.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.errors import UsageError
from sfumato.models.networks.base import Network
from sfumato.models.networks.residual import GROUP, HEAD, Modulated, ResidualBlock, TimeEmbedding
from sfumato.models.text.word_vectors import BAG

SKETCH = 48  # channels of the canvas
WORD = 384  # components of a word and of a sentence, as the text encoder has them
MEAN_WORD = 6.5  # the length that a mean of words has before the text encoder makes it a sentence
# Of cosines, by texts and by bags of words: such that a wording of no caption recalls few concepts, as a
# blend of many looks like none of them (docs/log.md)
NEARNESS, NEARNESS_OF_BAGS = 60.0, 40.0
SURE = 0.8  #   the share of its own concept that a name recalls, if it can be had
STRIDES = 10  # in which a key goes towards the name, at most halfway


@dataclass(frozen=True, kw_only=True, eq=False)
class Words:
    """The prompts of a batch of N pictures, encoded.

    sentence  (N, T, WORD), each thing that a text asks for ("a cat and a dog": two), of unit length; zero
              beyond them, and in a row without a condition
    bag       (N, T, BAG) of unit length; zero likewise, or when no word is known
    tokens    (N, L, WORD), of the whole text
    mask      (N, L) bool: which tokens are words; none in a row without a condition
    style     (N,) int64: 0 where none is named, else 1 + its index
    augment   (N, A), how the picture is moved and tinted (training/augmentation.py), or None: not at all
    """

    sentence: Tensor
    bag: Tensor
    tokens: Tensor
    mask: Tensor
    style: Tensor
    augment: Tensor | None = None


class Recall(nn.Module):
    """What a sentence brings to mind: a mean over the concepts of the training, the nearest first.

    A network that reads sentences as they are learns those of its captions, and knows none that lies between.
    Read by their nearness to the concepts' mean captions (Snell et al. 2017, prototypical networks; a look-up
    as Ramsauer et al. 2020, equation 3), all wordings of a concept are nearly one. Nearness is judged twice,
    by the text as a whole and word by word, and the two are multiplied: one knows what the other misses.

    keys    (M, WORD) the mean caption of each concept, at unit length or, where it is to come to mind less
            readily, shorter: set by `remember`, not learned
    bags    (M, BAG) its mean bag of words, likewise
    values  (M, E) what else is known of each, learned
    """

    keys: Tensor
    bags: Tensor

    def __init__(self, concepts: int, embedding: int) -> None:
        super().__init__()
        self.register_buffer("keys", torch.zeros(concepts, WORD))
        self.register_buffer("bags", torch.zeros(concepts, BAG))
        self.values = nn.Parameter(torch.zeros(concepts, embedding))

    @torch.no_grad()
    def remember(self, captions: Tensor, bags: Tensor, first: Tensor, length: Tensor | None = None) -> None:
        """Takes the means of captions (K, WORD) and of their bags of words (K, BAG).

        Concept m has first[m] to first[m + 1], its name last. `length` (M,) is that of its key, 1 if None.

        Raises:
            UsageError: another number of concepts than this network has.
        """
        if len(first) - 1 != len(self.keys):
            raise UsageError(f"the network knows {len(self.keys)} concepts, the captions {len(first) - 1}")
        owner = torch.repeat_interleave(torch.arange(len(self.keys)), first.diff())
        for kept, said in ((self.keys, captions), (self.bags, bags)):
            sums = torch.zeros(kept.shape).index_add_(0, owner, said.float().cpu())
            kept.copy_(F.normalize(sums, dim=1))
        names = first[1:] - 1
        self._heed(captions[names].to(self.keys), bags[names].to(self.bags))
        if length is not None:
            for kept in (self.keys, self.bags):
                kept.mul_(length[:, None].to(kept))

    def _heed(self, names: Tensor, bags: Tensor) -> None:
        """Draws the key of each concept to its name (M, WORD), (M, BAG) for as long as that recalls others.

        A mean lies where most captions are: the name "house" may be nearer to the mean of "houses".
        """
        means = self.keys.clone(), self.bags.clone()
        weight = names.new_zeros(len(names), 1)
        for _ in range(STRIDES):
            unsure = self.shares(names, bags).diag() < SURE
            weight[unsure] += 1 / STRIDES
            for kept, mean, name in zip((self.keys, self.bags), means, (names, bags), strict=True):
                kept.copy_(F.normalize(mean + weight * name, dim=1))

    def shares(self, sentence: Tensor, bag: Tensor) -> Tensor:
        """sentence (N, WORD), bag (N, BAG) -> how much of each concept is recalled (N, M), 1 in all."""
        return (NEARNESS * sentence @ self.keys.T + NEARNESS_OF_BAGS * bag @ self.bags.T).softmax(1)

    def forward(self, sentence: Tensor, bag: Tensor) -> tuple[Tensor, Tensor]:
        """sentence (N, WORD), bag (N, BAG) -> what is recalled (N, WORD), and its values (N, E).

        Of a sentence that is zero, zeros.
        """
        present = (sentence != 0).any(1, keepdim=True)
        share = self.shares(sentence, bag) * present  # (N, M)
        return F.normalize(share @ self.keys, dim=1), share @ self.values


class WordAttention(nn.Module):
    """x + attention of each position to words and, where `among`, to all positions; the identity when new.

    One key stands for "nothing", so that rows without words have the same arithmetic.
    """

    def __init__(self, channels: int, *, among: bool) -> None:
        super().__init__()
        self.heads, self.among = channels // HEAD, among
        self.norm = nn.GroupNorm(channels // GROUP, channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.kv = nn.Conv2d(channels, 2 * channels, 1) if among else None
        self.words = nn.Linear(WORD, 2 * channels)
        self.nothing = nn.Parameter(torch.zeros(1, 1, 2 * channels))
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, tokens: Tensor, hidden: Tensor) -> Tensor:
        """x (N, C, H, W), tokens (N, L, WORD), hidden (N, L) bool: what is no word."""
        n, c, h, w = x.shape
        y = self.norm(x)
        q = self.q(y).permute(0, 2, 3, 1).reshape(n, h * w, c)
        words = self.words(tokens)  # (N, L, 2C)
        nothing = self.nothing.to(words.dtype).expand(n, 1, -1)
        keys = [nothing, words]
        if self.kv is not None:
            keys.append(self.kv(y).permute(0, 2, 3, 1).reshape(n, h * w, 2 * c))
        k, v = torch.cat(keys, dim=1).chunk(2, dim=2)  # (N, K, C)
        k, v, q = self._split(k), self._split(v), self._split(q)
        scores = (q * (c // self.heads) ** -0.5) @ k.transpose(2, 3)  # (N, heads, HW, K)
        hidden = F.pad(hidden, (1, k.shape[2] - 1 - hidden.shape[1]))[:, None, None]  # (N, 1, 1, K)
        mixed = scores.float().masked_fill(hidden, -math.inf).softmax(dim=3).to(v.dtype) @ v
        mixed = mixed.transpose(1, 2).reshape(n, h, w, c).permute(0, 3, 1, 2)
        out: Tensor = x + self.out(mixed)
        return out

    def _split(self, x: Tensor) -> Tensor:
        """(N, L, C) -> (N, heads, L, C / heads)."""
        n, length, c = x.shape
        return x.reshape(n, length, self.heads, c // self.heads).transpose(1, 2)


class AttendingBlocks(nn.Module):
    """Residual blocks of one size, each followed by attention where it `attends`: to words, or to all."""

    def __init__(
        self, channels: int, embedding: int, blocks: int, *, attends: Literal["no", "words", "all"] = "no"
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(channels, embedding) for _ in range(blocks))
        self.attention = nn.ModuleList(
            WordAttention(channels, among=attends == "all") for _ in range(0 if attends == "no" else blocks)
        )

    def forward(self, x: Tensor, e: Tensor, tokens: Tensor, hidden: Tensor) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = block(x, e)
            if i < len(self.attention):
                x = self.attention[i](x, tokens, hidden)
        return x


class Canvas(nn.Module):
    """The prompt (N, E), sketched at once as a map of few channels; nothing when new.

    Modulation is the same at all positions, so that by it alone a layout is learned slowly. A dense layer
    from words to positions, as in the generator of a GAN (Radford et al. 2016), says it directly.
    """

    def __init__(self, embedding: int, side: int, widths: tuple[int, int]) -> None:
        super().__init__()
        self.side = side
        self.inner = nn.Linear(embedding, embedding)
        self.outer = nn.Linear(embedding, SKETCH * side * side)
        self.into = nn.ModuleList(nn.Conv2d(SKETCH, width, 1) for width in widths)
        for layer in self.into:
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, meaning: Tensor) -> tuple[Tensor, Tensor]:
        """meaning (N, E) -> maps to add at twice this side (N, W2, 2S, 2S) and at this side (N, W3, S, S)."""
        drawn = self.outer(F.silu(self.inner(F.silu(meaning)))).reshape(-1, SKETCH, self.side, self.side)
        large, small = self.into
        return F.interpolate(large(drawn), scale_factor=2.0, mode="nearest"), small(drawn)


class Detail(nn.Module):
    """What the picture needs at full size: few channels, from the picture itself and from what half size has.

    A picture that comes out of a pixel shuffle alone has four kinds of pixels, each drawn without a look at
    the others. Here neighbours see one another. Nothing is added when new.
    """

    def __init__(self, channels: int, half: int, width: int, embedding: int) -> None:
        super().__init__()
        self.into = nn.Conv2d(channels + half // 4, width, 3, padding=1)
        self.modulated = Modulated(width, embedding)
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.GroupNorm(width // GROUP, width)
        self.out = nn.Conv2d(width, channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, half: Tensor, e: Tensor) -> Tensor:
        """x (N, C, S, S), half (N, W1, S/2, S/2) -> what is added to the answer (N, C, S, S)."""
        h = self.into(torch.cat([x, F.pixel_shuffle(half, 2)], dim=1))  # (N, W, S, S)
        h = self.inner(F.silu(self.modulated(h, e)))
        out: Tensor = self.out(F.silu(self.norm(h)))
        return out


class PromptedUNet(Network):
    """The UNet that takes words.

    side     of the picture in pixels, a multiple of 8
    widths   channels at half, quarter and eighth size: the first a multiple of 16, the others of 32
    blocks   residual blocks at each size; at half and quarter size as many on each of the two sides
    styles   the names of the styles that a prompt may name
    concepts how many it was trained on; 0: it reads a sentence as it is
    detail   channels at full size, a multiple of 16; 0: nothing is done there
    augment  components that describe a picture's augmentation; 0: the network takes none
    """

    kind = "prompted"
    timed = True
    classes = None

    def __init__(
        self,
        *,
        side: int = 64,
        channels: int = 3,
        widths: tuple[int, int, int] = (64, 192, 320),
        blocks: tuple[int, int, int] = (1, 2, 3),
        styles: tuple[str, ...] = (),
        concepts: int = 0,
        detail: int = 0,
        augment: int = 0,
    ) -> None:
        super().__init__()
        half, quarter, eighth = widths
        if detail % GROUP or detail < 0:
            raise UsageError(f"detail is {detail}; give a multiple of {GROUP}, or 0 for none")
        if half % GROUP or quarter % HEAD or eighth % HEAD or min(widths) < 1:
            raise UsageError(f"widths {widths}: give multiples of {GROUP}, {HEAD} and {HEAD}")
        if side % 8 or side < 8:
            raise UsageError(f"side is {side}; give a multiple of 8")
        self._config = {
            "side": side,
            "channels": channels,
            "widths": list(widths),
            "blocks": list(blocks),
            "styles": list(styles),
            "concepts": concepts,
            "detail": detail,
            "augment": augment,
        }
        self.styles = tuple(styles)
        e = 2 * quarter + 128
        self.time = TimeEmbedding(e)
        self.recall = Recall(concepts, e) if concepts else None
        # Normalised between: without it a training once drove all units far below zero, where SiLU answers
        # nothing and learns nothing, and sentences were never heard again
        self.sentence = nn.Sequential(nn.Linear(WORD, e), nn.LayerNorm(e), nn.SiLU(), nn.Linear(e, e))
        self.style = nn.Embedding(len(styles) + 1, e)
        nn.init.normal_(self.style.weight, std=0.02)
        self.augment = nn.Linear(augment, e, bias=False) if augment else None
        if self.augment is not None:
            nn.init.zeros_(self.augment.weight)
        self.canvas = Canvas(e, side // 8, (quarter, eighth))
        self.stem = nn.Conv2d(4 * channels, half, 3, padding=1)
        self.before1 = AttendingBlocks(half, e, blocks[0])
        self.down1 = nn.Conv2d(4 * half, quarter, 1)
        self.place1 = nn.Parameter(0.02 * torch.randn(1, quarter, side // 4, side // 4))
        self.before2 = AttendingBlocks(quarter, e, blocks[1], attends="words")
        self.down2 = nn.Conv2d(4 * quarter, eighth, 1)
        self.place2 = nn.Parameter(0.02 * torch.randn(1, eighth, side // 8, side // 8))
        self.middle = AttendingBlocks(eighth, e, blocks[2], attends="all")
        self.up2 = nn.Conv2d(eighth, 4 * quarter, 1)
        self.after2 = AttendingBlocks(quarter, e, blocks[1], attends="words")
        self.up1 = nn.Conv2d(quarter, 4 * half, 1)
        self.after1 = AttendingBlocks(half, e, blocks[0] + 1)
        self.norm = nn.GroupNorm(half // GROUP, half)
        self.out = nn.Conv2d(half, 4 * channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        self.detail = Detail(channels, half, detail, e) if detail else None

    @property
    def conditional(self) -> bool:
        return True

    def config(self) -> dict[str, Any]:
        """The arguments that build this network again."""
        return dict(self._config)

    def forward(self, x: Tensor, t: Tensor | None, words: Words) -> Tensor:  # type: ignore[override]
        """x (N, C, S, S), t (N,) in [0, 1] -> (N, C, S, S)."""
        if t is None:
            raise UsageError("the text-to-image UNet needs the time: give it t")
        meant, meaning = self._meaning(words)  # (N, T, WORD), (N, E)
        modulation = self.time(t) + meaning
        if self.augment is not None and words.augment is not None:
            modulation = modulation + self.augment(words.augment)
        e = F.silu(modulation)  # (N, E)
        sketch2, sketch3 = self.canvas(meaning)  # (N, W2, S/4, S/4), (N, W3, S/8, S/8)
        # a sentence is the mean of its words' states: as large as such a mean, it can stand beside them
        tokens = torch.cat([meant * MEAN_WORD, words.tokens], dim=1)  # (N, T + L, WORD)
        hidden = torch.cat([(words.sentence == 0).all(2), ~words.mask], dim=1)
        one = self.before1(self.stem(F.pixel_unshuffle(x, 2)), e, tokens, hidden)  # (N, W1, S/2, S/2)
        h = self.down1(F.pixel_unshuffle(one, 2)) + self.place1 + sketch2
        two = self.before2(h, e, tokens, hidden)  # (N, W2, S/4, S/4)
        h = self.down2(F.pixel_unshuffle(two, 2)) + self.place2 + sketch3
        h = self.middle(h, e, tokens, hidden)  # (N, W3, S/8, S/8)
        h = two + F.pixel_shuffle(self.up2(h), 2)
        h = self.after2(h, e, tokens, hidden)
        h = one + F.pixel_shuffle(self.up1(h), 2)
        h = self.after1(h, e, tokens, hidden)
        h = F.silu(self.norm(h))
        answer = F.pixel_shuffle(self.out(h), 2)
        return answer if self.detail is None else answer + self.detail(x, h, e)

    def _meaning(self, words: Words) -> tuple[Tensor, Tensor]:
        """What each thing brings to mind (N, T, WORD), and the mean of what the prompt means (N, E)."""
        n, things, _ = words.sentence.shape
        meant, known = words.sentence.flatten(0, 1), 0.0
        if self.recall is not None:
            meant, known = self.recall(meant, words.bag.flatten(0, 1))  # (N T, WORD), (N T, E)
        # unit length to unit variance: else a sentence is a whisper beside the time
        said = (self.sentence(meant * math.sqrt(WORD)) + known).reshape(n, things, -1)  # (N, T, E)
        heard = (words.sentence != 0).any(2, keepdim=True)  # (N, T, 1)
        heard[:, 0] = True  # a row without a condition asks for one thing, which is nothing
        mean = (said * heard).sum(1) / heard.sum(1)
        return meant.reshape(n, things, -1), mean + self.style(words.style)
