"""Every op has its benchmark, and each registers the variants of its kernels.inc by itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "csrc"
OPS = sorted(folder.parent.name for folder in ROOT.glob("ops/*/kernels.inc"))


@pytest.mark.parametrize("op", OPS)
def test_op_has_a_benchmark(op: str) -> None:
    source = (ROOT / "bench" / "ops" / f"{op}_bench.cc").read_text()
    assert f'#include "ops/{op}/{op}.h"' in source
    assert re.search(r"register_(op|variants)\(", source)


def test_no_benchmark_is_without_its_op() -> None:
    names = sorted(path.name.removesuffix("_bench.cc") for path in ROOT.glob("bench/ops/*_bench.cc"))
    assert names == OPS
