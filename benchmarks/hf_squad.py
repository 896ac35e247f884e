"""The Hugging Face Trainer as peer for question answering on SQuAD, with the preprocessing of run_qa.py.

Windows of at most 384 tokens overlap by 128; a window without the answer points at [CLS]. Two settings favor the peer:
batches are padded to their longest window instead of 384 tokens, and windows are grouped by length. squad.py evaluates
the saved model.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import inputs

MAX_LENGTH, STRIDE = 384, 128


def features(
    tokenizer: Any, rows: list[dict[str, Any]], padding: bool | str = False, max_length: int = MAX_LENGTH
) -> list[dict[str, Any]]:
    """Windows with the positions of their first answer, as prepare_train_features of run_qa.py computes them.

    Args:
        tokenizer: of transformers.
        rows: questions of a SQuAD file.
        padding: of the tokenizer.
        max_length: maximum tokens per window.
    """
    made: list[dict[str, Any]] = []
    for start in range(0, len(rows), 1000):
        some = rows[start : start + 1000]
        encoded = tokenizer(
            [row["question"].lstrip() for row in some],
            [row["context"] for row in some],
            truncation="only_second",
            max_length=max_length,
            stride=min(STRIDE, max_length // 3),
            padding=padding,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        for i, which in enumerate(encoded["overflow_to_sample_mapping"]):
            ids, offsets, kinds = encoded["input_ids"][i], encoded["offset_mapping"][i], encoded.sequence_ids(i)
            first, last = kinds.index(1), len(kinds) - 1 - kinds[::-1].index(1)
            begin = end = 0
            if some[which]["answers"]:
                answer = some[which]["answers"][0]
                a, b = answer["answer_start"], answer["answer_start"] + len(answer["text"])
                if offsets[first][0] <= a and offsets[last][1] >= b:
                    begin = max(t for t in range(first, last + 1) if offsets[t][0] <= a)
                    end = min(t for t in range(first, last + 1) if offsets[t][1] >= b)
            made.append(
                {
                    "input_ids": ids,
                    "token_type_ids": encoded["token_type_ids"][i],
                    "attention_mask": encoded["attention_mask"][i],
                    "start_positions": begin,
                    "end_positions": end,
                    "length": len(ids),
                }
            )
    return made


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--limit", type=int, default=20_000)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    import torch
    from hf import Peer, Setting, training_arguments
    from transformers import DataCollatorWithPadding, Trainer

    torch.set_num_threads(options.threads)
    # allocator settings that speed up both contestants
    setting = Setting(bf16=True, grouped=True, keep_memory=True)
    peer = Peer(options.model or inputs.default_model(), setting, options.seed, MAX_LENGTH, is_qa=True)
    rows = features(peer.tokenizer, inputs.questions(options.train, options.limit))
    trainer = Trainer(
        model=peer.model,
        args=training_arguments(
            options.out / "checkpoints",
            setting,
            options.seed,
            num_train_epochs=options.epochs,
            per_device_train_batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            warmup_steps=0.1,
            lr_scheduler_type="linear",
            weight_decay=0.01,
            adam_epsilon=1e-6,
            max_grad_norm=1.0,
            save_strategy="steps",
            save_steps=50,
            save_total_limit=1,
            logging_strategy="steps",
            logging_steps=20,
            disable_tqdm=False,
        ),
        train_dataset=rows,
        data_collator=DataCollatorWithPadding(peer.tokenizer),
    )
    began = time.perf_counter()
    saved = any((options.out / "checkpoints").glob("checkpoint-*"))
    trainer.train(resume_from_checkpoint=saved)
    seconds = time.perf_counter() - began
    peer.model.save_pretrained(options.out)
    peer.tokenizer.save_pretrained(options.out)
    found = {"seconds": seconds, "windows": len(rows), "questions": options.limit, "resumed": saved}
    (options.out / "peer.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
