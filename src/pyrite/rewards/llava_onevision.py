"""LLaVA-OneVision on Qwen2: from crops and questions to the logits of the answer, on transformers' own model.

The pictures are computed here and handed to the language model as embeddings: the `pad` mode (one crop) is then no
special case of the library's, the tokenizer needs no picture token, and a batch may hold pictures of any length. What
comes out equals the official code's (tested on its fixture): SigLIP's last layer before its final norm, a projector of
two layers, and after each row of patches one learnt "newline".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyrite.rewards.chat import NO_ID, left_padded
from pyrite.rewards.llava_pixels import Size, best_grid, kept_patches, reduced

# What one pass through the vision tower holds in memory: 64 crops of SigLIP's size are 47 thousand patches.
_CROPS_AT_ONCE = 64


@dataclass(frozen=True)
class LlavaOneVision:
    """A LLaVA-OneVision model and how it cuts images.

    Args:
        model: a transformers `LlavaOnevisionForConditionalGeneration`.
        grids: those that `tiled` images are cut by; none if the checkpoint knows no tiles.
        most_crops: a tiled picture is reduced to about as many crops' worth of patches; infinity for never.
        longest: how many tokens it reads.
    """

    model: Any
    grids: tuple[Size, ...]
    most_crops: float
    longest: int

    @property
    def side(self) -> int:
        """Of a crop, in pixels."""
        return int(self.model.config.vision_config.image_size)

    @property
    def patches(self) -> int:
        """Along the side of a crop."""
        return self.side // int(self.model.config.vision_config.patch_size)

    @property
    def padded_tokens(self) -> int:
        """Of an image in `pad` mode: its patches and one newline."""
        return self.patches**2 + 1

    def tiled_tokens(self, size: Size) -> int:
        """Of an image of (width, height) in `anyres` mode: a whole crop, then its tiles' rows, each with a newline."""
        _, rows, columns = self._tiled_shape(size)
        height, width = reduced(rows.stop - rows.start, columns.stop - columns.start, self.most_crops * self.patches**2)
        return self.patches**2 + height * (width + 1)

    def padded_pictures(self, pixels: Tensor) -> list[Tensor]:
        """M pictures, each (`padded_tokens`, H), of (M, 3, side, side) pixels."""
        newline = self.model.model.image_newline
        return [torch.cat([picture, newline[None].to(picture)]) for picture in self._seen(pixels)]

    def tiled_pictures(self, crops: Sequence[Tensor], sizes: Sequence[Size]) -> list[Tensor]:
        """M pictures, each (`tiled_tokens`, H).

        Args:
            crops: M times (1 + tiles, 3, side, side) pixels: the whole image, then its tiles.
            sizes: (width, height) of the M images they are of.
        """
        seen = self._seen(torch.cat(list(crops))).split([len(one) for one in crops])
        return [self._packed(picture, size) for picture, size in zip(seen, sizes, strict=True)]

    def embedded(self, ids: Sequence[Sequence[int]], pictures: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """(M, L, H) embeddings of M questions filled up at the left, (M, L) mask and (M, L) positions.

        Args:
            ids: M questions, with `NO_ID` once for each token of the picture.
            pictures: M pictures.
        """
        batch = left_padded(ids, 0, self.model.device)
        is_picture = batch.ids == NO_ID
        embeddings: Tensor = self.model.get_input_embeddings()(batch.ids.clamp(min=0))
        embeddings[is_picture] = torch.cat(list(pictures)).to(embeddings)
        return embeddings, batch.mask, batch.positions

    def first_logits(self, ids: Sequence[Sequence[int]], pictures: Sequence[Tensor]) -> Tensor:
        """(M, V) float32 logits of the first token of each answer; arguments as of `embedded`."""
        embeddings, mask, positions = self.embedded(ids, pictures)
        states = self.model.model.language_model(
            inputs_embeds=embeddings, attention_mask=mask, position_ids=positions, use_cache=False
        ).last_hidden_state
        logits: Tensor = self.model.lm_head(states[:, -1]).float()
        return logits

    def _seen(self, pixels: Tensor) -> Tensor:
        """(M, patches ** 2, H) projected patches of M crops."""
        tower = self.model.model.vision_tower
        pixels = pixels.to(tower.embeddings.patch_embedding.weight)
        # Called part by part, since the library's forward would keep every layer's output to give the last one.
        states = [
            tower.encoder(inputs_embeds=tower.embeddings(some)).last_hidden_state
            for some in pixels.split(_CROPS_AT_ONCE)
        ]
        seen: Tensor = self.model.model.multi_modal_projector(torch.cat(states))
        return seen

    def _packed(self, picture: Tensor, size: Size) -> Tensor:
        """The whole crop's patches, then those of the tiles that show the image, with a newline after each row."""
        (across, down), rows, columns = self._tiled_shape(size)
        side = self.patches
        whole, tiles = picture[0], picture[1:].view(down, across, side, side, -1)
        plane = tiles.permute(4, 0, 2, 1, 3).reshape(-1, down * side, across * side)[:, rows, columns]
        smaller = reduced(plane.shape[1], plane.shape[2], self.most_crops * side**2)
        if smaller != tuple(plane.shape[1:]):
            plane = F.interpolate(plane[None], size=smaller, mode="bilinear")[0]
        newlines = self.model.model.image_newline[:, None, None].to(plane).expand(-1, plane.shape[1], 1)
        return torch.cat([whole, torch.cat([plane, newlines], dim=2).flatten(1).T])

    def _tiled_shape(self, size: Size) -> tuple[Size, slice, slice]:
        """Tiles (across, down), and the rows and columns of patches that show the image."""
        grid = best_grid(size, self.grids)
        tiles = (grid[0] // self.side, grid[1] // self.side)
        return tiles, *kept_patches(size, tiles, self.patches)
