"""What the NIPs demand, both ways: each rule has tests, and each marked test its rule."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest
from tests.docs.requirements import PAGE, page, read_manifest, rule_id

from hanse.servers.relay.info import NIPS, SUPPORTED

TESTS = Path(__file__).parents[1]
WHERE = {"relay", "node", "client"}
COVERED = {1, 2, 5, 9, 11, 13, 17, 40, 42, 44, 45, 50, 56, 59, 62, 65, 66, 67, 70, 77, 86, 98}


def functions(path: Path) -> dict[str, list[str]]:
    """The tests of a file, each with the rules that its marks name."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = [
                str(ast.literal_eval(call.args[0]))
                for call in node.decorator_list
                if isinstance(call, ast.Call)
                and ast.unparse(call.func) == "pytest.mark.requirement"
            ]
    return found


@pytest.fixture(scope="module")
def rules() -> dict[str, list[str]]:
    """Each rule's tests."""
    return {
        rule_id(number, name): rule.tests
        for number, nip in read_manifest().items()
        for name, rule in nip.rules.items()
    }


def test_every_rule_names_tests_that_exist(rules: dict[str, list[str]]) -> None:
    known: dict[str, dict[str, list[str]]] = {}
    missing = defaultdict(list)
    for rule, tests in rules.items():
        assert tests, rule
        for test in tests:
            file, _, name = test.partition("::")
            if file not in known:
                path = TESTS / file
                known[file] = functions(path) if path.exists() else {}
            if not name.startswith("test_") or name not in known[file]:
                missing[rule].append(test)
    assert missing == {}


def test_every_marked_test_stands_with_its_rule(rules: dict[str, list[str]]) -> None:
    wrong = []
    for path in TESTS.rglob("test_*.py"):
        file = path.relative_to(TESTS).as_posix()
        for name, marks in functions(path).items():
            wrong += [
                f"{file}::{name} is marked {mark}"
                for mark in marks
                if f"{file}::{name}" not in rules.get(mark, [])
            ]
    assert wrong == []


def test_the_relay_claims_just_the_nips_of_the_manifest() -> None:
    nips = read_manifest()
    assert set(nips) == COVERED
    assert [number for number, nip in nips.items() if nip.where == "relay"] == list(SUPPORTED)
    for number, nip in nips.items():
        assert nip.where in WHERE
        assert bool(nip.what) != (number in NIPS), f"NIP-{number:02}: said in one place"


def test_the_page_is_what_the_manifest_says() -> None:
    assert PAGE.read_text() == page(read_manifest()), "run ./dev docs"
