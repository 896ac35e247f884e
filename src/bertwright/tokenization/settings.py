"""The ``tokens`` section of a recipe: sequence length, truncation and windows."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from bertwright.config.sections import MisfitError, Section
from bertwright.tokenization.truncation import Truncation


class TokenSettings(Section):
    """How texts become sequences of ids."""

    max_length: int = Field(default=128, ge=3, description="Most tokens a sequence may have, special tokens included.")
    truncation: Truncation = Field(
        default="longest_first",
        description="What is cut from longer rows: from the longer text of a pair first, from one of the two only, "
        "from the middle; or nothing: windows. Tagging and question answering always use windows.",
    )
    stride: int | None = Field(
        default=None,
        ge=0,
        description="Tokens that neighbouring windows share; null: a third of max_length. (transformers' stride; "
        "google-research/bert's doc_stride is the step from window to window.)",
    )

    @model_validator(mode="after")
    def _windows_move_on(self) -> Self:
        if self.stride is not None and self.stride > self.max_length // 2:
            text = f"is {self.stride}, more than half of max_length {self.max_length}; lower it"
            raise MisfitError("stride", text, beside="max_length")
        return self
