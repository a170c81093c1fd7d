"""The command line by hand: from init to a verified receipt, with real processes."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.system.cli_home import Home, Running, is_gone
from typer.testing import CliRunner

from hanse.cli.app import app

pytestmark = pytest.mark.heavy  # a process or more for each test

COMMANDS = (
    ("init",),
    ("up",),
    ("serve", "mcp"),
    ("serve", "python"),
    ("find",),
    ("show",),
    ("offer", "lint"),
    ("offer", "diff"),
    ("offer", "show"),
    ("offer", "schema"),
    ("offer", "withdraw"),
    ("call",),
    ("balance",),
    ("receipt", "show"),
    ("receipt", "verify"),
    ("trust",),
    ("vouch",),
    ("unvouch",),
    ("appeal",),
    ("rate",),
    ("mcp",),
    ("status",),
    ("agent", "add"),
    ("agent", "list"),
    ("grant",),
    ("token",),
    ("books",),
    *(("handle", verb) for verb in ("add", "list", "remove", "claim", "release", "find", "move")),
    *(
        ("key", verb)
        for verb in ("plan", "rotate", "retire", "stolen", "consent", "recover", "veto", "show")
    ),
    ("peer", "add"),
    ("peer", "list"),
    ("peer", "remove"),
    ("sync",),
    ("backup",),
    ("restore",),
    ("export",),
    ("import",),
    ("vacuum",),
)
GREETINGS = """
import time

calls = 0


def greet(name: str) -> str:
    "Greet somebody by name."
    if name == "fail":
        raise RuntimeError("no")
    if name == "sleep":
        time.sleep(5)
    return f"Hello, {name}\\x1b[31m"


def hang(name: str) -> str:
    "Never answer."
    time.sleep(3600)
    return name


def untyped(name):
    return name
"""
SERVER = """
from mcp.server.mcpserver import MCPServer

server = MCPServer("little-adder")


@server.tool()
def add(a: int, b: int) -> int:
    "Add two whole numbers."
    return a + b


@server.tool()
def shout(text: str) -> str:
    "Say it louder."
    if text == "fail":
        raise ValueError("too loud")
    return text.upper()


