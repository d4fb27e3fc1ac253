"""What a file of each kind may differ by from its checkpoint and still pass its check."""

from collections.abc import Mapping
from typing import NamedTuple

from trainer.export.quantise import Kind


class Limits(NamedTuple):
    """What a file of a kind may differ by and still pass.

    Attributes:
        difference: the largest difference of a logit, in units of `SelfCheck.logit_spread`; None for any.
        top1: the least share (0..1) of positions at which both find the same token most likely; 0 for any.
        ratio: the largest ratio of the perplexities.
        cosine: of encoders, the least cosine of the two vectors of a text.
    """

    difference: float | None
    top1: float
    ratio: float
    cosine: float


# Measured with llama.cpp 0.3.36's kernels on a trained Llama of 2.6 million weights (rows of 192 and 512; WikiText-2's
# test text), on all-MiniLM-L6-v2, and on untrained Llamas with rows of 64 and of 256 (the last is chaotic: its weights
# are drawn four times as large as usual, and a rounding grows from layer to layer):
#
#           difference: trained, of 64, of 256   top1: the same        ratio: the same          cosine
#   f32     0.001, 0.002, 0.005                  0.998, 0.999, 0.997   1.0000, 1.0000, 1.0000   0.999998
#   f16     0.008, 0.006, 0.027                  0.996, 0.999, 0.997   1.0000, 1.0000, 0.9999   0.999997
#   bf16    0.070                                0.998                 1.0000                   0.99997
#   q8_0    0.20,  0.12,  0.63                   0.991, 0.970, 0.894   1.0010, 1.0000, 1.0007   0.9991
#   q6_k    0.27,  0.12,  0.95                   0.981, 0.970, 0.787   1.0011, 1.0000, 1.0024   0.998
#   q5_k_m  0.29,  0.70,  1.99                   0.963, 0.826, 0.607   0.9981, 0.9924, 0.9842   0.985
#   q4_k_m  0.35,  0.77,  3.12                   0.951, 0.836, 0.336   1.0085, 0.9979, 1.0301   0.964
#
# Against these, in float16, what a mistake of the exporter makes of the trained model: a rotary base 1.5 times as large
# 0.95, 50 times as large 2.1, a norm's epsilon of 1e-3 for 1e-5 1.3, Q and K not permuted 5.0 (and a ratio of 1.48; the
# first three have ratios below 1.04). So a file that is not quantised tells right from wrong by a factor of fifty, and
# one of 4 bits hardly at all: for the kinds that are quantised from another file, that one is held to the limit of its
# own precision, and the quantised one to what it exists for, the perplexity. Its logits are shown without a limit.
LIMITS: Mapping[Kind, Limits] = {
    "f16": Limits(0.05, 0.97, 1.01, 0.9999),
    "q8_0": Limits(0.8, 0.85, 1.02, 0.995),
    "q6_k": Limits(None, 0.0, 1.03, 0.99),
    "q5_k_m": Limits(None, 0.0, 1.06, 0.95),
    "q4_k_m": Limits(None, 0.0, 1.12, 0.9),
}
"""Of a file of each kind: some three times what a sound file of a trained model was measured to differ by, as far as it
has a limit; of q8_0 more, so that a chaotic one passes, and less than what a mistake makes of it."""

EXACT_LIMITS: Mapping[str, Limits] = {
    "f32": Limits(0.02, 0.97, 1.01, 0.9999),
    "f16": Limits(0.05, 0.97, 1.01, 0.9999),
    "bf16": Limits(0.3, 0.9, 1.01, 0.999),
}
"""Of the file that is quantised, by its precision. llama.cpp rounds what goes through a layer to it, too."""
