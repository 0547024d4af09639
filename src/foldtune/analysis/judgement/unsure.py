"""What is right where the least sure images are left to a person."""

from __future__ import annotations

from typing import Any

import numpy as np

from foldtune.analysis.panel import Panel

LEFT = (0.05, 0.1, 0.2)  # shares of images


def left_out(panel: Panel, name: str, shares: tuple[float, ...] = LEFT) -> list[dict[str, Any]]:
    """Accuracy of the rest where so many of the least sure images are left out, mean over seeds.

    As of the risk-coverage curve: images of equal confidence count with their mean error.
    """
    import torch

    from foldtune.judging.calibration import risk_by_confidence

    risks = []
    for member, right in zip(panel.runs[name], panel.right[name], strict=True):
        sure = panel.with_labels(member).shares.max(1).astype(np.float32)
        risks.append(risk_by_confidence(torch.from_numpy(sure), torch.from_numpy(~right)).numpy())
    risk = np.mean(risks, axis=0)
    images = len(risk)
    return [
        {"left_out": share, "accuracy": float(1 - risk[max(round(images * (1 - share)), 1) - 1])}
        for share in (0.0, *shares)
    ]