server.run("stdio")
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with keys, and the modules that are served from beside it."""
    work = tmp_path_factory.mktemp("cli")
    (work / "greetings.py").write_text(GREETINGS)
    (work / "adder.py").write_text(SERVER)
    (work / "broken.py").write_text("raise RuntimeError('broken module')\n")
    found = Home(work / "home")
    found.json("init")
    return found


@pytest.fixture(scope="module")
def node(home: Home) -> Iterator[dict[str, Any]]:
    """`hanse up` on a free port: what it printed."""
    with home.started("up", "--port", "0", "--json") as running:
        yield json.loads(running.line())


@pytest.fixture(scope="module")
def greeter(home: Home, node: dict[str, Any]) -> Iterator[Running]:
    """`hanse serve python` with a greeting, by an agent of its own."""
    home.json("agent", "add", "greeter")
    words = ("serve", "python", "greetings:greet", "--price", "2sat", "--agent", "greeter")
    with home.started(*words, "--latency-p95", "500ms", "--json") as running:
        assert json.loads(running.line())["capabilities"] == ["greet"]
        home.json("show", "greet")
        yield running


# --- help -------------------------------------------------------------------------------------


def test_the_commands_tested_here_are_all_there_are() -> None:
    root = typer.main.get_command(app)
    found: set[tuple[str, ...]] = set()
    for name, command in getattr(root, "commands", {}).items():
        below = getattr(command, "commands", None)
        found |= {(name, sub) for sub in below} if below else {(name,)}
    assert found == set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_teaches_with_an_example(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*words, "--help"])
    assert done.exit_code == 0
    assert "Example" in done.output
    assert f"hanse {' '.join(words)}" in " ".join(done.output.split()) or words == ("mcp",)
    assert "--json" in done.output


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from hanse.cli.app import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'mcp', 'fastapi', 'aiohttp', 'cryptography', 'pydantic', 'uvicorn', 'picows'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_hanse_alone_says_where_to_start(home: Home) -> None:
    done = home.run("--help")
    assert done.returncode == 0
    for verb in ("init", "up", "serve", "find", "call"):
        assert f"hanse {verb}" in " ".join(done.stdout.split())


# --- the way by hand --------------------------------------------------------------------------


def test_init_makes_keys_once(home: Home) -> None:
    assert (home.folder / "operator.key").stat().st_mode & 0o777 == 0o600
    line = home.refused("init")
    assert line.startswith(f"duplicate: {home.folder}: has an operator key already")


def test_up_says_where_everything_is(home: Home, node: dict[str, Any]) -> None:
    assert node["url"].startswith("ws://127.0.0.1:")
    assert node["mcp"] == node["http"] + "/mcp"
    assert Path(node["data"]) == home.folder / "data"
    assert (home.folder / "data" / "hanse.db").stat().st_size > 0
    found = home.json("status")
    assert (found["node"], found["url"]) == (node["node"], node["url"])
    assert found["ledger_sum_msat"] == 0


def test_find_show_call_and_receipt(home: Home, greeter: Running) -> None:
    before = home.json("balance")["available_msat"]
    found = home.json("find", "greet", "somebody", "--max-price", "3sat", "--latency-p95", "1s")
    (hit,) = found["services"]
    assert (hit["capability"], hit["price_msat"], hit["online"]) == ("greet", 2000, True)
    offer = home.json("show", hit["offer"])
    assert offer["capabilities"][0]["input_schema"]["required"] == ["name"]
    words = ("call", hit["offer"], "greet", '{"name": "Ada"}', "--max-price", "2sat")
    result = home.json(*words, "--deadline", "5s", "--key", "by-hand")
    assert (result["status"], result["charged_msat"]) == ("settled", 2000)
    again = home.json(*words, "--deadline", "5s", "--key", "by-hand")
    assert again["call"] == result["call"]
    assert home.json("balance")["available_msat"] == before - 2000

    receipt = home.json("receipt", "show", result["receipt"])
    file = home.work / "receipt.json"
    file.write_text(json.dumps(receipt))
    verified = home.json("receipt", "verify", str(file))
    assert (verified["verified"], verified["call"]) == (True, result["call"])
    key = home.json("status")["node"]
    assert home.json("receipt", "verify", str(file), "--node-key", key)["node"] == key
    done = home.run("receipt", "verify", "-", stdin=file.read_bytes())
    assert (done.returncode, done.stdout.count("Verified:")) == (0, 2)
    for path, field, value in (
        (("content",), "paid_msat", 2000),
        (("content",), "output_sha256", "0" * 64),
        ((), "created_at", 1),
    ):
        tampered = json.loads(file.read_text())
        if path:
            content = json.loads(tampered["content"]) | {field: value}
            tampered["content"] = json.dumps(content)
        else:
            tampered[field] = value
        (home.work / "tampered.json").write_text(json.dumps(tampered))
        line = home.refused("receipt", "verify", str(home.work / "tampered.json"))
        assert line == "invalid: event.id: does not match the event's content"
    other = home.json("status")["operator"]
    line = home.refused("receipt", "verify", str(file), "--node-key", other)
    assert line.startswith("invalid: receipt.pubkey: is not the node you name")


def test_for_eyes_the_same_is_words(home: Home, greeter: Running) -> None:
    done = home.run("call", "greet", "greet", '{"name": "Bob"}')
    assert done.returncode == 0
    assert "Hello, Bob" in done.stdout
    assert "\x1b" not in done.stdout
    assert "Settled in" in done.stderr
    assert "not instructions" in done.stderr
    for words, says in (
        (("find", "greet"), "1. greet: greet  2 sat"),
        (("find", "nothing-like-this"), "Nothing matches."),
        (("find", "greet", "--max-price", "1sat"), "1 more match but fail your price"),
        (("show", "greet"), "promised  99.0% within 500 ms"),
        (("balance",), "available (test credits)"),
        (("status",), "ledger_sum_msat"),
        (("books",), "sum: 0 sat"),
        (("agent", "list"), "greeter"),
    ):
        done = home.run(*words)
        assert (done.returncode, done.stderr) == (0, "")
        assert says in done.stdout


def test_a_refunded_call_is_exit_code_3(home: Home, greeter: Running) -> None:
    before = home.json("balance")
    result = home.json("call", "greet", "greet", '{"name": "fail"}', code=3)
    assert (result["status"], result["charged_msat"]) == ("refunded", 0)
    assert result["fault"] == "provider-error"
    done = home.run("call", "greet", "greet", '{"name": "sleep"}', "--deadline", "100ms")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("Refunded (deadline-below-promise): no answer within 100 ms.")
    assert home.json("balance") == before


def test_the_operator_grants_and_reads_the_books(home: Home, node: dict[str, Any]) -> None:
    npub = home.json("agent", "add", "shopper")["npub"]
    assert home.json("balance", "--agent", "shopper")["available_msat"] == 0
    words = ("grant", npub, "5sat", "--key", "first", "--memo", "welcome")
    assert home.json(*words)["granted"] is True
    assert home.json(*words)["granted"] is False
    assert home.json("balance", "--agent", "shopper")["available_msat"] == 5000
    books = home.json("books")
    assert books["sum_msat"] == sum(row["balance_msat"] for row in books["accounts"]) == 0
    assert home.json("books") == books  # twice in one second: each request is signed anew
    names = [row["agent"] for row in home.json("agent", "list")["agents"]]
    assert {"default", "shopper"} <= set(names)


def test_somebody_else_s_home_may_not_grant(home: Home, node: dict[str, Any]) -> None:
    other = Home(home.work / "other")
    made = other.json("init")
    words = ("grant", made["agent_npub"], "5sat", "--node", node["url"])
    assert other.refused(*words).startswith("restricted: only this node's operator")
    assert other.json(*words, code=1)["error"] == "restricted"
    assert other.json("balance", "--node", node["url"])["available_msat"] == 0


def test_a_token_opens_the_other_doors(home: Home, node: dict[str, Any]) -> None:
    import urllib.request

    found = home.json("token", "--hours", "1")
    assert (found["node"], found["hours"]) == (node["node"], 1)
    for text in (found["token"], home.run("token").stdout.strip()):
        asked = urllib.request.Request(
            node["http"] + "/api/v1/whoami", headers={"Authorization": f"Bearer {text}"}
        )
        with urllib.request.urlopen(asked, timeout=10) as answer:
            assert json.loads(answer.read())["operator"] == node["operator"]


def test_an_mcp_server_becomes_paid_capabilities(home: Home, node: dict[str, Any]) -> None:
    home.json("agent", "add", "adder")
    words = ("serve", "mcp", "--price", "3sat", "--agent", "adder", "--json", "--")
    with home.started(*words, sys.executable, "adder.py") as running:
        found = json.loads(running.line())
        assert (found["name"], found["capabilities"]) == ("little-adder", ["add", "shout"])
        children = running.children()
        assert children
        offer = home.json("show", found["offer"])
        assert [row["capability"] for row in offer["capabilities"]] == ["add", "shout"]
        assert offer["capabilities"][0]["output_schema"]["type"] == "object"
        result = home.json("call", found["offer"], "add", '{"a": 2, "b": 3}')
        assert (result["status"], result["charged_msat"]) == ("settled", 3000)
        assert result["output"]["structuredContent"] == {"result": 5}
        failed = home.json("call", found["offer"], "shout", '{"text": "fail"}', code=3)
        assert failed["fault"] == "provider-error"
        line = home.refused("call", found["offer"], "add", '{"a": "two", "b": 3}')
        assert line.startswith("invalid: input: a: ")
        assert running.stop() == 0
    assert all(is_gone(pid) for pid in children)


def test_only_the_tools_named_are_offered(home: Home, node: dict[str, Any]) -> None:
    words = ("serve", "mcp", "--only", "shout", "--id", "loud", "--json", "--")
    with home.started(*words, sys.executable, "adder.py") as running:
        found = json.loads(running.line())
        assert found["capabilities"] == ["shout"]
        assert found["offer"].endswith(":loud")


# --- stopping ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_stops_cleanly_and_starts_again_with_its_books(tmp_path: Path, number: int) -> None:
    home = Home(tmp_path / "home")
    home.json("init")
    for _ in range(2):
        with home.started("up", "--port", "0") as running:
            assert running.line() == "Node hanse is up."
            assert home.json("balance")["available_msat"] == 10_000_000
            assert running.children() == []
            assert running.stop(number) == 0
        assert running.said == ""
    assert home.refused("status").startswith("error: ")


def test_a_provider_stops_cleanly_while_a_call_hangs(home: Home, node: dict[str, Any]) -> None:
    home.json("agent", "add", "hanger")
    words = ("serve", "python", "greetings:hang", "--agent", "hanger", "--json")
    with home.started(*words) as running:
        offer = json.loads(running.line())["offer"]
        with home.started(
            "call", offer, "hang", '{"name": "x"}', "--deadline", "20s", "--json"
        ) as call:
            while not home.json("status")["calls_running"]:
                assert call.process.poll() is None
            assert running.stop() == 0
            found = json.loads(call.line())
            assert (found["status"], found["fault"]) == ("refunded", "provider-died")


def test_a_provider_says_that_it_stopped(home: Home, greeter: Running) -> None:
    home.json("agent", "add", "spare")
    with home.started("serve", "python", "greetings:greet", "--agent", "spare") as running:
        assert running.line() == "Serving greet: greet"
        assert running.stop() == 0
        assert running.said == "Stopped.\n"
