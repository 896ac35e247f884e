"""Cross-entropy over the whole vocabulary, without storing the scores in full precision.

The scores of 600 tokens over 30,000 words take 75 MB in float32; the usual implementation stores three such tables and
reads each of them several times. This one processes some rows at a time and immediately writes the gradient of their
scores (softmax minus one-hot target) in the precision of the matrix products; nothing else is stored. The idea follows
Hsu et al. 2024 (Liger Kernel, arXiv 2410.10989) and Wijmans et al. 2024 (arXiv 2411.09009).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

WORDS_PER_CHUNK = 4096
"""Words per gradient update: 1.7 times as fast as all words at once (two cores, bf16, 30,522 words)."""

TOKENS_PER_CHUNK = 64
"""Tokens whose scores are computed at a time: 8 MB in float32 with BERT's vocabulary, which fits a CPU's cache."""


class _VocabularyCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        dtype: torch.dtype,
        weight_grad: Tensor | None,
    ) -> Tensor:
        needs_grad = any(ctx.needs_input_grad[:3])
        # a number of rows that recurs: oneDNN compiles a kernel for each new one
        n, size = len(x), -(-len(x) // TOKENS_PER_CHUNK) * TOKENS_PER_CHUNK
        rows = F.pad(x.to(dtype), (0, 0, 0, size - n))
        word_weight, word_bias = weight.to(dtype), bias.float()
        gradient = x.new_empty(size if needs_grad else 0, len(weight), dtype=dtype)
        total = x.new_zeros((), dtype=torch.float32)
        for start in range(0, size, TOKENS_PER_CHUNK):
            stop = min(start + TOKENS_PER_CHUNK, n)
            real, true_words = slice(0, stop - start), targets[start:stop, None]
            scores = (rows[start : start + TOKENS_PER_CHUNK] @ word_weight.t()).float().add_(word_bias)
            log_norm = scores.logsumexp(1, keepdim=True)
            total += (log_norm[real] - scores[real].gather(1, true_words)).sum()
            if needs_grad:
                probabilities = scores.sub_(log_norm).exp_()
                probabilities[real].scatter_add_(1, true_words, probabilities.new_full(true_words.shape, -1.0))
                probabilities[stop - start :] = 0.0
                gradient[start : start + TOKENS_PER_CHUNK] = probabilities
        ctx.save_for_backward(rows, word_weight, gradient)
        ctx.info = (n, x.dtype, weight.dtype, weight_grad)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None, None]:
        rows, word_weight, gradient = ctx.saved_tensors
        n, x_dtype, weight_dtype, weight_grad = ctx.info
        need_x, need_weight, need_bias = ctx.needs_input_grad[:3]
        upstream_grad = grads[0]
        d_x = (gradient @ word_weight)[:n].to(x_dtype) * upstream_grad if need_x else None
        d_bias = gradient.sum(0).to(weight_dtype) * upstream_grad if need_bias else None
        d_weight = None
        if need_weight:
            # scale the small factor of the product, not the table of all words
            scaled = rows * upstream_grad.to(rows.dtype)
            if weight_grad is None:
                d_weight = (gradient.t() @ scaled).to(weight_dtype)
            else:  # some words at a time, so that the product is still in the CPU's cache when it is added
                for start in range(0, len(weight_grad), WORDS_PER_CHUNK):
                    weight_grad[start : start + WORDS_PER_CHUNK].add_(
                        gradient[:, start : start + WORDS_PER_CHUNK].t() @ scaled
                    )
        return d_x, d_weight, d_bias, None, None, None


def vocabulary_cross_entropy(
    x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, weight_grad: Tensor | None = None
) -> Tensor:
    """Compute the summed cross-entropy of ``x W' + b``, in the autocast precision inside an autocast region.

    Args:
        x: (M, E), the input of the output layer.
        weight: (V, E), the word embedding.
        bias: (V,).
        targets: int64 (M,), the true word of each row.
        weight_grad: (V, E), a buffer that the gradient of ``weight`` is added to, such as an optimizer's; None leaves
            the gradient to autograd, which copies it several times.

    Returns:
        A float32 scalar.
    """
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    with torch.autocast(device, enabled=False):
        total: Tensor = _VocabularyCrossEntropy.apply(x, weight, bias, targets, dtype, weight_grad)  # type: ignore[no-untyped-call]
    return total
