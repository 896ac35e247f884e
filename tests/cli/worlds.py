"""What the tests of the command line share: how it is called, and data files for a tiny model."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

WORDS = ["the", "film", "is", "a", "plot", "was", "very", "it"]
SMALL = ("tokens.max_length=48", "train.batch_size=16", "train.precision=fp32", "train.threads=1")


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


Call = Callable[..., Said]


@dataclass(frozen=True)
class World:
    """A folder with data files, a base model and three trained bundles.

    ``reviews.csv`` has nr, review, sentiment; ``pairs.csv`` a, b, score; ``multi.csv`` text, good, long.
    """

    folder: Path
    base: Path
    labels: Path
    pairs: Path
    multi: Path


def write_files(folder: Path) -> None:
    rng = random.Random(0)
    rows = []
    for i in range(96):
        word, label = (("good", "great", "fun"), "pos") if i % 2 else (("bad", "awful", "dull"), "neg")
        rows.append((f"{' '.join(rng.choices(WORDS, k=rng.randint(0, 4)))} {rng.choice(word)}", label))
    reviews = [f"{i},{text},{label}" for i, (text, label) in enumerate(rows)]
    pairs = [f"{text},{rows[i // 2][0]},{int(label == rows[i // 2][1])}.5" for i, (text, label) in enumerate(rows)]
    multi = [f"{text},{int(label == 'pos')},{int(len(text) > 18)}" for text, label in rows]
    for name, head, lines in (
        ("reviews", "nr,review,sentiment", reviews),
        ("pairs", "a,b,score", pairs),
        ("multi", "text,good,long", multi),
    ):
        (folder / f"{name}.csv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    new = 'nr,review,label,note\n1,"the film, was great",x,"a ""q"""\n2,a bad plot,y,\n3,"fun\nfun",z,é\n'
    (folder / "new.csv").write_text(new, encoding="utf-8")
