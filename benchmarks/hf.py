"""The Hugging Face Trainer as peer: with the defaults of run_glue.py, and with the fastest settings on this machine.

Its rows come tokenized from a list in memory, and nothing is logged, saved or evaluated; both favor the peer.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging

MAX_LENGTH = 128


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


class _Clock(TrainerCallback):
    """Measures the time from the start of the first epoch to the end of the last step."""

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0:
            self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.ended = time.perf_counter()


class Peer:
    """Create a Trainer for a pre-trained encoder with a randomly initialized head for two labels."""

    def __init__(self, model: Path, setting: Setting, seed: int) -> None:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        if setting.keep_memory:
            from bertwright.training.compute import keep_freed_memory

            keep_freed_memory()
        set_seed(seed)
        self.setting, self.seed = setting, seed
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.model = AutoModelForSequenceClassification.from_pretrained(
            model, num_labels=2, attn_implementation=setting.attention, dtype=torch.float32
        )

    def features(self, texts: list[str], labels: list[int]) -> list[dict[str, Any]]:
        """Tokenize rows, padded to 128 tokens as run_glue.py does by default, or unpadded."""
        pad = "max_length" if self.setting.pad_to_max else False
        encoded = self.tokenizer(texts, max_length=MAX_LENGTH, truncation=True, padding=pad)
        keys = list(encoded)
        return [
            {**{key: encoded[key][i] for key in keys}, "labels": label, "length": len(encoded["input_ids"][i])}
            for i, label in enumerate(labels)
        ]

    def train(self, rows: list[dict[str, Any]], **arguments: Any) -> float:
        """Train one epoch; return the seconds of its steps."""
        clock = _Clock()
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                model=self.model,
                args=TrainingArguments(
                    output_dir=folder,
                    num_train_epochs=1,
                    optim="adamw_torch_fused",
                    bf16=self.setting.bf16,
                    use_cpu=True,
                    train_sampling_strategy="group_by_length" if self.setting.grouped else "random",
                    dataloader_pin_memory=False,
                    report_to="none",
                    save_strategy="no",
                    eval_strategy="no",
                    logging_strategy="no",
                    disable_tqdm=True,
                    seed=self.seed,
                    **arguments,
                ),
                train_dataset=rows,
                data_collator=DataCollatorWithPadding(self.tokenizer),
                callbacks=[clock],
            )
            trainer.train()
        return clock.ended - clock.began

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

    def matrix_parameters(self) -> int:
        """Number of parameters that every token is multiplied with."""
        return sum(p.numel() for p in self.model.base_model.encoder.parameters())
