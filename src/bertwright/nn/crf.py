"""A linear-chain conditional random field on the scores of tokens, for tagging (Lafferty et al. 2001).

It scores whole sequences of tags: each tag's own score, and one for each pair of neighbours. Only the tokens that
carry a tag, the first of every word, are links of a chain. Loops run over the places in a chain, for all chains of a
batch at once; the idea of padding chains inside a packed batch, and nowhere else, keeps everything around it packed.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from bertwright.errors import LayoutError
from bertwright.nn.custom_heads import DeclaredHead
from bertwright.nn.layout import Layout

NO_LINK: Final = -100
"""The target of a token that carries no tag: what torch's losses ignore."""

NOTHING = 1e-12
"""The count of a batch without any tag to learn, to divide by."""

AHEAD = 1e-3
"""How far a token's tag on the best path is put ahead, as a logarithm, where another tag is likelier by itself."""


class Chains(NamedTuple):
    """The K chains of a batch, of at most T links.

    Attributes:
        tokens: int64 (M,), the token of every link, chain after chain.
        place: int64 (M,), the link's place in its chain.
        chain: int64 (M,), which chain it belongs to.
        mask: bool (T, K), where there is a link.
    """

    tokens: Tensor
    place: Tensor
    chain: Tensor
    mask: Tensor

    def spread(self, values: Tensor) -> Tensor:
        """Values of the links, (M, …), by place and chain: (T, K, …), 0 where there is none."""
        spread = values.new_zeros(*self.mask.shape, *values.shape[1:])
        return spread.index_put((self.place, self.chain), values)


def chains(targets: Tensor, layout: Layout) -> Chains:
    """The chains of the tokens whose target is not :data:`NO_LINK`, one a sequence that has any.

    Args:
        targets: int64 (N,), of all tokens but padding.
        layout: where the sequences lie.
    """
    tokens = (targets != NO_LINK).nonzero()[:, 0]
    lengths = torch.from_numpy(layout.lengths).to(targets.device)
    owner = torch.arange(len(lengths), device=targets.device).repeat_interleave(lengths)[tokens]
    _, chain, counts = torch.unique_consecutive(owner, return_inverse=True, return_counts=True)
    place = torch.arange(len(tokens), device=targets.device) - (counts.cumsum(0) - counts)[chain]
    longest = int(counts.max()) if len(counts) else 0
    mask = torch.arange(longest, device=targets.device)[:, None] < counts
    return Chains(tokens, place, chain, mask)


class CrfHead(DeclaredHead):
    """A declared head of tokens with a conditional random field on its scores.

    Transitions start at 0, where it is the head without the field. Arguments are those of
    :class:`~bertwright.nn.custom_heads.DeclaredHead`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        n = self.output.out_features
        self.start = nn.Parameter(torch.zeros(n))
        self.end = nn.Parameter(torch.zeros(n))
        self.transitions = nn.Parameter(torch.zeros(n, n))

    def loss(self, scores: Tensor, targets: Tensor | None, layout: Layout) -> tuple[Tensor, float]:
        """The negative log-likelihood of the true sequences of tags, summed, and the number of tags.

        Args:
            scores: (N, C).
            targets: int64 (N,), the tags; :data:`NO_LINK` or any other negative number where none is known.
            layout: where the sequences lie.
        """
        scores, targets = scores.float(), _given(targets)
        found = chains(targets.where(targets >= 0, NO_LINK), layout)
        if not len(found.tokens):
            return scores.sum() * 0.0, NOTHING
        gold = targets[found.tokens]
        alphas = self._forward(found.spread(scores[found.tokens]), found.mask)
        log_z = (alphas[-1] + self.end).logsumexp(1)
        first, last = found.place == 0, torch.ones_like(gold, dtype=torch.bool)
        last[:-1] = first[1:]
        true = scores[found.tokens, gold].sum() + self.start[gold[first]].sum() + self.end[gold[last]].sum()
        inner = ~first[1:]
        true = true + self.transitions[gold[:-1][inner], gold[1:][inner]].sum()
        return log_z.sum() - true, float(len(gold))

    def predicted(self, scores: Tensor, targets: Tensor | None, layout: Layout) -> Tensor:
        """For every token that carries a tag, the logarithms of each tag's probability given the whole sequence.

        The tag on the best path (Viterbi) is the largest: where another is likelier by itself, it is put
        :data:`AHEAD` of that one, so that the best tags of the words are the best sequence of tags.

        Args:
            scores: (N, C).
            targets: int64 (N,), of which only :data:`NO_LINK` counts.
            layout: where the sequences lie.
        """
        found = chains(_given(targets), layout)
        said = scores.float().log_softmax(-1)
        if not len(found.tokens):
            return said
        emissions = found.spread(scores[found.tokens].float())
        alphas = self._forward(emissions, found.mask)
        betas = self._backward(emissions, found.mask)
        posterior = torch.stack(alphas) + torch.stack(betas) - (alphas[-1] + self.end).logsumexp(1)[:, None]
        links = posterior[found.place, found.chain]
        best = self._best_path(emissions, found.mask)[found.place, found.chain][:, None]
        likeliest, which = links.max(1, keepdim=True)
        links = links.scatter(1, best, likeliest + torch.where(which == best, 0.0, AHEAD))
        return said.index_copy(0, found.tokens, links)

    def _forward(self, emissions: Tensor, mask: Tensor) -> list[Tensor]:
        """At each place, the logarithm of the summed weights of all beginnings that end in each tag; past the end of
        a chain that of its last place. (T, K, C) → T of (K, C).
        """
        alphas = [self.start + emissions[0]]
        for here, there in zip(emissions[1:], mask[1:], strict=True):
            longer = (alphas[-1][:, :, None] + self.transitions).logsumexp(1) + here
            alphas.append(torch.where(there[:, None], longer, alphas[-1]))
        return alphas

    def _backward(self, emissions: Tensor, mask: Tensor) -> list[Tensor]:
        """At each place, the logarithm of the summed weights of all ends that follow each tag."""
        betas = [self.end.expand_as(emissions[0])]
        for t in range(len(emissions) - 1, 0, -1):
            longer = (self.transitions + (emissions[t] + betas[-1])[:, None, :]).logsumexp(2)
            betas.append(torch.where(mask[t][:, None], longer, self.end))
        return betas[::-1]

    def _best_path(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """The tags of the heaviest path (Viterbi 1967), int64 (T, K); past the end of a chain meaningless."""
        weight, back = self.start + emissions[0], []
        for here, there in zip(emissions[1:], mask[1:], strict=True):
            longer, before = (weight[:, :, None] + self.transitions).max(1)
            weight = torch.where(there[:, None], longer + here, weight)
            back.append(before)
        path = [(weight + self.end).argmax(1)]
        for before, there in zip(back[::-1], mask[1:].flip(0), strict=True):
            path.append(torch.where(there, before.gather(1, path[-1][:, None])[:, 0], path[-1]))
        return torch.stack(path[::-1])


def _given(targets: Tensor | None) -> Tensor:
    if targets is None:
        raise LayoutError("crf: the batch does not say which tokens carry tags; encode with the tagging task.")
    return targets
