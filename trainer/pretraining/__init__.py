"""A small language model from scratch, for the papers' experiments where no larger one can be had."""
