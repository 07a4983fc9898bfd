"""Exact and sampled evaluation of what was learnt, by whatever library."""
