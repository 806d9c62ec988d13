"""The account of op variants: a pytest plugin that conftest.py registers.

A run of the op suite fails when it left out a variant that this CPU supports: a kernel that is
never compared with the reference must not pass unnoticed. Where several processes share the tests out
(`pytest -n`), what each covered counts together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ops import harness

OP_TESTS = Path(__file__).parent


class VariantAccount:
    """Decides which ops a run had to cover, and compares with `harness.covered`."""

    def __init__(self) -> None:
        self.required: set[str] = set()
        self.partial = False

    @staticmethod
    def supported(op: str) -> set[str]:
        return set(harness.variants(op))

    def missing(self) -> dict[str, set[str]]:
        if self.partial:
            return {}
        gaps = {op: self.supported(op) - harness.covered[op] for op in sorted(self.required)}
        return {op: gap for op, gap in gaps.items() if gap}

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.partial |= any(OP_TESTS in item.path.parents for item in items)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        config = session.config
        chosen = [str(arg) for arg in config.args]
        self.partial |= config.option.collectonly or any("::" in arg for arg in chosen)
        paths = [(config.invocation_params.dir / arg.split("::")[0]).resolve() for arg in chosen]
        if any(path == OP_TESTS or path in OP_TESTS.parents for path in paths):
            self.required = set(harness.OPS)
        else:
            names = {item.path.stem for item in session.items if item.path.parent == OP_TESTS}
            self.required = {op for op in harness.OPS if f"test_{op}" in names}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        told = getattr(node, "workeroutput", {}).get("variant account")
        if told is None:  # it crashed, which fails the run
            return
        self.required |= set(told["required"])
        self.partial |= told["partial"]
        for op, variants in told["covered"].items():
            harness.covered[op] |= set(variants)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["variant account"] = {
                "required": sorted(self.required),
                "partial": self.partial,
                "covered": {op: sorted(variants) for op, variants in harness.covered.items()},
            }
            return
        if session.exitstatus == pytest.ExitCode.OK and self.missing():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.required:
            return
        terminalreporter.section("op variants compared with the oracle")
        for op in sorted(self.required):
            ran = [variant for variant in harness.variants(op) if variant in harness.covered[op]]
            terminalreporter.line(f"{op}: {', '.join(ran) or 'none'}")
        for op, gap in self.missing().items():
            terminalreporter.line(f"FAILED {op}: not covered: {', '.join(sorted(gap))}", red=True)
