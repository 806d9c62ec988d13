"""The commands as their users see them: output, exit codes, one line for an error."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import small_model
from typer.testing import CliRunner, Result

import pyqrt
from pyqrt import _runtime
from pyqrt.cli import app
from pyqrt.runtime import entities, load
from pyqrt.runtime import format as model_format
from tiny_checkpoint import checkpoint


def invoke(*arguments: Any, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def output(*arguments: Any, stdin: bytes | None = None) -> str:
    result = invoke(*arguments, stdin=stdin)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def json_lines(*arguments: Any, stdin: bytes | None = None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output(*arguments, stdin=stdin).splitlines()]


def refused(*arguments: Any, stdin: bytes | None = None) -> str:
    """Exit code 1 and one line on stderr, which is returned."""
    result = invoke(*arguments, stdin=stdin)
    assert result.exit_code == 1
    assert result.stderr.startswith("pyqrt: ")
    assert result.stderr.endswith("\n")
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.strip().isprintable()
    return result.stderr


def test_embeddings(folder: Path) -> None:
    path = folder / "embedding.qrt"
    expected = load(path)(["a b", ""])
    lines = json_lines("run", path, "--json", stdin=b"a b\n\n")
    assert [line["text"] for line in lines] == ["a b", ""]
    np.testing.assert_array_equal(np.array([line["embedding"] for line in lines], np.float32), expected)
    assert json.loads(output("run", path, "a b")) == lines[0]["embedding"]


def test_classification(folder: Path) -> None:
    path = folder / "sequence_classification.qrt"
    (expected,) = load(path)("a b")
    assert json_lines("run", path, "a b", "--json") == [{"text": "a b", **dataclasses.asdict(expected)}]
    assert output("run", path, "a b") == f"{expected.label}\t{expected.score:.6f}\n"
    (expected,) = load(path)("a", "b")
    assert json_lines("run", path, "a", "b", "--json") == [
        {"text": "a", "pair": "b", **dataclasses.asdict(expected)}
    ]


def test_words_and_entities(folder: Path) -> None:
    path = folder / "token_classification.qrt"
    text = "anna lives in Paris ."
    (words,) = load(path)(text)
    (line,) = json_lines("run", path, text, "--json")
    assert line["words"] == [dataclasses.asdict(word) for word in words]
    assert line["entities"] == [dataclasses.asdict(entity) for entity in entities(text, words)]
    assert output("run", path, text) == " ".join(f"{word.text}/{word.label}" for word in words) + "\n"


def test_answers(folder: Path) -> None:
    path = folder / "question_answering.qrt"
    answers = load(path)(["a", "b"], ["c a", "anna"])
    lines = json_lines("run", path, "--json", stdin=b"a\tc a\r\nb\tanna")
    assert [line["answer"] for line in lines] == [dataclasses.asdict(answer) for answer in answers]
    assert "context for each question" in refused("run", path, "who")


def test_choices(tmp_path: Path) -> None:
    """The best choice stands beside the question, whose `text` it does not replace."""
    program, tensors = small_model.build(
        small_model.Task("sequence_classification", "logits", ("one",)), types=2
    )
    path = tmp_path / "choices.qrt"
    task = small_model.Task("multiple_choice", "logits")
    model_format.write(path, program, tensors, task, small_model.tokenizer_json(), {}, {})
    (expected,) = load(path)("anna", [["a", "b c"]])
    (line,) = json_lines("run", path, "anna", "a|b c", "--json")
    assert line == {"text": "anna", "pair": "a|b c", "choice": dataclasses.asdict(expected)}
    assert output("run", path, "anna", "a|b c") == f"{expected.text}\t{expected.score:.6f}\n"


def test_results_do_not_depend_on_the_batch(folder: Path) -> None:
    path = folder / "sequence_classification.qrt"
    stdin = "".join(f"{'a b c Paris '[: i % 13]}\n" for i in range(50)).encode()
    assert (
        output("run", path, "--batch", 1, "--json", stdin=stdin)
        == output("run", path, "--json", stdin=stdin)
        == output("run", path, "--threads", 3, "--batch", 50, "--json", stdin=stdin)
        == output("run", path, "--threads", 3, "--parallel", "texts", "--json", stdin=stdin)
    )


def test_no_lines_give_no_lines(folder: Path) -> None:
    assert output("run", folder / "embedding.qrt", stdin=b"") == ""


def test_text_in_any_script(folder: Path) -> None:
    text = "Größe \U0001f600 東京"
    (line,) = json_lines("run", folder / "embedding.qrt", "--json", stdin=text.encode())
    assert line["text"] == text


def test_a_byte_order_mark_begins_stdin_and_is_no_text(folder: Path) -> None:
    path = folder / "sequence_classification.qrt"
    lines = json_lines("run", path, "--json", stdin=b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n")
    assert [line["text"] for line in lines] == ["a", "\ufeffb"]


def test_long_texts(folder: Path) -> None:
    path = folder / "embedding.qrt"
    text = "a " * 50
    assert "52 tokens" in refused("run", path, text)
    assert output("run", path, text, "--truncate") == output("run", path, "a " * 22)
    message = refused("run", path, "--batch", 2, stdin=b"a\nb\nc\n" + text.encode())
    assert "from line 3: text 1 has 52 tokens" in message


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        (b"\xff\xfea\n", "line 1: not valid UTF-8"),
        (b"a\n\xff\xfe\n", "line 2: not valid UTF-8"),
        (b"a\n\xed\xa0\x80\n", "line 2: not valid UTF-8"),
        (b"a\tb\tc\n", "line 1: 2 tabs"),
        (b"a\tb\na\n", "line 2: has no pair"),
        (b"a\na\tb\n", "line 2: has a pair"),
    ],
)
def test_bad_lines_are_named(folder: Path, stdin: bytes, message: str) -> None:
    assert message in refused("run", folder / "embedding.qrt", stdin=stdin)


def test_control_characters_never_reach_the_terminal(tmp_path: Path) -> None:
    """From labels, provenance and file names alike."""
    program, tensors = small_model.build(small_model.EMBEDDING)
    path = tmp_path / "m.qrt"
    provenance = {"\x1b[2Jkey": "[red]\x1b]0;title\x07\u202e"}
    model_format.write(path, program, tensors, small_model.EMBEDDING, None, provenance, {})
    shown = output("inspect", path)
    assert "\\x1b[2Jkey" in shown
    assert "[red]\\x1b]0;title\\x07\\u202e" in shown
    assert all(line.isprintable() for line in shown.splitlines())
    assert "\\x1b[31m" in refused("run", tmp_path / "\x1b[31m\n.qrt", "a")


@pytest.mark.parametrize("command", [["run", "X", "a"], ["inspect", "X"], ["inspect", "X", "--json"]])
def test_files_that_are_no_models(command: list[str], tmp_path: Path) -> None:
    path = tmp_path / "X"
    arguments = [str(path) if word == "X" else word for word in command]
    assert "cannot be opened" in refused(*arguments)
    path.write_bytes(os.urandom(4096))
    assert "no pyqrt model" in refused(*arguments)
    path.unlink()
    path.mkdir()
    assert "a directory" in refused(*arguments)


def test_inspect(folder: Path) -> None:
    path = folder / "sequence_classification.qrt"
    description = json.loads(output("inspect", path, "--json"))
    model = load(path)
    assert description["file_bytes"] == path.stat().st_size
    assert description["task"]["labels"] == ["no", "maybe", "yes"]
    assert [node["name"] for node in description["nodes"]] == [node.name for node in model.program.nodes]
    for node in description["nodes"]:
        assert 0 < node["accumulator_bits"] <= node["budget_bits"] <= 64
        assert node["variant"] in [variant["name"] for variant in _runtime.isas()]
    assert description["nodes"][1]["outputs_as"] == ["s8 tokens x 32", "s16 tokens x 32"]
    assert description["provenance"] == {"source": "random"}
    shown = output("inspect", path)
    for node in description["nodes"]:
        bits = f"{node['accumulator_bits']} of {node['budget_bits']}"
        (line,) = (line for line in shown.splitlines() if line.split()[:1] == [node["name"]])
        assert bits in line
        assert node["variant"] in line
    assert description["header_digest"] in shown
    assert "no, maybe, yes" in shown


def test_inspect_shows_the_kernels_that_are_forced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYQRT_FORCE_ISA", "reference")
    description = json.loads(output("inspect", folder / "embedding.qrt", "--json"))
    assert {node["variant"] for node in description["nodes"]} == {"reference"}


def test_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYQRT_FORCE_ISA", raising=False)
    findings = json.loads(output("doctor", "--json"))
    variants = findings["variants"]
    assert variants == _runtime.isas()
    assert [variant["name"] for variant in variants if variant["chosen"]] == [_runtime.default_isa()]
    assert findings["threads"] == _runtime.available_cpus()
    assert (findings["forced"], findings["error"]) == (None, None)
    assert findings["versions"]["numpy"] == np.__version__
    shown = output("doctor")
    assert all(variant["name"] in shown for variant in variants)
    assert "PYQRT_FORCE_ISA" in shown
    for variant in variants:
        if variant["supported"]:
            monkeypatch.setenv("PYQRT_FORCE_ISA", variant["name"])
            forced = json.loads(output("doctor", "--json"))
            assert forced["forced"] == variant["name"]
            assert [v["name"] for v in forced["variants"] if v["chosen"]] == [variant["name"]]


def test_a_forced_variant_that_does_not_exist(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYQRT_FORCE_ISA", "mmx\x1b[2J")
    assert "unknown instruction set 'mmx\\x1b[2J'" in refused("run", folder / "embedding.qrt", "a")
    assert "unknown instruction set" in refused("doctor")
    result = invoke("doctor", "--json")
    assert result.exit_code == 1
    findings = json.loads(result.stdout)
    assert findings["forced"] == "mmx\x1b[2J"
    assert findings["error"] in result.stderr.replace("\\x1b", "\x1b")
    x86, arm = ["avx512vnni", "avx512vnni256", "avxvnni", "avx2"], ["neoni8mm", "neondot", "neon"]
    assert [v["name"] for v in findings["variants"]] == [*x86, *arm, "reference"]
    assert not any(v["chosen"] for v in findings["variants"])
    assert os.environ["PYQRT_FORCE_ISA"] == "mmx\x1b[2J"


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "m", "--threads", "0"],
        ["run", "m", "--threads", "many"],
        ["run", "m", "a", "b", "c"],
        ["run", "m", "--batch", str(10**23)],
        ["inspect"],
        ["quantize", "checkpoint"],
        ["quantize", "checkpoint", "-o", "m", "--task", "poem"],
        ["quantize", "checkpoint", "-o", "m", "--seed", str(2**63)],
        ["qat", "checkpoint", "-o", "m.qrt", "--data", "d", "--batch", str(10**23)],
        ["doctor", "--loud"],
        ["dance"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "Usage" in result.stderr


def test_every_whole_number_is_bounded() -> None:
    """So that none is too large for what it goes through, up to the provenance in the file."""
    bounds = {
        f"{command.callback.__name__} {name}": hint.__metadata__[0].max
        for command in app.registered_commands
        if command.callback
        for name, hint in get_type_hints(command.callback, include_extras=True).items()
        if get_args(hint)[:1] in [(int,), (int | None,)]
    }
    assert len(bounds) > 20
    assert [name for name, most in bounds.items() if most is None] == []


def test_the_largest_seed_goes_into_the_file(tmp_path: Path) -> None:
    source, path = checkpoint(tmp_path / "bert"), tmp_path / "model.qrt"
    output("quantize", source, "-o", path, "--seed", 2**63 - 1, "--json")
    assert load(path).provenance["seed"] == 2**63 - 1


def test_version() -> None:
    assert output("--version") == f"pyqrt {version('pyqrt')}\n"
    assert pyqrt.__version__ == version("pyqrt")


@pytest.mark.parametrize("command", [[], ["run"], ["inspect"], ["doctor"], ["quantize"], ["demo"]])
def test_help(command: list[str]) -> None:
    assert "Usage" in output(*command, "--help")


def process(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[bytes]:
    code = "from pyqrt.cli import app; app()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, timeout=120, **options
    )


def test_arguments_that_are_no_text(folder: Path, tmp_path: Path) -> None:
    """Bytes that are not UTF-8 on the command line of a real process."""
    result = process("run", folder / "embedding.qrt", os.fsdecode(b"\xff"), cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, b"")
    assert b"text 0 is not valid Unicode" in result.stderr
    assert b"Traceback" not in result.stderr
    result = process("run", os.fsdecode(b"\xff.qrt"), "a", cwd=tmp_path)
    assert result.returncode == 1
    assert b"cannot be opened" in result.stderr
    assert b"Traceback" not in result.stderr


def test_any_locale(folder: Path, tmp_path: Path) -> None:
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    arguments = ("run", folder / "embedding.qrt", "--json")
    result = process(*arguments, input="ä".encode(), cwd=tmp_path, env=environment)
    assert result.returncode == 0
    assert json.loads(result.stdout)["text"] == "ä"


def test_a_locale_that_lacks_letters(folder: Path, tmp_path: Path) -> None:
    """They are shown as escapes."""
    path = tmp_path / "größe.qrt"
    path.write_bytes((folder / "embedding.qrt").read_bytes())
    environment = os.environ | {"PYTHONUTF8": "1", "PYTHONIOENCODING": "ascii"}
    result = process("inspect", path, env=environment)
    assert (result.returncode, result.stderr) == (0, b"")
    assert rb"gr\xf6\xdfe.qrt" in result.stdout


def without(stream: str, *arguments: Any) -> subprocess.CompletedProcess[bytes]:
    """The command as a shell runs it with `stream` closed: `<&-` or `>&-`."""
    code = "from pyqrt.cli import app; app()"
    command = ["sh", "-c", f'exec "$@" {stream}', "sh", sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=120)


@pytest.mark.parametrize("command", ["run X a", "inspect X", "inspect X --json", "doctor", "doctor --json"])
def test_standard_output_that_is_closed(folder: Path, command: str) -> None:
    result = without(">&-", *command.replace("X", str(folder / "embedding.qrt")).split())
    assert result.returncode == 1
    assert result.stderr == b"pyqrt: standard output is closed; send it to a file, or to /dev/null\n"


def test_standard_input_that_is_closed(folder: Path) -> None:
    path = folder / "embedding.qrt"
    result = without("<&-", "run", path)
    assert result.returncode == 2
    assert b"give a text, or pipe texts to stdin" in result.stderr
    assert without("<&-", "run", path, "a b").stdout.decode() == output("run", path, "a b")


def test_a_reader_that_leaves(folder: Path, tmp_path: Path) -> None:
    code = "from pyqrt.cli import app; app()"
    path = folder / "embedding.qrt"
    with subprocess.Popen(
        [sys.executable, "-c", code, "run", str(path), "--batch", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    ) as running:
        assert running.stdin
        assert running.stdout
        assert running.stderr
        running.stdin.write(b"a\n")
        running.stdin.flush()
        assert running.stdout.readline()  # an answer to each line at once
        running.stdout.close()
        running.stdin.write(b"b\n")
        running.stdin.close()
        assert running.stderr.read() == b""
        assert running.wait(60) == 1
