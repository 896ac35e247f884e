"""Neural network modules: the encoder, packed layouts, attention, heads and adapters; they know nothing about text.

Shape letters in every docstring of this package:

B sequences of a batch; N tokens of a batch without padding; T padded width in tokens; D width of a hidden vector;
H attention heads; C classes (scores per sequence or token); V words of the vocabulary; E width of an embedding;
M selected tokens; L layers; R attention rows of W slots each; S slots of all attention rows (R * W, summed).
"""

from typing import Final

IGNORE_INDEX: Final = -100
"""Target of a token that has no target; torch's losses ignore it."""
