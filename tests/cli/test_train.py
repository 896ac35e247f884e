"""``bertwright train`` and ``check``: what is written and said, and every way of getting it wrong."""

from __future__ import annotations

import builtins
import io
import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from worlds import SMALL, Call, World

from bertwright.cli import train as training
from bertwright.cli.options import RecipeOptions, load_command_recipe
from bertwright.errors import OutputError, RecipeError
from bertwright.run import display, plots
from bertwright.training.loop import Step


def test_options_are_spellings(tmp_path: Path) -> None:
    options = RecipeOptions("base", "rows.csv", "dev.csv", "null", "b", "x, y", "multilabel")
    recipe = load_command_recipe(["seed=7"], options)
    assert (recipe.model.base, recipe.data.train, recipe.data.dev) == ("base", "rows.csv", "dev.csv")
    assert (recipe.data.text, recipe.data.text_pair, recipe.data.label) == ("null", "b", ("x", "y"))
    assert (recipe.task.kind, recipe.seed) == ("multilabel", 7)
    assert load_command_recipe([], RecipeOptions(data=str(tmp_path))).data.path == str(tmp_path)
    assert load_command_recipe([], RecipeOptions(data="hub:glue/sst2")).data.train == "hub:glue/sst2"
    with pytest.raises(RecipeError, match="mnli: the command already has the recipe sst2"):
        load_command_recipe(["sst2", "mnli"], RecipeOptions())


def test_a_run_prints_plain_lines_where_there_is_no_terminal(world: World, call: Call, tmp_path: Path) -> None:
    out = tmp_path / "my run"
    options = ("--model", world.base, "--data", world.folder / "reviews.csv", "--text", "review", "--out", out)
    said = call("train", *options, *SMALL, "train.length=2 epochs")
    assert said.code == 0, said.err
    for text in (said.out, said.err):
        assert "\x1b" not in text
        assert "\r" not in text
    lines = said.err.splitlines()
    assert sum(line.startswith("device   cpu, ") for line in lines) == 1
    assert any(line.startswith("weights  39 tensors loaded, 2 randomly initialized") for line in lines)
    assert any(line.startswith("note: label: inferred to be sentiment") for line in lines)
    assert len([line for line in lines if line.startswith("epoch ")]) == 2
    assert "* best" in said.err
    assert "95 % interval" in said.out
    assert said.out.endswith(
        f"bundle {out}, learning_curve.png, confusion.png\nnext   bertwright predict '{out}' \"a text\"\n"
    )
    assert (out / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert "metrics" in json.loads((out / "report.json").read_text())


@pytest.fixture
def at(world: World) -> dict[str, Any]:
    """What the places in the table of mistakes stand for."""
    (world.folder / "latin.csv").write_bytes("text,label\ncaf\xe9,a\n".encode("latin-1"))
    (world.folder / "short.csv").write_bytes(b"text,label\ngood,a\nbad\n")
    (world.folder / "empty.csv").write_bytes(b"")
    (world.folder / "other.csv").write_bytes(b"review,sentiment\na bad plot,neutral\n")
    return {"base": world.base, "f": world.folder, "run": world.labels}


MODEL = ["--model", "{base}", "tokens.max_length=48"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sst2"], "train: --out is missing; add --out DIR."),
        (["--out", "{f}/q"], "model.base: no encoder is named"),
        (
            ["sst2", "train.lerning_rate=1", "--out", "{f}/q"],
            'train.lerning_rate is unknown; did you mean "learning_rate"',
        ),
        (["sst2", "seed=x", "--out", "{f}/q"], "seed=x: seed must be a whole number"),
        (["sst9", "--out", "{f}/q"], 'sst9: no such recipe or file; did you mean "sst2"?'),
        ([*MODEL, "--out", "{f}/q"], "data.train: no training rows are named"),
        ([*MODEL, "--data", "{f}/revews.csv", "--out", "{f}/q"], 'no such file; did you mean "reviews.csv"?'),
        (
            [*MODEL, "--data", "{f}/reviews.csv", "--text", "reviw", "--out", "{f}/q"],
            'no column "reviw"; did you mean "review"',
        ),
        ([*MODEL, "--data", "{f}/latin.csv", "--out", "{f}/q"], "latin.csv:2: byte 0xe9 at offset 14 is not utf-8"),
        ([*MODEL, "--data", "{f}/short.csv", "--out", "{f}/q"], "short.csv:3: expected 2 columns, found 1"),
        ([*MODEL, "--data", "{f}/empty.csv", "--out", "{f}/q"], "empty.csv: is empty"),
        ([*MODEL, "--data", "{run}", "--out", "{f}/q"], "is a directory of unknown layout"),
        (
            [*MODEL, "--data", "{f}/reviews.csv", "--text", "review", "--dev", "{f}/other.csv", "--out", "{f}/q"],
            "neutral",
        ),
        ([*MODEL, "--data", "{f}/reviews.csv", "--out", "{run}"], "already exists and is not empty"),
        ([*MODEL, "--data", "{f}/reviews.csv", "--out", "{f}/new.csv"], "new.csv: already exists"),
        (["--model", "{f}/nowhere", "--data", "x.csv", "--out", "{f}/q"], "nowhere: no such directory"),
        (["--resume", "--out", "{run}"], "this run has already finished; nothing to resume."),
        (["--resume", "--out", "{f}/q"], "no run to resume; start without --resume."),
        (["{f}/empty.csv", "--out", "{f}/q"], "empty.csv: is empty; write sections"),
    ],
)
def test_mistakes_are_one_sentence(at: dict[str, Any], call: Call, arguments: list[str], message: str) -> None:
    said = call("train", *(argument.format(**at) for argument in arguments))
    assert said.code == 2
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (at["f"] / "q").exists()


