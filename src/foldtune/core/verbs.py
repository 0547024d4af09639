"""The verbs on an attachment as functions, for those who prefer them to methods."""

from __future__ import annotations

from contextlib import AbstractContextManager

from torch import nn

from foldtune.core.attachment import Attachment


def merge(attachment: Attachment) -> nn.Module:
    """Fold the method into the backbone, in place; see `Attachment.merge`."""
    return attachment.merge()


def interpolate(
    attachment: Attachment, alpha: float, head_alpha: float | None = None
) -> AbstractContextManager[nn.Module]:
    """The model between its start (0) and the tuned one (1); see `Attachment.interpolated`."""
    return attachment.interpolated(alpha, head_alpha)
