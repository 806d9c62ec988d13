"""Per-channel factors that share quantization difficulty out between activations and weights.

A linear layer ``y = W x`` is unchanged by ``x[c] / f[c]`` and ``W[:, c] * f[c]``. When the producer
of x can divide by f for nothing (a layer norm's gain, a GELU's output multiplier), f is chosen to
lower the noise that rounding both to 8 bits adds to y.

Two families of candidates are compared by a noise estimate:
- ``max|x|^alpha / max|W|^(1 - alpha)``  (SmoothQuant, Xiao et al. 2022, arXiv 2211.10438)
- ``max(1, max|x| / t)``                 (Outlier Suppression+, Wei et al. 2023, arXiv 2304.09145)
"""

from __future__ import annotations

import numpy as np

from pyqrt.grids import MAX_S8, Vector
from pyqrt.quantize.statistics import ChannelStatistics

SMOOTHING_EXPONENTS = tuple(k / 10 for k in range(11))
THRESHOLD_QUANTILES = tuple(1 - 2.0**-k for k in range(1, 12))
# Factors become int16 multipliers with one shift, so the smallest must leave the largest eight bits. A
# channel that calibration saw all but silent would ask for more.
LARGEST_SPREAD = 2.0**7


def predicted_noise(
    factor: Vector, low: Vector, high: Vector, second_moment: Vector, weight: Vector
) -> float:
    """Expected squared error of ``W x`` when x / factor and W * factor are rounded to 8 bits.

    low, high, second_moment: [inputs] of x; weight [outputs, inputs]. Rounding errors are taken as
    uniform and independent; a channel's error is never larger than the channel itself.
    """
    span = max(float((high / factor).max()), 0.0) - min(float((low / factor).min()), 0.0)
    step = span / (2 * MAX_S8)
    activation_noise = np.minimum((step * factor) ** 2 / 12, second_moment)
    scaled = weight * factor
    weight_step = np.abs(scaled).max(axis=1) / MAX_S8
    return float(
        (activation_noise * np.square(weight).sum(axis=0)).sum()
        + np.square(weight_step).sum() / 12 * (second_moment / np.square(factor)).sum()
    )


def equalization_factor(statistics: ChannelStatistics, shift: Vector, weight: Vector) -> Vector:
    """The candidate factor [inputs] with the least predicted noise, normalised to mean log 0.

    statistics: of x [inputs]; shift [inputs]: what the producer subtracts from x; weight
    [outputs, inputs]: every consumer of x, stacked.
    """
    low, high = statistics.low - shift, statistics.high - shift
    limit = np.maximum(statistics.limit(shift), 1e-12)
    column = np.maximum(np.abs(weight).max(axis=0), 1e-12)
    second_moment = statistics.second_moment(shift)
    candidates = [limit**alpha / column ** (1 - alpha) for alpha in SMOOTHING_EXPONENTS]
    candidates += [np.maximum(1.0, limit / np.quantile(limit, quantile)) for quantile in THRESHOLD_QUANTILES]
    candidates.append(np.ones_like(limit))
    spread = (np.maximum(factor, factor.max() / LARGEST_SPREAD) for factor in candidates)
    best = min(spread, key=lambda f: predicted_noise(f, low, high, second_moment, weight))
    return np.asarray(best / np.exp(np.log(best).mean()))
