"""A BERT small enough to train within a second."""

from __future__ import annotations

from pathlib import Path

# A vocabulary that can spell any lower-case word: words first, then letters at the start and inside of words.
WORDS = ["good", "bad", "film", "plot", "the", "a", "is", "was", "very", "not", "fun", "dull", "great", "awful", "it"]
LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *LETTERS, *("##" + c for c in LETTERS), ".", "!"]
TINY = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 96,
    "initializer_range": 0.05,  # a small width needs larger weights to learn from the start
}


def make_tiny_bert(folder: Path, seed: int = 0, **config: object) -> Path:
    """A BERT of a few thousand parameters with a tokenizer, as transformers would save it, without a head."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    BertModel(BertConfig(**{**TINY, **config})).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}', encoding="utf-8")
    return folder
