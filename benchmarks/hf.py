"""The Hugging Face Trainer as peer: with the defaults of run_glue.py, and with the fastest settings on this machine.

Its rows come tokenized from a list in memory, and nothing is logged, saved or evaluated; both favor the peer.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import inputs
import torch
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)


@dataclass(frozen=True)
class Setting:
    """How the Trainer is run."""

    pad_to_max: bool = False
    bf16: bool = False
    grouped: bool = False
    attention: str = "sdpa"
    keep_memory: bool = False


SETTINGS = {
    "hf-default": Setting(pad_to_max=True),
    "hf-dynamic": Setting(),
    "hf-best": Setting(bf16=True, grouped=True),
    "hf-best-eager": Setting(bf16=True, grouped=True, attention="eager"),
    "hf-best-malloc": Setting(bf16=True, grouped=True, keep_memory=True),
}


class Clock(TrainerCallback):
    """Measures the time from the start of training, or from the end of a step, to the end of the last step.

    Args:
        warm_up: number of steps that are not timed.
    """

    def __init__(self, warm_up: int = 0) -> None:
        self._warm_up = warm_up

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0 == self._warm_up:
            self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.ended = time.perf_counter()
        if state.global_step == self._warm_up:
            self.began = self.ended

    @property
    def seconds(self) -> float:
        """The time of the steps after the warm-up."""
        return self.ended - self.began


def prepare_process(setting: Setting, seed: int) -> None:
    """Make transformers quiet, seed it, and set the memory allocator if the setting asks for it."""
    inputs.quiet_transformers()
    if setting.keep_memory:
        from bertwright.training.compute import keep_freed_memory

        keep_freed_memory()
    set_seed(seed)


def training_arguments(folder: str | Path, setting: Setting, seed: int, **arguments: Any) -> TrainingArguments:
    """The arguments of a Trainer that trains one epoch on the CPU and neither logs, saves nor evaluates.

    Args:
        folder: for its files.
        setting: precision and grouping.
        seed: of the order and of dropout.
        arguments: more arguments; they take precedence.
    """
    usual = {
        "num_train_epochs": 1,
        "optim": "adamw_torch_fused",
        "bf16": setting.bf16,
        "use_cpu": True,
        "train_sampling_strategy": "group_by_length" if setting.grouped else "random",
        "dataloader_pin_memory": False,
        "report_to": "none",
        "save_strategy": "no",
        "eval_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
    }
    return TrainingArguments(output_dir=str(folder), seed=seed, **(usual | arguments))


class Peer:
    """A Trainer for a pre-trained encoder with a randomly initialized head.

    Args:
        model: the directory of the encoder.
        setting: how the Trainer is run.
        seed: of head, order and dropout.
        max_length: maximum tokens per sequence.
        is_qa: whether the head is for question answering, instead of two labels.
    """

    def __init__(self, model: Path, setting: Setting, seed: int, max_length: int = 128, is_qa: bool = False) -> None:
        prepare_process(setting, seed)
        self.setting, self.seed, self.max_length, self.is_qa = setting, seed, max_length, is_qa
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        head = AutoModelForQuestionAnswering if is_qa else AutoModelForSequenceClassification
        self.model = head.from_pretrained(model, attn_implementation=setting.attention, dtype=torch.float32)

    def features(self, texts: Sequence[Any], labels: Sequence[Any]) -> list[dict[str, Any]]:
        """Tokenize rows, padded to the maximum length as run_glue.py and run_qa.py do by default, or unpadded.

        Args:
            texts: texts, or (question, context).
            labels: 0 or 1, or answers in SQuAD's format.
        """
        pad = "max_length" if self.setting.pad_to_max else False
        if self.is_qa:
            from hf_squad import features

            rows = [
                {"question": question, "context": context, "answers": answers}
                for (question, context), answers in zip(texts, labels, strict=True)
            ]
            return features(self.tokenizer, rows, pad, self.max_length)
        encoded = self.tokenizer(list(texts), max_length=self.max_length, truncation=True, padding=pad)
        keys = list(encoded)
        return [
            {**{key: encoded[key][i] for key in keys}, "labels": label, "length": len(encoded["input_ids"][i])}
            for i, label in enumerate(labels)
        ]

    def train(self, rows: list[dict[str, Any]], **arguments: Any) -> float:
        """Train one epoch; return the seconds of its steps."""
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                model=self.model,
                args=training_arguments(folder, self.setting, self.seed, **arguments),
                train_dataset=rows,
                data_collator=DataCollatorWithPadding(self.tokenizer),
                callbacks=[clock],
            )
            trainer.train()
        return clock.seconds

    def accuracy(self, rows: list[dict[str, Any]]) -> float:
        """Accuracy of the fp32 predictions."""
        collate = DataCollatorWithPadding(self.tokenizer)
        self.model.eval()
        right = 0
        with torch.inference_mode():
            for start in range(0, len(rows), 64):
                piece = collate([{k: v for k, v in row.items() if k != "length"} for row in rows[start : start + 64]])
                labels = piece.pop("labels")
                right += int((self.model(**piece).logits.argmax(-1) == labels).sum())
        return right / len(rows)
