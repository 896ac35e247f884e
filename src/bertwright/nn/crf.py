"""A linear-chain conditional random field (CRF) on token scores, for tagging (Lafferty et al. 2001).

The CRF scores whole sequences of tags: a score for each tag, and one for each pair of adjacent tags. A chain contains
only the tokens that carry a tag, the first token of every word. Loops run over the positions in a chain, for all chains
of a batch at once. Chains are padded only inside this module; the batch stays packed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bertwright.errors import LayoutError
from bertwright.metrics.uncertainty import compute_entropy, compute_margin
from bertwright.nn import IGNORE_INDEX
from bertwright.nn.custom_heads import DeclaredHead
from bertwright.nn.head_outputs import TagOutput
from bertwright.nn.layout import Layout

NO_TAGS_COUNT = 1e-12
"""Count of a batch without tags; a tiny positive number, because the loss is divided by it."""

BEST_PATH_MARGIN = 1e-3
"""Margin, in log probability, that puts a token's tag on the best path above a tag that is more probable by itself."""


class TagChains(NamedTuple):
    """The K chains of a batch, of at most P links.

    Attributes:
        tokens: int64 (M,), the token of every link, chain after chain.
        place: int64 (M,), the position of each link in its chain.
        chain: int64 (M,), the index of its chain.
        mask: bool (P, K), true at links.
    """

    tokens: Tensor
    place: Tensor
    chain: Tensor
    mask: Tensor

    def spread(self, values: Tensor) -> Tensor:
        """Arrange the values of the links, (M, …), by position and chain: (P, K, …), 0 where there is no link."""
        spread = values.new_zeros(*self.mask.shape, *values.shape[1:])
        return spread.index_put((self.place, self.chain), values)


def build_chains(targets: Tensor, layout: Layout) -> TagChains:
    """Build one chain for every sequence that has tokens whose target is not :data:`~bertwright.nn.IGNORE_INDEX`.

    Args:
        targets: int64 (N,), one target per token, without padding.
        layout: the positions of the sequences.
    """
    tokens = (targets != IGNORE_INDEX).nonzero()[:, 0]
    lengths = torch.from_numpy(layout.lengths).to(targets.device)
    owner = torch.arange(len(lengths), device=targets.device).repeat_interleave(lengths)[tokens]
    _, chain, counts = torch.unique_consecutive(owner, return_inverse=True, return_counts=True)
    place = torch.arange(len(tokens), device=targets.device) - (counts.cumsum(0) - counts)[chain]
    longest = int(counts.max()) if len(counts) else 0
    mask = torch.arange(longest, device=targets.device)[:, None] < counts
    return TagChains(tokens, place, chain, mask)


