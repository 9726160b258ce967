"""Whether embeddings tell people apart: verification and identification numbers."""

from __future__ import annotations

import math

import torch
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Tensor

NEAR = 7.5  # degrees: how far from a difference of yaw a pair may be to count for it
DIFFERENCE = 45.0  # degrees


def verification(embeddings: Tensor, person: Tensor, yaw: Tensor | None = None) -> dict[str, float]:
    """Measure all pairs of different pictures.

    Args:
        embeddings: (N, D) unit.
        person: (N,) whose picture each is; at least one person with two pictures and two people.
        yaw: (N,) degrees of the pictures, where known.

    Returns:
        ``same``, ``different``: mean cosine of pairs of one person and of two.
        ``auc``: area under the curve of true by false acceptances.
        ``accuracy``: at the best threshold, pairs of one person and of two counting alike.
        ``rank1``: part of the pictures whose nearest other picture is of the same person, among
        those of people with two or more.
        ``same@45``, ``auc@45``: with yaw, for pairs 45 +- 7.5 degrees apart (pairs of two people
        as far); left out where there are none.
    """
    embeddings, person = embeddings.float().cpu(), person.cpu()
    cosine = embeddings @ embeddings.T
    same = person[:, None] == person
    pairs = torch.ones_like(same).triu(1)
    result = _measure(cosine[pairs], same[pairs])
    nearest = cosine.clone().fill_diagonal_(-math.inf).argmax(1)
    known = same.sum(1) > 1
    result["rank1"] = (person[nearest] == person)[known].float().mean().item()
    if yaw is not None:
        turned = verification_at(embeddings, person, yaw, DIFFERENCE)
        result |= {f"{key}@45": turned[key] for key in ("same", "different", "auc") if turned}
    return result


def verification_at(
    embeddings: Tensor, person: Tensor, yaw: Tensor, difference: float
) -> dict[str, float]:
    """Measure the pairs of pictures whose yaw differs by `difference` +- 7.5 degrees.

    Args:
        embeddings, person, yaw: see `verification`.
        difference: degrees.

    Returns:
        ``same``, ``different``, ``auc`` and ``accuracy`` as of `verification`; empty where there
        are no such pairs of one person, or none of two.
    """
    embeddings, person, yaw = embeddings.float().cpu(), person.cpu(), yaw.cpu()
    same = person[:, None] == person
    apart = (yaw[:, None] - yaw).abs()
    pairs = ((apart - difference).abs() < NEAR).triu(1)
    if not same[pairs].any() or same[pairs].all():
        return {}
    return _measure((embeddings @ embeddings.T)[pairs], same[pairs])


def _measure(cosine: Tensor, same: Tensor) -> dict[str, float]:
    false, true, _ = roc_curve(same.numpy(), cosine.numpy())
    return {
        "same": cosine[same].mean().item(),
        "different": cosine[~same].mean().item(),
        "auc": float(roc_auc_score(same.numpy(), cosine.numpy())),
        "accuracy": float(((true + 1 - false) / 2).max()),
    }
