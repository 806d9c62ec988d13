"""rotary: pairs and what is beyond them, extremes, bad arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ops.harness import check, random_s16, signs, strided
from oracle import rotary as oracle
from pyqrt import ModelError, ops

Case = dict[str, Any]


def make_case(head_dim: int, pairs: int, heads: int = 3, rows: int = 7, positions: int = 5) -> Case:
    rng = np.random.default_rng([head_dim, pairs])
    angle = rng.uniform(0, 7, (positions, pairs))
    return {
        "input": random_s16(rng, rows, heads * head_dim),
        "position": rng.integers(0, positions, rows).astype(np.int32),
        "cosine": np.round(np.cos(angle) * 2**14).astype(np.int16),
        "sine": np.round(np.sin(angle) * 2**14).astype(np.int16),
        "head_dim": head_dim,
        "shift": 21,
    }


def check_case(case: Case) -> None:
    check("rotary", lambda variant: ops.rotary(**case, variant=variant), oracle.rotary(**case))


@pytest.mark.parametrize("head_dim", [2, 3, 13, 16, 17, 32, 33, 48, 64, 65, 66, 96, 127, 128, 131, 200])
@pytest.mark.parametrize("part", [1, 2, 4, 100])
def test_heads(head_dim: int, part: int) -> None:
    """A whole head turned, parts of it, and a single pair."""
    case = make_case(head_dim, max(1, head_dim // 2 // part))
    for shift in (15, 21, 24):
        check_case(case | {"shift": shift})
    check_case(case | {"input": strided(case["input"])})


@pytest.mark.parametrize("pairs", [8, 3])
def test_extremes(pairs: int) -> None:
    case = make_case(16, pairs, rows=40)
    rng = np.random.default_rng(1)
    case["input"] = signs(rng, 32767, 40, 48).astype(np.int16)
    case["cosine"] = signs(rng, 2**14, 5, pairs).astype(np.int16)
    case["sine"] = signs(rng, 2**14, 5, pairs).astype(np.int16)
    for shift in range(15, 25):
        check_case(case | {"shift": shift})


def test_it_is_the_rotation() -> None:
    case = make_case(32, 16)
    turned = ops.rotary(**case).reshape(7, 3, 2, 16).astype(float)
    pair = case["input"].reshape(7, 3, 2, 16) / 2**7
    c, s = (case[name][case["position"]][:, None, :] / 2**14 for name in ("cosine", "sine"))
    expected = np.stack([pair[:, :, 0] * c - pair[:, :, 1] * s, pair[:, :, 1] * c + pair[:, :, 0] * s], 2)
    assert np.abs(turned - np.clip(expected, -127, 127)).max() <= 0.51


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shift": 14}, "shift"),
        ({"shift": 25}, "shift"),
        ({"head_dim": 5}, "head_dim"),
        ({"position": np.full(7, 5, np.int32)}, "position"),
        ({"position": np.full(7, -1, np.int32)}, "position"),
        ({"sine": np.full((5, 4), 2**14 + 1, np.int16)}, "sine"),
        ({"cosine": np.zeros((5, 9), np.int16), "sine": np.zeros((5, 9), np.int16)}, "cosine"),
        ({"input": np.full((7, 48), -32768, np.int16)}, "input"),
    ],
)
def test_bad_arguments(change: Case, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        ops.rotary(**make_case(16, 4) | change)
