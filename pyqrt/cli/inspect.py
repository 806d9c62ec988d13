"""`pyqrt inspect`: everything a model file holds and what would run here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def inspect(
    model: Annotated[Path, typer.Argument(help="Model file (.qrt).")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with everything.")] = False,
) -> None:
    """Check a model file; show its nodes, the kernel chosen for each, bit budgets and memory."""
    from pyqrt.runtime import load

    loaded = load(model)
    loaded.verify()
    description = loaded.describe()
    for node in description["nodes"]:
        for side in ("inputs", "outputs"):
            buffers = [loaded.program.buffers[number] for number in node[side]]
            node[f"{side}_as"] = [f"{b.dtype} {b.rows} x {b.width}" for b in buffers]
    if as_json:
        sys.stdout.write(json.dumps(description) + "\n")
    else:
        _print_tables(description)


def _print_tables(description: dict[str, Any]) -> None:
    from pyqrt.cli.tables import print_pairs, print_table

    limits, task = description["limits"], description["task"]
    token, sequence = description["arena_bytes_per_token"], description["arena_bytes_per_sequence"]
    longest = limits["max_length"]
    labels = ", ".join(task["labels"][:20]) + (", ..." if len(task["labels"]) > 20 else "")
    outputs = [
        f"{o['name']}: {o['dtype']} {o['rows']} x {o['width']}, times {o['scale']:.6g}"
        for o in description["outputs"]
    ]
    print_pairs(
        "model",
        {
            "file": f"{description['path']} ({_bytes(description['file_bytes'])})",
            "header digest": description["header_digest"],
            "task": task["kind"] + (f": {labels}" if labels else ""),
            "outputs": "; ".join(outputs),
            "limits": f"{longest} tokens, vocabulary {limits['vocab_size']}, "
            f"{limits['type_vocab_size']} token types",
            "tokenizer": "in the file" if description["tokenizer"] else "none: takes token ids",
            "instruction set": description["isa"],
            "tensors": _bytes(description["tensor_bytes"]),
            "working memory": f"{token} bytes a token, {sequence} a sequence; "
            f"{_bytes(token * longest + sequence)} for one of {longest} tokens, without threads' scratch",
        },
    )
    print_table(
        "nodes",
        ("node", "op", "kernel", "reads", "writes", "bits", "weights"),
        [
            (
                node["name"],
                node["op"],
                node["variant"],
                ", ".join(node["inputs_as"]) or "token ids",
                ", ".join(node["outputs_as"]),
                f"{node['accumulator_bits']} of {node['budget_bits']}" if node["accumulator_bits"] else "",
                _bytes(node["weight_bytes"]) if node["weight_bytes"] else "",
            )
            for node in description["nodes"]
        ],
    )
    for title in ("provenance", "report"):
        print_pairs(title, {key: _plain(value) for key, value in description[title].items()})


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count} bytes"