class CrfHead(DeclaredHead):
    """A declared token head with a conditional random field on its scores.

    Transitions are initialized to 0, which makes the head equal to one without a CRF. The arguments are those of
    :class:`~bertwright.nn.custom_heads.DeclaredHead`.
    """

    decodes_sequences = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        n = self.output.out_features
        self.start = nn.Parameter(torch.zeros(n))
        self.end = nn.Parameter(torch.zeros(n))
        self.transitions = nn.Parameter(torch.zeros(n, n))

    def loss(self, scores: Tensor, targets: Tensor | None, layout: Layout) -> tuple[Tensor, float]:
        """Compute the summed negative log-likelihood of the true tag sequences, and the number of tags.

        Args:
            scores: (N, C).
            targets: int64 (N,), the tags; :data:`~bertwright.nn.IGNORE_INDEX` where a token carries no tag, another
                negative number where the tag is unknown.
            layout: the positions of the sequences.
        """
        scores, targets = scores.float(), _require_targets(targets)
        chains = build_chains(targets.where(targets >= 0, IGNORE_INDEX), layout)
        if not len(chains.tokens):
            return scores.sum() * 0.0, NO_TAGS_COUNT
        gold = targets[chains.tokens]
        alphas = self._forward(chains.spread(scores[chains.tokens]), chains.mask)
        log_z = (alphas[-1] + self.end).logsumexp(1)
        first, last = chains.place == 0, torch.ones_like(gold, dtype=torch.bool)
        last[:-1] = first[1:]
        true = scores[chains.tokens, gold].sum() + self.start[gold[first]].sum() + self.end[gold[last]].sum()
        inner = ~first[1:]
        true = true + self.transitions[gold[:-1][inner], gold[1:][inner]].sum()
        return log_z.sum() - true, float(len(gold))

    @torch.no_grad()
    def decode(self, scores: Tensor, targets: Tensor | None, layout: Layout) -> TagOutput:
        """Return the tags of the best path (Viterbi) for tokens that carry a tag, and each token's best tag elsewhere.

        Args:
            scores: (N, C).
            targets: int64 (N,); only whether a target is :data:`~bertwright.nn.IGNORE_INDEX` matters.
            layout: the positions of the sequences.
        """
        probabilities = self.log_probabilities(scores, targets, layout).double().softmax(-1).cpu()
        confidences, tags = probabilities.max(-1)
        entropies, margins = compute_entropy(probabilities.numpy()), compute_margin(probabilities.numpy())
        return TagOutput(
            tags.numpy(), confidences.float().numpy(), entropies.astype(np.float32), margins.astype(np.float32)
        )

    @torch.no_grad()
    def independent_scores(self, scores: Tensor, targets: Tensor | None, layout: Layout) -> Tensor:
        """Return :meth:`log_probabilities`."""
        return self.log_probabilities(scores, targets, layout)

    def log_probabilities(self, scores: Tensor, targets: Tensor | None, layout: Layout) -> Tensor:
        """Compute the log probabilities of each tag given the whole sequence, for tokens that carry a tag: (N, C).

        The tag on the best path (Viterbi) gets the highest score. If another tag is more probable by itself, the tag
        on the path is raised by :data:`BEST_PATH_MARGIN` above it, so the best tags of the words form the best path.

        Args:
            scores: (N, C).
            targets: int64 (N,); only whether a target is :data:`~bertwright.nn.IGNORE_INDEX` matters.
            layout: the positions of the sequences.
        """
        chains = build_chains(_require_targets(targets), layout)
        log_probabilities = self.differentiable_scores(scores, targets, layout)
        if not len(chains.tokens):
            return log_probabilities
        links = log_probabilities[chains.tokens]
        emissions = chains.spread(scores[chains.tokens].float())
        best = self._best_path(emissions, chains.mask)[chains.place, chains.chain][:, None]
        highest, best_alone = links.max(1, keepdim=True)
        links = links.scatter(1, best, highest + torch.where(best_alone == best, 0.0, BEST_PATH_MARGIN))
        return log_probabilities.index_copy(0, chains.tokens, links)

    def differentiable_scores(self, scores: Tensor, targets: Tensor | None, layout: Layout) -> Tensor:
        """Compute the log probabilities of each tag like :meth:`log_probabilities`, without raising the best path.

        They are a smooth function of the scores; the best path is not.
        """
        chains = build_chains(_require_targets(targets), layout)
        log_probabilities = scores.float().log_softmax(-1)
        if not len(chains.tokens):
            return log_probabilities
        emissions = chains.spread(scores[chains.tokens].float())
        alphas = self._forward(emissions, chains.mask)
        betas = self._backward(emissions, chains.mask)
        posterior = torch.stack(alphas) + torch.stack(betas) - (alphas[-1] + self.end).logsumexp(1)[:, None]
        return log_probabilities.index_copy(0, chains.tokens, posterior[chains.place, chains.chain])

    def _forward(self, emissions: Tensor, mask: Tensor) -> list[Tensor]:
        """The forward variables: P tensors (K, C), log-sums over all tag sequences that end in each tag.

        Positions after the end of a chain repeat its last value. ``emissions`` is (P, K, C), ``mask`` (P, K).
        """
        alphas = [self.start + emissions[0]]
        for emission, is_link in zip(emissions[1:], mask[1:], strict=True):
            longer = (alphas[-1][:, :, None] + self.transitions).logsumexp(1) + emission
            alphas.append(torch.where(is_link[:, None], longer, alphas[-1]))
        return alphas

    def _backward(self, emissions: Tensor, mask: Tensor) -> list[Tensor]:
        """The backward variables: P tensors (K, C), log-sums over all tag sequences that follow each tag."""
        betas = [self.end.expand_as(emissions[0])]
        for t in range(len(emissions) - 1, 0, -1):
            longer = (self.transitions + (emissions[t] + betas[-1])[:, None, :]).logsumexp(2)
            betas.append(torch.where(mask[t][:, None], longer, self.end))
        return betas[::-1]

    def _best_path(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """The tags of the best path (Viterbi 1967), int64 (P, K); undefined after the end of a chain."""
        weight, backpointers = self.start + emissions[0], []
        for emission, is_link in zip(emissions[1:], mask[1:], strict=True):
            longer, previous = (weight[:, :, None] + self.transitions).max(1)
            weight = torch.where(is_link[:, None], longer + emission, weight)
            backpointers.append(previous)
        path = [(weight + self.end).argmax(1)]
        for previous, is_link in zip(backpointers[::-1], mask[1:].flip(0), strict=True):
            path.append(torch.where(is_link, previous.gather(1, path[-1][:, None])[:, 0], path[-1]))
        return torch.stack(path[::-1])


def _require_targets(targets: Tensor | None) -> Tensor:
    if targets is None:
        raise LayoutError(
            "crf: the batch has no targets to mark tokens that carry tags; encode it with the tagging task."
        )
    return targets
