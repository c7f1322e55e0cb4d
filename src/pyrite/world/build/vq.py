"""The image tokeniser: 64x64 pixels as 8x8 codes of 1,024, in the VQ format of Janus.

Two networks, because the native 64x64 decoder is slow to train on a CPU. A *teacher* that sees the picture as 192
channels of 8x8 (`pixel_unshuffle`) learns the codebook: first as a plain auto-encoder on unit-norm latents, then,
after k-means on its latents, with straight-through quantisation, a moving-average codebook and dead codes restarted
where the error is large. The *native* network, which ships, then learns to read and to draw these codes at 64x64.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyrite.world.build.optimisers import MuonAdamW, trapezoid

NUM_CODES, CODE_DIM = 1024, 16
CELL_PX, GRID = 8, 8
BATCH = 32
AUTOENCODER_SHARE = 0.3
EMA = 0.98
COMMITMENT = 0.1

Progress = Callable[[int, int, dict[str, float]], None]
Device = str | torch.device


def teacher_network() -> Any:
    """Encoder and decoder on 8x8 cells of 192 channels."""
    return _network(base_channels=96, latent_channels=96, channel_multiplier=[1], in_channels=192, out_channels=192)


def native_settings() -> dict[str, object]:
    """The `JanusVQVAEConfig` fields of the network that ships."""
    return {
        "base_channels": 32,
        "latent_channels": 96,
        "channel_multiplier": [1, 1, 2, 3],
        "in_channels": 3,
        "out_channels": 3,
        "num_res_blocks": 1,
        "embed_dim": CODE_DIM,
        "num_embeddings": NUM_CODES,
        "num_patches": GRID,
    }


def native_network() -> Any:
    """Encoder and decoder on 64x64 pixels."""
    return _network(**native_settings())


def _network(**settings: object) -> Any:
    from transformers.models.janus import JanusVQVAEConfig
    from transformers.models.janus.modeling_janus import JanusVQVAE

    shared = {"embed_dim": CODE_DIM, "num_embeddings": NUM_CODES, "num_patches": GRID, "num_res_blocks": 1}
    network = JanusVQVAE(JanusVQVAEConfig(**{**shared, **settings}))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()  # the library's std of 0.02 starts too slowly
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("conv2.weight", "proj_out.weight")):
                parameter.mul_(0.1)
    return network.train()


def to_cells(images: Tensor) -> Tensor:
    """(B, 3, 64, 64) in [0, 1] -> (B, 192, 8, 8) in [-1, 1]."""
    return F.pixel_unshuffle(images * 2 - 1, CELL_PX)


def from_cells(cells: Tensor) -> Tensor:
    """The inverse of `to_cells`."""
    return (F.pixel_shuffle(cells, CELL_PX) + 1) / 2


def encode(network: Any, pixels: Tensor) -> Tensor:
    """(B, 16, 8, 8) latents of unit norm."""
    return F.normalize(network.quant_conv(network.encoder(pixels)), dim=1)


def decode(network: Any, latents: Tensor) -> Tensor:
    """Pixels from latents, in the network's own layout."""
    pixels: Tensor = network.decoder(network.post_quant_conv(latents))
    return pixels


def picture_error(drawn: Tensor, images: Tensor) -> Tensor:
    """Mean of 0.5 |e| + 3 e^2, with object pixels (x 3) and their edges (x 4 more) weighing most."""
    error = drawn - images
    paper = images.flatten(2).median(2).values[..., None, None]
    inside = ((images - paper).abs().amax(1, keepdim=True) > 0.15).float()
    edge = F.max_pool2d(inside, 3, 1, 1) + F.max_pool2d(-inside, 3, 1, 1)
    weight = 1 + 2 * inside + 4 * edge
    return ((0.5 * error.abs() + 3 * error.square()) * weight).mean() / weight.mean()


def batches(images: Tensor, steps: int, generator: torch.Generator, size: int = BATCH) -> Iterator[tuple[int, Tensor]]:
    """`steps` random batches of rows of (N, 3, 64, 64) bytes: step number and row numbers."""
    for step in range(steps):
        yield step, torch.randint(0, len(images), (size,), generator=generator)


class Codebook:
    """1,024 unit vectors that follow the mean of the latents assigned to them."""

    def __init__(self, latents: Tensor, generator: torch.Generator) -> None:
        self.vectors = _kmeans(latents, NUM_CODES, generator)
        self._mass = latents.new_full((NUM_CODES,), BATCH * GRID**2 / NUM_CODES)
        self._sum = self.vectors * self._mass[:, None]
        self._generator = generator

    def assign(self, flat_latents: Tensor) -> Tensor:
        """(N,) nearest code of (N, 16) unit latents."""
        return (flat_latents @ self.vectors.T).argmax(1)

    def update(self, flat_latents: Tensor, codes: Tensor, *, restart_dead: bool) -> None:
        """Move each code towards its latents; put codes that nothing uses where the error is largest."""
        self._mass.mul_(EMA).add_(torch.bincount(codes, minlength=NUM_CODES), alpha=1 - EMA)
        total = torch.zeros_like(self._sum).index_add_(0, codes, flat_latents)
        self._sum.mul_(EMA).add_(total, alpha=1 - EMA)
        self.vectors = F.normalize(self._sum, dim=-1)
        dead = self._mass < 0.04
        if restart_dead and dead.any():
            error = 1 - (flat_latents * self.vectors[codes]).sum(1)
            weights = error.clamp(min=1e-6).cpu()
            chosen = torch.multinomial(weights, int(dead.sum()), True, generator=self._generator)
            self.vectors[dead] = self._sum[dead] = flat_latents[chosen]
            self._mass[dead] = 1.0


