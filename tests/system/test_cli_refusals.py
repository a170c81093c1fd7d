"""The command line's refusals: one readable line, exit code 1, and JSON when asked for."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.cli_home import Home

from hanse import __version__

pytestmark = pytest.mark.heavy  # a process or more for each test

DOWN = "ws://127.0.0.1:9"
KEY = "ab" * 32


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with keys that knows no node."""
    work = tmp_path_factory.mktemp("refusals")
    (work / "broken.py").write_text("raise RuntimeError('broken module')\n")
    (work / "plain.py").write_text("VALUE = 1\ndef untyped(name):\n    return name\n")
    found = Home(work / "home")
    found.json("init")
    return found


@pytest.fixture(scope="module")
def node(home: Home) -> Iterator[dict[str, Any]]:
    """A running node that no home remembers but this one."""
    other = Home(home.work / "node")
    other.json("init")
    with other.started("up", "--port", "0", "--json") as running:
        yield json.loads(running.line())


CASES = [
    (("call", "x", "y", "{bad"), "invalid: input: is not JSON"),
    (("call", "x", "y", "[1]"), "invalid: input: must be a JSON object"),
    (("call", "x", "y", "{}", "--max-price", "3"), "invalid: max-price: '3' is not an amount"),
    (("call", "x", "y", "{}", "--max-price", "-1sat"), "invalid: max-price: "),
    (("call", "x", "y", "{}", "--deadline", "soon"), "invalid: deadline: 'soon' is not a time"),
    (("find", "x", "--latency-p95", "2h"), "invalid: latency-p95: '2h' is not a time"),
    (("find", "x", "--success", "most"), "invalid: success: 'most' is not a share"),
    (("find", "x", "--success", "120%"), "invalid: success: must be 0 to 1"),
    (("find", "x", "--max-price", "1.5msat"), "invalid: max-price: a millisatoshi"),
    (("grant", "nobody", "5sat"), "invalid: to: must be 64 lower-case hex"),
    (("grant", KEY, "5"), "invalid: amount: '5' is not an amount"),
    (("agent", "add", "../x"), "invalid: agent: use letters"),
    (("agent", "add", "default"), "duplicate: agent default: exists already"),
    (("balance", "--agent", "nobody", "--node", DOWN), "invalid: agent: no agent 'nobody' here"),
    (("balance", "--agent", "../operator", "--node", DOWN), "invalid: agent: use letters"),
    (("token", "--hours", "0", "--node", DOWN), "error: ws"),
    (("balance",), "invalid: no node is known here (start one with `hanse up`"),
    (("status",), "invalid: no node is known here"),
    (("books",), "invalid: no node is known here"),
    (("mcp",), "invalid: no node is known here"),
    (("balance", "--node", DOWN), "error: ws://127.0.0.1:9: "),
    (("status", "--node", DOWN), "error: node: http://127.0.0.1:9/api/v1/status: "),
    (("books", "--node", DOWN), "error: node: http://127.0.0.1:9/api/v1/books: "),
    (("mcp", "--node", DOWN), "error: ws://127.0.0.1:9: "),
    (("balance", "--node", "127.0.0.1:7447"), "invalid: node: must be a ws:// or wss:// URL"),
    (("status", "--node", "file:///etc/passwd"), "invalid: node: must be a ws://"),
    (("balance", "--node", "ws://127.0.0.1:port"), "error: ws://127.0.0.1:port: "),
    (("status", "--node", "ws://[bad"), "error: node: http://[bad"),
    (("serve", "python", "plain"), "invalid: target: must be MODULE:FUNCTION"),
    (("serve", "python", "missing:f"), "invalid: target: No module named 'missing'"),
    (("serve", "python", "plain:missing"), "invalid: target: plain has no function"),
    (("serve", "python", "plain:VALUE"), "invalid: target: plain has no function"),
    (("serve", "python", "broken:f"), "invalid: target: cannot be loaded: RuntimeError"),
    (("serve", "python", ".x:f"), "invalid: target: cannot be loaded: "),
    (("serve", "python", "plain:untyped", "--price", "x"), "invalid: price: 'x' is not an amount"),
    (("serve", "python", "plain:untyped", "--success", "2"), "invalid: promise.success_rate: "),
    (("serve", "python", "plain:untyped", "--latency-p95", "0"), "invalid: promise.latency_p95_ms"),
    (("serve", "mcp", "--price", "x", "--", "true"), "invalid: price: 'x' is not an amount"),
    (("up", "--port", "70000"), "invalid: port: must be 0 to 65535"),
    (("up", "--fee-ppm", "-1"), "invalid: fee: must be 0 to 1,000,000"),
    (("up", "--grant", "much"), "invalid: grant: 'much' is not an amount"),
    (("up", "--doors", "mcp"), "invalid: doors: "),
    (("up", "--doors", "api,ftp"), "invalid: doors: ['ftp'] unknown"),
    (("up", "--url", "http://x.example"), "invalid: public_url: must be a ws://"),
    (("up", "--limit", "connections=0"), "invalid: limit: connections must be 1 to 999999999999"),
    (("up", "--limit", "connections=-1"), "invalid: limit: connections must be 1 to 999999999999"),
    (("up", "--limit", "connections"), "invalid: limit: 'connections' is not NAME=NUMBER"),
    (("up", "--port", "0", "--host", "203.0.113.1"), "error: cannot listen on 203.0.113.1:0"),
    (("receipt", "verify", "missing.json"), "invalid: missing.json: cannot be read: No such"),
    (("receipt", "verify", "."), "invalid: .: cannot be read: Is a directory"),
    (("receipt", "verify", "plain.py"), "invalid: event: is not JSON"),
    (("receipt", "verify", "-", "--node-key", "x"), "invalid: node-key: must be 64"),
]


