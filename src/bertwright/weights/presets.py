"""Encoders with random weights in the sizes of google-research/bert, for pre-training from scratch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from bertwright.errors import RecipeError
from bertwright.tokenization.tokenizer import Tokenizer
from bertwright.weights.families import FAMILIES
from bertwright.weights.hf_config import parse_encoder_config
from bertwright.weights.hub import locate_model
from bertwright.weights.pretrained import Pretrained

PRESETS: Mapping[str, tuple[int, int]] = {
    "tiny": (2, 128),
    "mini": (4, 256),
    "small": (4, 512),
    "medium": (8, 512),
    "base": (12, 768),
    "large": (24, 1024),
}
"""Layers and width (Turc et al. 2019, arXiv 1908.08962, and Devlin et al. 2018).

Head width 64, FFN four times the width.
"""

MAX_POSITIONS = 512
HEAD_WIDTH = 64


def create_from_preset(preset: str, tokenizer: str | os.PathLike[str]) -> Pretrained:
    """Create an encoder with random weights.

    It is a BERT, or a RoBERTa if the tokenizer writes pairs in one segment, as byte-level BPE does.

    Args:
        preset: a name in :data:`PRESETS`.
        tokenizer: a tokenizer directory, or the Hub name of a model with that tokenizer.

    Raises:
        TokenizerError: the tokenizer is missing or damaged.
        RecipeError: the tokenizer has no mask or padding token.
        HubError: the tokenizer cannot be loaded.
    """
    directory = locate_model(tokenizer)
    loaded = Tokenizer.load(directory)
    for role in ("mask", "pad"):
        if role not in loaded.special_ids:
            raise RecipeError(
                f"model.tokenizer: {tokenizer} has no {role} token; train a tokenizer, or use that of BERT."
            )
    n_layers, width = PRESETS[preset]
    family = FAMILIES["bert" if loaded.n_segment_types == 2 else "roberta"]
    offset = loaded.special_ids["pad"] + 1 if family.position_after_pad else 0
    config = {
        "model_type": family.model_type,
        "vocab_size": loaded.vocab_size,
        "hidden_size": width,
        "num_hidden_layers": n_layers,
        "num_attention_heads": width // HEAD_WIDTH,
        "intermediate_size": 4 * width,
        "max_position_embeddings": MAX_POSITIONS + offset,
        "type_vocab_size": loaded.n_segment_types,
        "layer_norm_eps": 1e-12,
        "pad_token_id": loaded.special_ids["pad"],
    }
    shape = parse_encoder_config(family, config, f"model.preset {preset}")
    return Pretrained(f"{preset} from scratch", Path(directory), family, config, shape, loaded, scratch=True)