def _kmeans(points: Tensor, clusters: int, generator: torch.Generator, rounds: int = 12) -> Tensor:
    centres = points[torch.randperm(len(points), generator=generator)[:clusters]].clone()
    for _ in range(rounds):
        nearest = torch.cat([(part @ centres.T).argmax(1) for part in points.split(20_000)])
        total = torch.zeros_like(centres).index_add_(0, nearest, points)
        used = torch.bincount(nearest, minlength=clusters) > 0
        spare = points[torch.randint(0, len(points), (clusters,), generator=generator)]
        centres = torch.where(used[:, None], F.normalize(total, dim=-1), spare)
    return centres


def _flat(latents: Tensor) -> Tensor:
    return latents.permute(0, 2, 3, 1).reshape(-1, CODE_DIM)


def _pixels(images: Tensor, rows: Tensor, device: Device) -> Tensor:
    return images[rows].to(device).float() / 255


def _optimiser(network: Any) -> MuonAdamW:
    named = [(name, p) for name, p in network.named_parameters() if "quantize" not in name]
    kernels = [p for _, p in named if p.ndim == 4]
    return MuonAdamW(kernels, [p for _, p in named if p.ndim != 4], muon_lr=3e-3, adamw_lr=1e-3)


def train_teacher(images: Tensor, *, steps: int, seed: int, progress: Progress, device: Device = "cpu") -> Any:
    """Learn the codebook on (N, 3, 64, 64) bytes; the vectors end up in `network.quantize.embedding`."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = teacher_network().to(device)
    optimiser = _optimiser(network)
    codebook: Codebook | None = None
    start_codes = int(AUTOENCODER_SHARE * steps)
    for step, rows in batches(images, steps, generator):
        pixels = _pixels(images, rows, device)
        latents = encode(network, to_cells(pixels))
        commitment = torch.zeros(())
        if step == start_codes:
            codebook = Codebook(_sample_latents(network, images, generator), generator)
        if codebook is not None:
            flat = _flat(latents.detach())
            codes = codebook.assign(flat)
            chosen = codebook.vectors[codes].view(-1, GRID, GRID, CODE_DIM).permute(0, 3, 1, 2)
            commitment = (latents - chosen).square().sum(1).mean()
            latents = latents + (chosen - latents).detach()
            codebook.update(flat, codes, restart_dead=step % 20 == 0 and step < 0.75 * steps)
        drawn = from_cells(decode(network, latents))
        loss = picture_error(drawn, pixels)
        optimiser.step(loss + COMMITMENT * commitment, trapezoid(step, steps))
        if step % 50 == 0:
            rmse = (drawn - pixels).square().mean().sqrt().item()
            progress(step, steps, {"rmse": rmse, "commitment": commitment.item()})
    assert codebook is not None
    with torch.no_grad():
        network.quantize.embedding.weight.copy_(codebook.vectors)
    return network.eval()


@torch.no_grad()
def _sample_latents(network: Any, images: Tensor, generator: torch.Generator) -> Tensor:
    rows = torch.randint(0, len(images), (2400,), generator=generator)
    parts = [_pixels(images, part, network.device) for part in rows.split(100)]
    return torch.cat([_flat(encode(network, to_cells(part))) for part in parts])


@torch.no_grad()
def encode_all(network: Any, images: Tensor, *, native: bool) -> Tensor:
    """(N, 64) codes of (N, 3, 64, 64) bytes, on the CPU."""
    codebook = network.quantize.embedding.weight
    codes = []
    for part in images.split(250):
        pixels = part.to(network.device).float() / 255
        flat = _flat(encode(network, pixels * 2 - 1 if native else to_cells(pixels)))
        codes.append((flat @ codebook.T).argmax(1).view(-1, GRID**2).cpu())
    return torch.cat(codes)


def latents_of(network: Any, codes: Tensor) -> Tensor:
    """(B, 16, 8, 8) code vectors of (B, 64) codes."""
    vectors: Tensor = network.quantize.embedding(codes.to(network.device))
    return vectors.view(-1, GRID, GRID, CODE_DIM).permute(0, 3, 1, 2)


def train_native(
    images: Tensor,
    codes: Tensor,
    teacher: Any,
    *,
    steps: int,
    seed: int,
    progress: Progress,
    device: Device = "cpu",
) -> Any:
    """Learn to draw the teacher's codes at 64x64, and (every fourth step) to read them."""
    torch.manual_seed(seed + 1)
    generator = torch.Generator().manual_seed(seed + 1)
    network = native_network().to(device)
    with torch.no_grad():
        network.quantize.embedding.weight.copy_(teacher.quantize.embedding.weight)
    optimiser = _optimiser(network)
    for step, rows in batches(images, steps, generator, size=16):
        pixels = _pixels(images, rows, device)
        vectors = latents_of(network, codes[rows]).detach()
        drawn = (decode(network, vectors) + 1) / 2
        loss = picture_error(drawn, pixels)
        if step % 4 == 0:
            loss = loss + _reading_error(network, pixels, codes[rows].to(device))
        optimiser.step(loss, trapezoid(step, steps, decay_from=0.4))
        if step % 25 == 0:
            progress(step, steps, {"rmse": (drawn - pixels).square().mean().sqrt().item()})
    return network.eval()


def _reading_error(network: Any, pixels: Tensor, codes: Tensor) -> Tensor:
    logits = _flat(encode(network, pixels * 2 - 1)) @ network.quantize.embedding.weight.detach().T
    return 0.1 * F.cross_entropy(20 * logits, codes.flatten())
