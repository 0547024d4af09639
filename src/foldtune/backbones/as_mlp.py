"""AS-MLP: a hierarchical backbone that mixes positions by shifting channels along the axes.

Written from the paper (Lian et al., ICLR 2022) and held to the numbers of the published code. Keys
are those of the published checkpoints. All maps are (B, C, H, W), all norms GroupNorm with one
group, all linear layers 1x1 convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.torchvision_ops import declare_missing_operators

declare_missing_operators()

from timm.layers import DropPath  # noqa: E402


def shift_channels(x: Tensor, size: int, axis: int) -> Tensor:
    """Move channel group g of `size` groups by g - size // 2 along `axis`; zeros come in.

    x: (B, C, H, W). Groups are consecutive, of ceil(C / size) channels, the last maybe smaller.
    """
    reach, length = size // 2, x.shape[axis]
    around = (reach, reach, 0, 0) if axis == 3 else (0, 0, reach, reach)
    groups = F.pad(x, around).chunk(size, 1)
    return torch.cat([g.narrow(axis, 2 * reach - i, length) for i, g in enumerate(groups)], 1)


class AxialShift(nn.Module):
    """conv3(N2(GELU(conv2_1(shift_W h)) + GELU(conv2_2(shift_H h)))), h = GELU(N1(conv1(x)))."""

    def __init__(self, channels: int, shift_size: int) -> None:
        super().__init__()
        self.shift_size = shift_size
        self.conv1 = nn.Conv2d(channels, channels, 1)
        self.conv2_1 = nn.Conv2d(channels, channels, 1)
        self.conv2_2 = nn.Conv2d(channels, channels, 1)
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.norm1 = nn.GroupNorm(1, channels)
        self.norm2 = nn.GroupNorm(1, channels)

    def forward(self, x: Tensor) -> Tensor:
        h = F.gelu(self.norm1(self.conv1(x)))
        across = F.gelu(self.conv2_1(shift_channels(h, self.shift_size, 3)))
        down = F.gelu(self.conv2_2(shift_channels(h, self.shift_size, 2)))
        return self.conv3(self.norm2(across + down))


class Mlp(nn.Module):
    """fc2(GELU(fc1(x))) by 1x1 convolutions."""

    def __init__(self, channels: int, ratio: float) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, int(channels * ratio), 1)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(int(channels * ratio), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """x <- x + AxialShift(norm1(x)); x <- x + MLP(norm2(x))."""

    def __init__(self, channels: int, shift_size: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(1, channels)
        self.axial_shift = AxialShift(channels, shift_size)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.GroupNorm(1, channels)
        self.mlp = Mlp(channels, mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.axial_shift(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PatchMerging(nn.Module):
    """Four neighbours become one position: norm, then a 1x1 convolution from 4 C to 2 C."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, 4 * channels)
        self.reduction = nn.Conv2d(4 * channels, 2 * channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(parts, 1)))


class PatchEmbed(nn.Module):
    """A convolution of the size of its stride, and a norm."""

    def __init__(self, patch_size: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, patch_size, patch_size)
        self.norm = nn.GroupNorm(1, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x))


class Stage(nn.Module):
    """Blocks of one width, then merging, but for the last stage."""

    def __init__(self, blocks: Sequence[Block], downsample: PatchMerging | None) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(x)
        return x if self.downsample is None else self.downsample(x)


class AsMlp(nn.Module):
    """The whole network; the defaults are AS-MLP-B, 88 M parameters."""

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        img_size: int = 224,
        patch_size: int = 4,
        embed_dim: int = 128,
        depths: Sequence[int] = (2, 2, 18, 2),
        shift_size: int = 5,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.pretrained_cfg = {"input_size": (3, img_size, img_size), "num_classes": num_classes}
        self.patch_embed = PatchEmbed(patch_size, embed_dim)
        step = drop_path_rate / max(1, sum(depths) - 1)
        rates = (i * step for i in range(sum(depths)))
        stages = []
        for i, depth in enumerate(depths):
            width = embed_dim * 2**i
            blocks = [Block(width, shift_size, mlp_ratio, next(rates)) for _ in range(depth)]
            stages.append(Stage(blocks, PatchMerging(width) if i < len(depths) - 1 else None))
        self.layers = nn.Sequential(*stages)
        self.num_features = embed_dim * 2 ** (len(depths) - 1)
        self.norm = nn.GroupNorm(1, self.num_features)
        self.head = nn.Linear(self.num_features, num_classes)
        self.apply(_draw)

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H / 32, W / 32) for four stages."""
        return self.norm(self.layers(self.patch_embed(x)))

    def forward_head(self, x: Tensor) -> Tensor:
        return self.head(x.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def _draw(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