@pytest.mark.parametrize(("words", "says"), CASES, ids=[" ".join(words) for words, _ in CASES])
def test_bad_input_is_one_line_that_names_field_and_reason(
    home: Home, words: tuple[str, ...], says: str
) -> None:
    before = sorted(home.work.rglob("*"))
    assert home.refused(*words).startswith(says)
    after = [path for path in home.work.rglob("*") if "__pycache__" not in path.parts]
    assert set(after) <= set(before) | {home.folder / "data"}


def test_with_json_a_refusal_is_one_object(home: Home) -> None:
    words = ("call", "x", "y", "{}", "--deadline", "soon")
    found = home.json(*words, code=1)
    assert found == {
        "error": "invalid",
        "field": "deadline",
        "reason": "'soon' is not a time",
        "hint": 'write "500ms" or "2s"',
    }
    assert home.json("balance", "--node", DOWN, code=1)["error"] == "unavailable"
    assert home.json("balance", "--agent", "nobody", code=1)["error"] == "not-found"


@pytest.mark.parametrize("words", [("status",), ("books",), ("peer", "list")])
def test_with_json_an_unreachable_node_is_named_by_its_setting(
    home: Home, words: tuple[str, ...]
) -> None:
    found = home.json(*words, "--node", DOWN, code=1)
    assert (found["error"], found["field"]) == ("unavailable", "node")
    assert found["reason"].startswith("http://127.0.0.1:9/")


def test_with_json_an_unreachable_relay_is_named_by_its_argument(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.json("init")
    with home.started("up", "--port", "0", "--json") as running:
        running.line()
        found = home.json("sync", DOWN, code=1)
    assert (found["error"], found["field"]) == ("unavailable", "url")
    assert found["reason"].startswith(DOWN)


@pytest.mark.parametrize(
    "words", [("up", "--port", "0"), ("import", "none.jsonl"), ("restore", "x")]
)
@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("plain.py", "is no folder"),
        ("plain.py/x", "cannot be made: Not a directory"),
        ("/proc/x", "cannot be made: No such file or directory"),
    ],
)
def test_a_data_folder_that_cannot_be_made_is_named_with_the_reason(
    home: Home, words: tuple[str, ...], folder: str, reason: str
) -> None:
    for file in ("none.jsonl", "x"):
        (home.work / file).touch()
    found = home.json(*words, "--data", folder, code=1)
    assert found == {
        "error": "unavailable",
        "field": folder,
        "reason": reason,
        "hint": "name another folder with --data",
    }


def test_a_home_that_cannot_be_made_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (str(tmp_path / "file"), "/proc/x"):
        found = Home(tmp_path / "home", HANSE_HOME=folder).json("init", code=1)
        assert (found["error"], found["hint"]) == (
            "unavailable",
            "HANSE_HOME names the home folder",
        )
        assert found["field"].startswith(folder)
        assert found["reason"].startswith("cannot be written: ")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("call", "nobody", "x"), "invalid: offer: no offer has this name"),
        (("show", "nobody"), "invalid: offer: no offer has this name"),
        (("show", "naddr1qqqq"), "invalid: offer: "),
        (("receipt", "show", "f00"), "invalid: id: no receipt has this id"),
        (("find", "x", "--limit", "0"), "invalid: limit: "),
        (("find", "x" * 1001), "invalid: words: "),
        (("token", "--hours", "0"), "invalid: life: must be 1 to"),
        (("token", "--hours", "100000"), "invalid: life: must be 1 to"),
        (("books",), "restricted: only this node's operator may do this"),
        (("grant", KEY, "5sat"), "restricted: only this node's operator may do this"),
        (("serve", "python", "plain:untyped"), "invalid: untyped"),
        (("serve", "mcp", "--only", "x", "--", "no-such-program"), "error: 'no-such-program' did"),
        (("serve", "mcp", "--", "true"), "error: 'true' did not start as an MCP server"),
    ],
)
def test_what_the_node_refuses_is_told_in_its_words(
    home: Home, node: dict[str, Any], words: tuple[str, ...], says: str
) -> None:
    verb = 2 if words[0] in ("serve", "receipt") else 1
    line = home.refused(*words[:verb], "--node", node["url"], *words[verb:])
    assert line.startswith(says)


