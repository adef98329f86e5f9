"""The Frechet distance between two sets of features (Heusel et al. 2017, section 2, eq. 6).

    d^2 = |mu_1 - mu_2|^2 + tr(C_1 + C_2 - 2 (C_1^(1/2) C_2 C_1^(1/2))^(1/2))

All is computed in float64. The usual formula takes the root of C_1 C_2, which is not real when a covariance
is singular (fewer samples than features); the root of the symmetric product is. An estimate from N samples is
too high, more so for smaller N: compare only figures of equal N.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.errors import SfumatoError, UsageError


@dataclass(frozen=True, kw_only=True, eq=False)
class Gaussian:
    """Mean (F,) and covariance (F, F) of a set of features, float64."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Gaussian":
        """The moments of features (N, F), N at least 2; the covariance is divided by N - 1.

        Raises:
            UsageError: not (N, F) with N at least 2.
            SfumatoError: the features are not finite.
        """
        if features.ndim != 2 or len(features) < 2:
            raise UsageError(f"features must be (N, F) with N at least 2, not {tuple(features.shape)}")
        if not bool(features.isfinite().all()):
            raise SfumatoError("the features are not finite: the pictures hold NaN or infinite values")
        features = features.to(torch.float64)
        mean = features.mean(0)
        centred = features - mean
        return cls(mean=mean, covariance=centred.T @ centred / (len(features) - 1))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """The squared Frechet distance of two Gaussians, at least 0; symmetric up to rounding.

    Raises:
        UsageError: the two have not the same number of features.
    """
    if a.mean.shape != b.mean.shape:
        raise UsageError(f"{len(a.mean)} features against {len(b.mean)}: both sets need the same features")
    values, vectors = torch.linalg.eigh(a.covariance)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T  # the symmetric one
    cross = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp_min(0).sqrt().sum()
    shift = (a.mean - b.mean).square().sum()
    return max(0.0, float(shift + a.covariance.trace() + b.covariance.trace() - 2 * cross))
