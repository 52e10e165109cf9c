"""Private weights: a linear score of noisy sums under weights that only the buyer can read (docs/protocol.md, "Private weights").

The holder makes the noisy count and feature sums of each group exactly as for a plain sum, and only then combines them
under the buyer's encrypted weights. So the noise holds for whatever a buyer encrypts: combining is post-processing.
"""
