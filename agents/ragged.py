"""Lists of different lengths, laid out one after another in one tensor."""

from __future__ import annotations

import torch as th


def ragged_ranges(counts: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """Number the entries of n lists of ``counts`` int64 (n,) entries each.

    Returns:
        For each of the Σ counts entries: its list, rising, and its place there from 0; int64.
    """
    lists = th.repeat_interleave(counts)
    starts = counts.cumsum(0) - counts
    return lists, th.arange(len(lists), device=counts.device) - starts[lists]
