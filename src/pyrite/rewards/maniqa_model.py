"""MANIQA's network (arXiv:2204.08958): a ViT, attention over channels, and windowed attention, to one number a crop.

Written from the paper and the shapes of the published tensors, whose names the modules keep. Two things in it look
like mistakes and are part of what was trained: the reshape after the channel attention mixes channels with tokens, and
the crop's score is a weighted mean whose weights may all be tiny.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyrite.core.errors import CheckpointError

_USED_BLOCKS = (6, 7, 8, 9)
"""The ViT's blocks whose outputs are looked at, counted from 0; those after the last are not computed."""


@dataclass(frozen=True)
class ManiqaShape:
    """The dimensions of the network, named as in the official code.

    Args:
        img_size: side of a crop in pixels.
        patch_size: side of the ViT's patches.
        embed_dim: width of the ViT and of the first stage; the second has half of it.
        dim_mlp: hidden width in the windowed attention's blocks.
        num_heads: of the windowed attention, for each layer of a stage.
        window_size: side of a window, in tokens.
        depths: blocks in each layer of a stage.
        num_tab: channel attentions before each stage.
        scale: of a layer's output beside its input.
        vit_heads: of the ViT.
    """

    img_size: int = 224
    patch_size: int = 8
    embed_dim: int = 768
    dim_mlp: int = 768
    num_heads: tuple[int, ...] = (4, 4)
    window_size: int = 4
    depths: tuple[int, ...] = (2, 2)
    num_tab: int = 2
    scale: float = 0.8
    vit_heads: int = 12

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "ManiqaShape":
        """The published shape with some dimensions changed; other keys of an official configuration are ignored.

        Raises:
            CheckpointError: the dimensions do not go together.
        """
        own: dict[str, Any] = {item.name: config[item.name] for item in fields(cls) if item.name in config}
        own.update({key: tuple(value) for key, value in own.items() if isinstance(value, list)})
        shape = cls(**own)
        if shape.img_size % shape.patch_size or shape.side % shape.window_size or shape.embed_dim % shape.vit_heads:
            raise CheckpointError(
                f"config describes no MANIQA: {shape}. The crop must divide into patches, the patches into windows, "
                "and the width into heads."
            )
        return shape

    @property
    def side(self) -> int:
        """Tokens along a side of the crop."""
        return self.img_size // self.patch_size


class _Attention(nn.Module):
    """Self-attention with query, key and value in one matrix."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """(B, L, C) -> (B, L, C); `bias` is added to the (heads, L, L) logits."""
        batch, length, width = x.shape
        query, key, value = (
            self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        projected: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, length, width))
        return projected


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        widened: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return widened


class _VitBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x


class _Patches(nn.Module):
    def __init__(self, width: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, patch_size)

    def forward(self, x: Tensor) -> Tensor:
        patches: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return patches


class _Vit(nn.Module):
    """The outputs of four blocks side by side, without the class token."""

    def __init__(self, shape: ManiqaShape) -> None:
        super().__init__()
        width = shape.embed_dim
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, shape.side**2 + 1, width))
        self.patch_embed = _Patches(width, shape.patch_size)
        self.blocks = nn.ModuleList(_VitBlock(width, shape.vit_heads) for _ in range(_USED_BLOCKS[-1] + 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, N, 4 C)."""
        x = self.patch_embed(pixels)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        seen = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _USED_BLOCKS:
                seen.append(x[:, 1:])
        return torch.cat(seen, dim=2)


class _ChannelAttention(nn.Module):
    """Attention in which channels look at channels (the paper's transposed attention block)."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.c_q, self.c_k, self.c_v = (nn.Linear(tokens, tokens) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) -> (B, C, N)."""
        mixed = F.scaled_dot_product_attention(self.c_q(x), self.c_k(x), self.c_v(x))
        # Not a transposition: (B, N, C) is read as if it were (B, C, N), as the published weights were trained.
        return x + mixed.transpose(1, 2).reshape(x.shape)


class _WindowAttention(_Attention):
    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__(width, heads)
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))


