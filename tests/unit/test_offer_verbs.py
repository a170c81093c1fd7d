"""`hanse offer` on files: what it prints, for eyes and as JSON, and its exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hanse.cli.app import app
from hanse.registry.document import document_schema

RUNNER = CliRunner()


def file(folder: Path, name: str, version: str = "1.0.0", *needs: str, **more: Any) -> str:
    """The path of an offer's file."""
    schema = {"type": "object", "properties": {"to": {"type": "string"}}, "required": list(needs)}
    row = {"name": "send", "price": "2sat", "input_schema": schema} | more
    whole = {"id": "post", "name": "Post", "version": version, "capabilities": [row]}
    path = folder / name
    path.write_text(json.dumps(whole))
    return str(path)


def ran(*words: str, code: int = 0) -> str:
    """What `hanse offer WORDS` prints."""
    done = RUNNER.invoke(app, ["offer", *words])
    assert done.exit_code == code, done.output
    return done.output


def test_lint_says_each_problem_in_a_line_and_fails_only_for_errors(tmp_path: Path) -> None:
    good, bad = file(tmp_path, "good.json"), file(tmp_path, "bad.json", price="2eur")
    assert "warning: summary: is missing (searches find an offer by its words)" in ran("lint", good)
    told = ran("lint", bad, code=1)
    assert 'error: capabilities[0].price: "2eur" does not match' in told
    assert told.endswith("1 errors, 0 warnings.\n")
    found = json.loads(ran("lint", bad, "--json", code=1))
    assert found["ok"] is False
    assert found["problems"][0]["path"] == "capabilities[0].price"
    assert json.loads(ran("lint", good, "--json"))["ok"] is True


def test_lint_of_what_is_not_there_is_refused_by_its_name(tmp_path: Path) -> None:
    found = json.loads(ran("lint", str(tmp_path / "none.json"), "--json", code=1))
    assert found["field"] == "file"


@pytest.mark.parametrize(
    ("version", "needs", "level", "least", "code"),
    [
        ("1.0.0", (), "none", "1.0.0", 0),
        ("1.9.0", ("to",), "major", "2.0.0", 1),
        ("2.0.0", ("to",), "major", "2.0.0", 0),
        ("2.0.0-rc.1", ("to",), "major", "2.0.0", 0),
    ],
)
def test_diff_says_which_version_a_change_needs_and_whether_it_has_it(
    tmp_path: Path, version: str, needs: tuple[str, ...], level: str, least: str, code: int
) -> None:
    old, new = file(tmp_path, "old.json"), file(tmp_path, "new.json", version, *needs)
    found = json.loads(ran("diff", old, new, "--json", code=code))
    assert (found["needs"], found["needs_version"], found["enough"]) == (level, least, not code)
    if needs:
        told = ran("diff", old, new, code=code)
        assert "major: capabilities.send.schema.properties.to was not required before" in told
        assert f"Needs 2.0.0 or later; {version} is{' not' if code else ''}." in told


def test_diff_shows_what_breaks_nobody_too(tmp_path: Path) -> None:
    old, new = file(tmp_path, "old.json"), file(tmp_path, "new.json", "1.1.0", price="3sat")
    assert "minor: capabilities.send.price is 3 sat now, was 2 sat" in ran("diff", old, new)
    assert "patch: capabilities.send.price is 2 sat now, was 3 sat" in ran("diff", new, old, code=1)


def test_schema_prints_the_schema_of_the_file() -> None:
    assert json.loads(ran("schema")) == document_schema() == json.loads(ran("schema", "--json"))


def test_a_file_with_errors_is_not_compared(tmp_path: Path) -> None:
    good, bad = file(tmp_path, "good.json"), file(tmp_path, "bad.json", price="-2sat", title="a\nb")
    found = json.loads(ran("diff", good, bad, "--json", code=1))
    assert found["field"].startswith("offer.capabilities[0].")
    assert "1 more: `hanse offer lint` lists them" in found["reason"]