def test_a_sealed_home_needs_its_phrase(tmp_path: Path) -> None:
    sealed = Home(tmp_path / "home", HANSE_PASSPHRASE="correct horse")
    assert sealed.json("init", "--passphrase")["sealed"] is True
    assert len(sealed.json("agent", "list")["agents"]) == 1
    keys = {path: path.read_text() for path in sealed.folder.rglob("*.key")}
    assert all(text.startswith("ncryptsec1") for text in keys.values())
    closed = Home(tmp_path / "home")
    for words in (("agent", "list"), ("up", "--port", "0"), ("balance", "--node", DOWN)):
        line = closed.refused(*words)
        assert line.startswith(f"invalid: {sealed.folder}/")
        assert line.endswith("is sealed (set HANSE_PASSPHRASE)")
    assert closed.json("agent", "add", "x", code=1)["error"] == "wrong-passphrase"
    wrong = Home(tmp_path / "home", HANSE_PASSPHRASE="wrong")
    assert wrong.json("agent", "list", code=1)["error"] == "wrong-passphrase"
    assert {path: path.read_text() for path in sealed.folder.rglob("*.key")} == keys


def test_an_agent_s_name_cannot_lead_out_of_the_home(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert home.refused("init", "--agent", "../../x").startswith("invalid: agent: ")
    assert list(tmp_path.iterdir()) == []


def test_without_init_every_verb_says_so(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    for words in (("up",), ("agent", "add", "x"), ("books", "--node", DOWN)):
        assert home.refused(*words).endswith("(run `hanse init` first)")
    assert home.json("agent", "list") == {"agents": []}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "invalid: event: is not JSON"),
        (b"{}", "invalid: event.id: is missing"),
        (b"[" * 100_000, "invalid: event"),
        (b"\xff\xfe", "invalid: event"),
        (b" " * (600 * 1024), "invalid: event: is over 524288 bytes"),
        (b" " * (2 << 20), "invalid: -: is over 1048576 bytes"),
    ],
)
def test_a_file_that_is_no_receipt_is_refused(home: Home, content: bytes, says: str) -> None:
    assert home.refused("receipt", "verify", "-", stdin=content).startswith(says)


def test_an_event_that_is_no_receipt_is_refused(home: Home) -> None:
    from hanse.keyring import new_secret
    from hanse.protocol import kinds
    from hanse.protocol.event import encode_event, sign_event

    secret = new_secret()
    for kind, content, tags, says in (
        (1, "{}", (), "invalid: receipt.kind: must be 2402"),
        (kinds.RECEIPT, "{}", (("v", "2.0.0"),), "invalid: receipt.tags.v: "),
        (kinds.RECEIPT, "no", (("v", "1.0.0"),), "invalid: receipt.content: is not JSON"),
        (kinds.RECEIPT, "{}", (("v", "1.0.0"),), "invalid: receipt.content.call: is missing"),
    ):
        event = sign_event(secret, kind=kind, created_at=1, content=content, tags=tags)
        line = home.refused("receipt", "verify", "-", stdin=encode_event(event))
        assert line.startswith(says)


def test_two_nodes_cannot_share_a_port(home: Home, node: dict[str, Any]) -> None:
    port = node["url"].rpartition(":")[2]
    line = home.refused("up", "--port", port)
    assert line.startswith(f"error: cannot listen on 127.0.0.1:{port}: Address already in use")
    assert "--port" in line


def test_a_usage_error_is_exit_code_2_and_shows_the_usage(home: Home) -> None:
    for words in (("call",), ("find", "x", "--limit", "many"), ("fly",), ("balance", "--loud")):
        done = home.run(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Usage:" in done.stderr


def test_with_json_a_usage_error_is_an_object_too(home: Home) -> None:
    for words, field in (
        (("call",), "offer"),
        (("find", "x", "--limit", "many"), "limit"),
        (("fly",), None),
        (("balance", "--loud"), None),
    ):
        done = home.run(*words, "--json")
        assert (done.returncode, done.stderr) == (2, "")
        found = json.loads(done.stdout)
        assert (found["error"], found.get("field")) == ("invalid", field)


def test_the_version_is_told_without_a_verb(home: Home) -> None:
    assert home.run("--version").stdout == f"hanse {__version__}\n"


def test_a_passphrase_in_the_environment_seals_without_the_flag(tmp_path: Path) -> None:
    home = tmp_path / "sealed"
    environment = os.environ | {"HANSE_HOME": str(home), "HANSE_PASSPHRASE": "a good phrase"}
    done = subprocess.run(
        [sys.executable, "-m", "hanse", "init", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout)["sealed"] is True
    assert (home / "operator.key").read_text().startswith("ncryptsec1")