class _WindowBlock(nn.Module):
    """Attention within windows of the grid, which every second block shifts by half a window."""

    index: Tensor
    mask: Tensor

    def __init__(self, width: int, heads: int, hidden: int, side: int, window: int, shift: int) -> None:
        super().__init__()
        self.side, self.window, self.shift = side, window, shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = _WindowAttention(width, heads, window)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = _Mlp(width, hidden)
        self.register_buffer("index", _relative_positions(window), persistent=False)
        self.register_buffer("mask", _shift_mask(side, window, shift), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        batch, tokens, width = x.shape
        grid = self.norm1(x).reshape(batch, self.side, self.side, width)
        windows = _windows(torch.roll(grid, (-self.shift, -self.shift), (1, 2)), self.window)
        position = self.attn.relative_position_bias_table[self.index].permute(2, 0, 1)  # (heads, W, W)
        bias = (position + self.mask[:, None]).repeat(batch, 1, 1, 1)
        grid = _grid(self.attn(windows, bias), self.side, self.window)
        x = x + torch.roll(grid, (self.shift, self.shift), (1, 2)).reshape(batch, tokens, width)
        x = x + self.mlp(self.norm2(x))
        return x


class _WindowLayer(nn.Module):
    def __init__(self, width: int, heads: int, depth: int, shape: ManiqaShape) -> None:
        super().__init__()
        self.side = shape.side
        self.blocks = nn.ModuleList(
            _WindowBlock(
                width, heads, shape.dim_mlp, shape.side, shape.window_size, shape.window_size // 2 if block % 2 else 0
            )
            for block in range(depth)
        )
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        for block in self.blocks:
            x = block(x)
        grid = x.transpose(1, 2).reshape(len(x), -1, self.side, self.side)
        return F.relu(self.conv(grid)).flatten(2).transpose(1, 2)


class _Stage(nn.Module):
    def __init__(self, width: int, shape: ManiqaShape) -> None:
        super().__init__()
        self.scale = shape.scale
        self.layers = nn.ModuleList(
            _WindowLayer(width, heads, depth, shape) for heads, depth in zip(shape.num_heads, shape.depths, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) -> (B, C, N)."""
        x = x.transpose(1, 2)
        for layer in self.layers:
            x = self.scale * layer(x) + x
        return x.transpose(1, 2)


def _per_token(width: int, last: nn.Module) -> nn.Sequential:
    # The third module is the official code's dropout, which does nothing here but keeps the names.
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Identity(), nn.Linear(width, 1), last)


class Maniqa(nn.Module):
    """Crops to scores, at least 0, about 0 to 1 as trained."""

    def __init__(self, shape: ManiqaShape) -> None:
        super().__init__()
        width, tokens, channels = shape.embed_dim, shape.side**2, len(_USED_BLOCKS) * shape.embed_dim
        self.vit = _Vit(shape)
        self.tablock1 = nn.Sequential(*(_ChannelAttention(tokens) for _ in range(shape.num_tab)))
        self.conv1 = nn.Conv2d(channels, width, 1)
        self.swintransformer1 = _Stage(width, shape)
        self.tablock2 = nn.Sequential(*(_ChannelAttention(tokens) for _ in range(shape.num_tab)))
        self.conv2 = nn.Conv2d(width, width // 2, 1)
        self.swintransformer2 = _Stage(width // 2, shape)
        self.fc_score = _per_token(width // 2, nn.ReLU())
        self.fc_weight = _per_token(width // 2, nn.Sigmoid())

    def forward(self, crops: Tensor) -> Tensor:
        """(B, 3, S, S) crops in [-1, 1] -> (B,) scores, in float32.

        The last step divides by the sum of the tokens' weights, which bfloat16 would round to three digits.
        """
        x = self.tablock1(self.vit(crops).transpose(1, 2))
        x = self.swintransformer1(self.conv1(x[..., None])[..., 0])
        x = self.swintransformer2(self.conv2(self.tablock2(x)[..., None])[..., 0]).transpose(1, 2)
        scores, weights = self.fc_score(x)[..., 0].float(), self.fc_weight(x)[..., 0].float()
        mean: Tensor = (scores * weights).sum(1) / weights.sum(1)
        return mean


def _windows(grid: Tensor, window: int) -> Tensor:
    """(B, S, S, C) -> (B windows, W, C), the windows of an image in reading order."""
    batch, side, _, width = grid.shape
    count = side // window
    split = grid.reshape(batch, count, window, count, window, width).transpose(2, 3)
    return split.reshape(batch * count**2, window**2, width)


def _grid(windows: Tensor, side: int, window: int) -> Tensor:
    """(B windows, W, C) -> (B, S, S, C), what `_windows` took apart."""
    count, width = side // window, windows.shape[2]
    split = windows.reshape(-1, count, count, window, window, width).transpose(2, 3)
    return split.reshape(-1, side, side, width)


def _relative_positions(window: int) -> Tensor:
    """(W, W) row of the bias table for each pair of tokens in a window: their distance down and across."""
    row, column = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    row, column = row.flatten(), column.flatten()
    down = row[:, None] - row[None] + window - 1
    across = column[:, None] - column[None] + window - 1
    return down * (2 * window - 1) + across


def _shift_mask(side: int, window: int, shift: int) -> Tensor:
    """(windows, W, W) -100 between tokens that only the shift has brought into one window, else 0."""
    if not shift:
        return torch.zeros((side // window) ** 2, window**2, window**2)
    # The roll wraps the first `shift` rows to the end: they are another region, and so is the window's other part.
    band = torch.zeros(side, dtype=torch.long)
    band[side - window :] = 1
    band[side - shift :] = 2
    region = (3 * band[:, None] + band[None])[None, :, :, None]
    tokens = _windows(region, window)[..., 0]
    return -100.0 * (tokens[:, :, None] != tokens[:, None, :]).float()
