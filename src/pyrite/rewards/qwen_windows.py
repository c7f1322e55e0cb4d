"""Attention within the windows of Qwen's vision towers: all windows of one length at once.

The library calls torch's attention once for every window, one after the other: 25 times in each layer for an image of
512 x 512. Here it is called once for every length of window that occurs, three or four times for a whole batch. On a
CPU neither is faster, and the numbers are the same.
"""

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

NAME = "windows_as_flash"
"""The library hands all windows over at once to implementations whose name says "flash"."""


def attend_in_windows(
    _module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scaling: float,
    cu_seq_lens_q: Tensor,
    **_unread: Any,
) -> tuple[Tensor, None]:
    """(1, N, H, D) of N patches, each of which sees the patches of its window alone.

    Args:
        query: (1, H, N, D).
        key: the same.
        value: the same.
        scaling: of the products.
        cu_seq_lens_q: where the windows begin, and N.
    """
    bounds = cu_seq_lens_q.tolist()
    starts: dict[int, list[int]] = {}
    for start, end in itertools.pairwise(bounds):
        starts.setdefault(end - start, []).append(start)
    result = torch.empty_like(query[0])
    for length, begins in starts.items():
        first = torch.tensor(begins, device=query.device)
        places = (first[:, None] + torch.arange(length, device=query.device)).flatten()
        asked, keys, values = (
            rows[0, :, places].unflatten(1, (len(begins), length)).transpose(0, 1) for rows in (query, key, value)
        )
        seen = F.scaled_dot_product_attention(asked, keys, values, scale=scaling)
        result[:, places] = seen.transpose(0, 1).flatten(1, 2)
    return result.transpose(0, 1)[None], None


def attend_at_once(model: Any) -> Any:
    """The model, its vision tower attending as above.

    Args:
        model: a transformers Qwen2-VL or Qwen2.5-VL, with or without its language head.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend_in_windows)
    tower = next(module for name, module in model.named_modules() if name.endswith("visual"))
    tower.config._attn_implementation = NAME
    return model
