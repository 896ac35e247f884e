"""Settings of tokenization (``tokens``): maximum sequence length, truncation and windows."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from bertwright.config.sections import InvalidSettingError, Section
from bertwright.tokenization.truncation import Truncation


class TokenSettings(Section):
    """How texts are encoded: maximum sequence length, truncation and windows."""

    max_length: int = Field(
        default=128, ge=3, description="Maximum sequence length in tokens, including special tokens."
    )
    truncation: Truncation = Field(
        default="longest_first",
        description="How longer sequences are truncated: longest_first, only_first, only_second (of a pair), head_tail "
        "(cut from the middle), or windows (no truncation). Tagging and question answering always use windows.",
    )
    stride: int | None = Field(
        default=None,
        ge=0,
        description="Tokens that adjacent windows share; null: a third of max_length. This is transformers' stride; "
        "google-research/bert's doc_stride is the distance between windows.",
    )

    @model_validator(mode="after")
    def _check_stride(self) -> Self:
        if self.stride is not None and self.stride > self.max_length // 2:
            text = f"is {self.stride}, more than half of max_length ({self.max_length}); lower it"
            raise InvalidSettingError("stride", text, related="max_length")
        return self