def test_no_network(world: World, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    said = call("predict", "someone/some-model", "a text")
    assert said.code == 2
    assert said.err.startswith("error: someone/some-model: HF_HUB_OFFLINE is set")
    assert "hf download someone/some-model" in said.err


def test_ctrl_c_and_resume(world: World, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    command = ["train", "--model", world.base, "--data", world.folder / "reviews.csv", "--text", "review", "--out", out]
    command += [*SMALL, "train.length=2 epochs"]

    def interrupted(shown: display.RunDisplay, event: Step) -> None:
        if event.step == 3:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(display.RunDisplay, "_step", interrupted)
        said = call(*command)
    assert said.code == 130
    assert said.err.endswith(f"stopped; continue with `bertwright train --resume --out {out}`.\n")
    assert "error" not in said.err

    assert call("predict", out, "x").err == (
        f"error: {out}: this run has not finished; continue it with `bertwright train --resume --out {out}`.\n"
    )
    resumed = f"error: {out}: this run has not finished; continue it with `bertwright train --resume --out {out}`."
    assert resumed in call("inspect", out).err
    assert resumed in call("convert", out, out.parent / "converted").err
    assert resumed in call("train", "--model", out, "--data", out / "recipe.yaml", "--out", out.parent / "next").err
    assert not (out.parent / "converted").exists()
    assert not (out.parent / "next").exists()
    assert "contains an interrupted run; add --resume" in call(*command).err
    other = call(*command, "--resume", "train.length=1 epoch")
    assert "train.length '2 epochs' → '1 epoch'" in other.err

    resumed = call("train", "--resume", "--out", out)
    assert resumed.code == 0, resumed.err
    assert "run      from step 3 of 10 steps" in resumed.err
    assert call("predict", out, "a good film").code == 0


def test_stopped_before_it_began(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "run", stopped)
    said = call("train", "sst2", "--out", tmp_path / "run")
    assert (said.code, said.err) == (130, "error: stopped before training began; nothing was written.\n")


def test_pictures_that_cannot_be_drawn_cost_no_run(
    world: World, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **settings: object) -> None:
        raise OutputError("learning_curve.png: cannot be written: no space.")

    monkeypatch.setattr(plots, "learning_curve", full)
    options = ("--model", world.base, "--data", world.folder / "reviews.csv", "--text", "review", *SMALL)
    said = call("train", *options, "train.length=1 epoch", "--out", tmp_path / "run")
    assert said.code == 0
    assert said.err.endswith("warning: learning_curve.png: cannot be written: no space.\n")


def test_tensorboard(world: World, call: Call, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = ("--model", world.base, "--data", world.folder / "reviews.csv", "--text", "review")
    said = call("train", *options, "--out", tmp_path / "run", *SMALL, "train.length=2 epochs", "--tensorboard")
    assert said.code == 0, said.err
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert {"train/loss", "train/learning_rate", "train/gradient_norm", "dev/accuracy"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("dev/accuracy")] == [5, 10]


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    """Let imports of packages fail as if they were not installed."""
    real = builtins.__import__

    def import_(name: str, *rest: Any) -> Any:
        if name.startswith(missing):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", import_)


def test_extras_that_are_not_installed(
    world: World, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "torch.utils.tensorboard", "matplotlib")
    options = ("--model", world.base, "--data", world.folder / "reviews.csv", "--text", "review", *SMALL)
    said = call("train", *options, "--tensorboard", "--out", tmp_path / "a")
    assert (said.code, said.err) == (
        2,
        "error: --tensorboard: tensorboard is not installed; run `pip install 'bertwright[tensorboard]'`.\n",
    )
    said = call("train", *options, "train.length=1 epoch", "--out", tmp_path / "b")
    assert said.code == 0, said.err
    assert f"bundle {tmp_path / 'b'}\n" in said.out
    assert not list((tmp_path / "b").glob("*.png"))


def step(number: int, loss: float) -> Step:
    return Step(number, number / 10, loss, 1e-5, 1.0, examples=32, tokens=400, seconds=0.5)


def test_what_the_bar_says() -> None:
    clock = iter([100.0, 110.0, 111.0])
    rate = display._Rate(20, 80, clock=lambda: next(clock))
    rate.add(step(30, 1.0))
    assert rate.examples == pytest.approx(64)
    assert rate.left() == "50 s", "ten steps took 10 s, fifty are left"
    rate.add(step(31, 1.0))
    rate.last = 1000
    assert rate.left() == "16 min 9 s"

    loss = display._Loss()
    for value in (1.0, 2.0):
        loss.add(value)
    assert loss.smooth == pytest.approx((display.SMOOTHING * 1 + 2) / (display.SMOOTHING + 1))


def test_on_a_terminal_there_is_a_bar(
    world: World, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=80, markup=False, highlight=False)
    monkeypatch.setattr(training, "stderr_console", lambda: terminal)
    options = ("--model", world.base, "--data", world.folder / "pairs.csv", "--text", "a", "--text-pair", "b")
    said = call("train", *options, "--label", "score", "--out", tmp_path / "run", *SMALL, "model.freeze=1",
                "train.length=3 epochs")  # fmt: skip
    assert said.code == 0, screen.getvalue()
    shown = screen.getvalue()
    assert "reading rows, tokenizing, loading weights" in shown
    assert re.search(r"step 15/15 .*━.* evaluating dev: 19 of 19", shown)
    assert re.search(r"13,\d{3} parameters, 5,\d{3} trainable", shown)
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l"), "the cursor is given back"


def test_check(world: World, call: Call) -> None:
    options = ("--model", world.base, "--data", world.folder / "reviews.csv", "--text", "review", *SMALL)
    said = call("check", *options, "train.length=3 epochs", "train.learning_rate=2e-5")
    assert said.code == 0, said.out
    lines = said.out.splitlines()
    assert any(line.startswith("labels   pos ") and "%), neg " in line for line in lines)
    assert any(line.startswith("to beat  TF-IDF") for line in lines)
    assert "plan     3 epochs = 15 steps of 16 rows" in said.out
    assert "learning rate up to 2e-5 over 2 steps, then linear" in said.out
    assert lines[-1].strip() == "no errors, 1 warning"
    assert sum(line.startswith("warning  dev: ") for line in lines) == 1

    assert re.search(r"\n         about [\d.]+ m?s of training \(\d+ ms per step, \d+ ms per evaluation\)\n", said.out)
    assert "         3 evaluations, best model by accuracy\n" in said.out

    segments = "train.schedule=[{kind: constant, steps: 5, start: 2e-5}]"
    said = call("check", *options, segments, "train.warmup=0")
    assert "learning rate up to 2e-5, in 1 segment" in said.out
    said = call("check", *options)
    assert "plan     20 epochs = 100 steps of 16 rows" in said.out
    assert " over 10 steps, then linear" in said.out


def test_check_warns_of_settings_that_are_hardly_meant(world: World, call: Call) -> None:
    data = world.folder / "distinct.csv"
    lines = [f"{i} films {'good' if i % 2 else 'bad'},{'pos' if i % 2 else 'neg'}" for i in range(100)]
    data.write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
    options = ("check", "--model", world.base, "--data", data, *SMALL)
    said = call(*options, "train.length=600 steps", "model.freeze=encoder", "train.evaluate_every=600 steps",
                "train.learning_rate=2e-5")  # fmt: skip
    assert said.code == 0, said.out
    lines = said.out.splitlines()
    assert "plan     600 steps of 16 rows, 120 epochs" in lines
    assert "         1 evaluation, best model by accuracy" in lines
    at = [i for i, line in enumerate(lines) if line.startswith("warning")]
    assert [lines[i].split(":")[0] for i in at] == ["warning  train.learning_rate", "warning  train.length"]
    assert at == [len(lines) - 3, len(lines) - 2], "warnings come after the plan"
    assert lines[-1].strip() == "no errors, 2 warnings"
    assert len(set(lines)) == len(lines), "nothing is reported twice"
    said = call(*options, "train.length=10 steps", "model.freeze=encoder", "train.head_learning_rate=1e-3")
    assert said.out.splitlines()[-1].strip() == "no problems found"


def test_check_shows_rows_as_the_encoder_sees_them(world: World, call: Call) -> None:
    data = world.folder / "two_texts.csv"
    rows = [f"the film is good {'very ' * i}good,a plot,{'yes' if i % 2 else 'no'}" for i in range(40)]
    data.write_text("\n".join(["one,two,label", *rows]) + "\n", encoding="utf-8")
    options = ("check", "--model", world.base, "--data", data, "--text", "one", "--text-pair", "two", *SMALL)
    said = call(*options, "data.dev_ratio=0.1", "tokens.max_length=9", "data.limit=30", "--show", "2")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("row "))
    shown = [line for line in lines if line.startswith(("row ", "text ", "pair ", "label ", "tokens ", "cut "))]
    assert sum(line.startswith("row ") for line in shown) == 2
    assert lines[first] == f"row      {data}:2"
    assert "pair     a plot" in lines
    assert lines[first + 4] == "tokens   9 tokens"
    assert lines[first + 5] == "         segment 0: [CLS] the film is good [SEP]"
    assert lines[first + 6] == "         segment 1: a plot [SEP]"
    assert lines[first + 7] == "cut      1 of 10 tokens (tokens.max_length=9): good"
    assert "\nrow " not in call(*options).out


def test_check_names_everything_that_stands_against_training(world: World, call: Call) -> None:
    dev = world.folder / "odd.csv"
    dev.write_text("review,sentiment\na bad plot,neutral\nfun,pos\n", encoding="utf-8")
    options = ("--data", world.folder / "reviews.csv", "--text", "review", "--dev", dev, *SMALL)
    said = call("check", "--model", world.base, *options)
    assert said.code == 2
    assert 'error    dev: 1 row with the label "neutral", which no row of train has' in said.out
    said = call("check", "--model", world.folder / "nowhere", *options)
    assert said.code == 2
    assert "nowhere: no such directory" in said.out
    assert "errors to fix before training" in said.out
    assert "TF-IDF" in said.out, "the data was looked at all the same"
    said = call("check", "--model", world.base, *options[:4], *SMALL, "task.metrics=[rouge]")
    assert said.code == 2
    assert "rouge" in said.out
