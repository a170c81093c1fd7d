"""docs/offers.md: its file is without problems, its commands do what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hanse.registry.compatibility import LEVELS
from hanse.registry.document import CapabilityDocument, OfferDocument, PromiseDocument
from hanse.registry.lint import lint

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/offers.md").read_text()


def block(mark: str) -> str:
    """The one code block between two marks."""
    found = re.search(rf"<!-- {mark} -->\n```\w+\n(.*?)```\n<!-- /{mark} -->", PAGE, re.DOTALL)
    assert found, mark
    return found.group(1)


def test_the_file_of_the_page_has_no_errors() -> None:
    assert lint(block("file").encode()).errors == ()


def test_the_page_names_every_field() -> None:
    for document in (OfferDocument, CapabilityDocument, PromiseDocument):
        for name in document.__struct_fields__:
            assert name == "schema" or f"`{name}`" in PAGE, name


def test_the_page_names_every_level() -> None:
    assert [level for level in LEVELS[1:] if f"| {level} |" not in PAGE] == []


@pytest.mark.heavy
def test_the_commands_of_the_page_do_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(block("server"))
    (tmp_path / "offer.json").write_text(block("file"))
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, line in (
        ("hanse", "from hanse.__main__ import main\nmain()"),
        ("python", "import os, sys\nos.execv(sys.executable, [sys.executable, *sys.argv[1:]])"),
    ):
        command = bin_folder / name
        command.write_text(f"#!{sys.executable}\n{line}\n")
        command.chmod(0o755)
    wait = "for i in $(seq 300); do {} && break; sleep 0.1; done\n"
    script = "\n".join(
        [
            "set -e",
            "hanse init >/dev/null; hanse up --port 0 >/dev/null &",
            wait.format('[ -f "$HANSE_HOME/node.json" ]'),
            block("serve"),
            wait.format("hanse show adder >/dev/null 2>&1"),
            block("use"),
            "! hanse show adder 2>/dev/null",
            "kill $(jobs -p); wait",
        ]
    )
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ
        | {
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "HANSE_HOME": str(tmp_path / "home"),
            "PYTHONPATH": str(ROOT / "src"),
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 errors" in done.stdout
    assert "Settled in" in done.stderr
    assert "Nothing changed." in done.stdout
    assert "Withdrawn:" in done.stdout
