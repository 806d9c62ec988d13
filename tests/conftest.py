"""What holds for every test: hypothesis without deadlines, and the account of op variants."""

from __future__ import annotations

import os

import hypothesis
import pytest

from ops import harness
from ops.variant_account import VariantAccount

hypothesis.settings.register_profile("pyqrt", deadline=None, max_examples=150, print_blob=True)
hypothesis.settings.load_profile("pyqrt")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(VariantAccount(), "variant-account")
    if hasattr(config, "workerinput"):  # one of several processes: threads of torch would fight for the CPUs
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_report_header() -> list[str]:
    try:
        names = [f"{op} ({', '.join(harness.variants(op))})" for op in harness.OPS]
    except ImportError as error:
        return [f"pyqrt op variants: the extension is not built ({error})"]
    return [f"pyqrt op variants: {'; '.join(names)}"]
