"""The README's sixty seconds and its Python, run as they stand."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import People

from hanse.node import Node
from hanse.protocol import kinds

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def between(mark: str) -> str:
    found = re.search(rf"<!-- {mark} -->(.*?)<!-- /{mark} -->", README, re.DOTALL)
    assert found, mark
    return found.group(1)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.heavy
def test_the_sixty_seconds_by_hand_do_what_they_say(tmp_path: Path) -> None:
    tour = between("tour")
    start, serve, use = blocks(tour, "sh")
    (module,) = blocks(tour, "python")
    (tmp_path / "greetings.py").write_text(module)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    command = bin_folder / "hanse"
    command.write_text(f"#!{sys.executable}\nfrom hanse.__main__ import main\nmain()\n")
    command.chmod(0o755)
    # What a person does by waiting: until the node, then the offer, is there.
    wait = "for i in $(seq 200); do {} && break; sleep 0.1; done\n"
    script = "\n".join(
        [
            "set -e",
            start,
            wait.format('[ -f "$HANSE_HOME/node.json" ]'),
            serve,
            wait.format("hanse show greet >/dev/null 2>&1"),
            use,
            "kill $(jobs -p); wait",
        ]
    )
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{bin_folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Hello, Ada!" in done.stdout
    assert "Settled in" in done.stderr
    assert "sum: 0 sat" in done.stdout


async def test_the_python_of_the_readme_runs(
    node: Node, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = people.agent()
    await node.payments.grant("readme", agent.pubkey, _amount("10sat"), "test")
    monkeypatch.setattr("hanse.Agent.from_home", lambda: agent)
    (code,) = blocks(between("sdk"), "python")
    scope: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), scope)
    async with asyncio.timeout(10):
        assert await scope["main"]() == "HELLO"


def _amount(text: str) -> Any:
    from hanse.protocol.amount import Amount

    return Amount.parse(text)


def test_every_file_the_documents_name_is_there() -> None:
    for document in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/settings.md"):
        text = (ROOT / document).read_text()
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / target).exists(), f"{document} names {target}"


def test_the_bounds_in_the_settings_page_stand_where_it_says() -> None:
    rows = re.findall(
        r"\| ([\w/., ]+\.py|registry/)[^|]*\|$", (ROOT / "docs/settings.md").read_text(), re.M
    )
    assert rows
    for row in rows:
        folder = ""
        for name in row.split(", "):
            path = ROOT / "src/hanse" / (name if "/" in name else folder + name)
            folder = name.rpartition("/")[0] + "/"
            assert path.exists(), name


def test_every_kind_of_the_table_is_in_the_protocol_page() -> None:
    page = (ROOT / "docs/protocol.md").read_text()
    for row in kinds.TABLE:
        assert re.search(rf"\b{row.number}\b", page), f"{row.number}: {row.name}, {row.spec}"
