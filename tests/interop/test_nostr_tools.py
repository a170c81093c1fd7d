"""nostr-tools (JavaScript) as a foreign client of our relay and its HTTP doors.

It speaks NIPs 01, 02, 05, 09, 11, 13, 17, 18, 40, 42, 44, 45, 50, 56, 59, 62, 65, 70, 77 and 98.
What it has no words for: 67 (it reads EOSE without its third part) and 86.
"""

import asyncio
import json
import os
import shutil
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import running_node
from tests.relay_peer import a_peer, now

from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol.encryption import conversation_key, encrypt
from hanse.protocol.event import encode_event, sign_event
from hanse.protocol.keys import SecretKey
from hanse.servers.relay.info import SUPPORTED
from hanse.servers.relay.rules import Rules, Work

HERE = Path(__file__).parent / "nostr_tools"
STEP_S = 60
NODE, NPM = shutil.which("node"), shutil.which("npm")

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(not (NODE and NPM), reason="nostr-tools needs node and npm"),
    pytest.mark.xdist_group("nostr-tools"),
]


async def ran(folder: Path, *command: str) -> str:
    """A program's output. Fails the test, with what it said, if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(STEP_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()[-2000:]
    return out.decode()


async def installed() -> Path:
    """nostr-tools as its lock says, installed once per content of the lock, whole or not at all."""
    lock = (HERE / "package-lock.json").read_bytes()
    name = f"hanse-nostr-tools-{os.getuid()}-{sha256(lock).hexdigest()[:16]}"
    folder = Path(tempfile.gettempdir()) / name
    if not (folder / "installed").exists():
        making = Path(tempfile.mkdtemp(prefix="hanse-nostr-tools-"))
        for file in ("package.json", "package-lock.json"):
            shutil.copy(HERE / file, making)
        try:
            await ran(making, str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        except AssertionError as exc:
            if "network" in str(exc) or "ENOTFOUND" in str(exc) or "ECONNREFUSED" in str(exc):
                pytest.skip(f"npm reaches no registry: {exc}")
            raise
        (making / "installed").touch()
        try:
            making.rename(folder)
        except OSError:
            shutil.rmtree(making)
            if not (folder / "installed").exists():  # else another run was faster
                raise
    return folder


@pytest.fixture(scope="module")
async def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run's own with the client in it: other runs share what is installed."""
    folder = tmp_path_factory.mktemp("nostr-tools")
    (folder / "node_modules").symlink_to(await installed() / "node_modules")
    for file in ("package.json", "client.mjs"):
        shutil.copy(HERE / file, folder)
    return folder


async def step(folder: Path, name: str, /, **arguments: Any) -> Any:
    """What the client saw."""
    flags = ("--experimental-websocket", "--no-warnings")  # before version 22 it is not there
    out = await ran(folder, str(NODE), *flags, "client.mjs", name, json.dumps(arguments))
    return json.loads(out.rstrip("\n").rpartition("\n")[2])


# --- the socket -------------------------------------------------------------------------------


async def test_it_publishes_finds_and_verifies_its_events(node: Node, tools: Path) -> None:
    found = await step(tools, "publish", url=node.url, content='é"\\\n\x00\x7f\u2028 🦀')
    event = found["event"]
    assert found["first"] == [True, ""]
    assert found["again"][0]
    assert found["again"][1].startswith("duplicate: ")
    assert not found["spoiled"][0]
    assert found["spoiled"][1].startswith("invalid: event.id: ")
    assert found["found"]["events"] == found["tagged"]["events"] == [event]
    assert found["holds"]
    kept = await node.log.event(event["id"])
    assert kept is not None
    assert json.loads(encode_event(kept)) == event


async def test_it_hears_what_is_stored_then_the_end_then_what_is_new(
    node: Node, tools: Path
) -> None:
    assert await step(tools, "subscribe", url=node.url) == ["old", "EOSE", "new"]


async def test_its_follow_and_relay_lists_replace_older_ones(node: Node, tools: Path) -> None:
    found = await step(tools, "replaceable", url=node.url)
    assert [accepted for accepted, _ in found["told"]] == [True, True, False, True]
    assert set(found["found"]) == set(found["wanted"])


async def test_what_it_deletes_stays_gone(node: Node, tools: Path) -> None:
    found = await step(tools, "deletion", url=node.url)
    assert [accepted for accepted, _ in found["told"]] == [True, True, False]
    assert found["found"] == [found["gone"]]


async def test_it_counts_and_merges_our_registers(node: Node, tools: Path) -> None:
    found = await step(tools, "count", url=node.url, authors=40, target="ab" * 32)
    assert found["count"] == 40
    assert found["hll"] == found["own"]
    assert 30 <= found["estimate"] <= 50


async def test_it_searches(node: Node, tools: Path) -> None:
    found = await step(tools, "search", url=node.url)
    assert found["found"] == [found["wanted"]]


async def test_its_expired_events_are_refused(node: Node, tools: Path) -> None:
    past, later = await step(tools, "expiration", url=node.url)
    assert not past[0]
    assert later == [True, ""]


async def test_it_authenticates_and_may_publish_what_is_protected(node: Node, tools: Path) -> None:
    found = await step(tools, "auth", url=node.url)
    assert found["refused"]["reason"].startswith("auth-required: ")
    assert found["early"][1].startswith("auth-required: ")
    assert found["granted"] == {"events": []}
    assert found["others"][1].startswith("restricted: ")
    assert found["kept"] == [True, ""]
    polite, rude = found["reposts"]
    assert polite == [True, ""]
    assert rude[1].startswith("restricted: ")


async def test_its_private_message_reaches_its_recipient_alone(node: Node, tools: Path) -> None:
    found = await step(tools, "message", url=node.url, text="schön 🦀")
    assert found["told"] == [True, ""]
    assert (found["spied"], found["found"]) == ([], [found["wrap"]])
    assert (found["text"], found["from"]) == ("schön 🦀", True)


async def test_it_decrypts_what_we_encrypted_and_published(node: Node, tools: Path) -> None:
    to = new_secret()
    async with a_peer(node.url) as peer:
        key = conversation_key(peer.secret, to.public)
        text = encrypt("for you é", key, nonce=os.urandom(32))
        await peer.keep(peer.note(text, kind=4))
        secret = to.reveal().hex()
        found = await step(tools, "decrypt", url=node.url, secret=secret, author=peer.secret.public)
    assert found == "for you é"


async def test_it_finds_the_same_differences_as_we(node: Node, tools: Path) -> None:
    author = new_secret()
    events = [
        sign_event(author, kind=1, created_at=now() - number // 3, content=str(number))
        for number in range(300)
    ]
    async with a_peer(node.url, author) as peer:
        for event in events[:200]:
            await peer.keep(event)
    theirs = [json.loads(encode_event(event)) for event in events[100:]]
    found = await step(tools, "compare", url=node.url, events=theirs)
    assert set(found["have"]) == {event.id for event in events[200:]}
    assert set(found["need"]) == {event.id for event in events[:100]} == set(found["fetched"])
    assert await node.log.total() == 300


async def test_it_asks_to_vanish(node: Node, tools: Path) -> None:
    found = await step(tools, "vanish", url=node.url)
    assert [accepted for accepted, _ in found["told"]] == [True, True, False]
    assert found["found"] == []


async def test_it_reports_with_a_type_and_not_without(node: Node, tools: Path) -> None:
    good, empty = await step(tools, "report", url=node.url)
    assert good == [True, ""]
    assert empty[1].startswith("invalid: ")


async def test_it_mines_as_much_work_as_is_asked_for(
    tmp_path: Path, operator: SecretKey, tools: Path
) -> None:
    rules = Rules(work=Work(bits=10))
    async with running_node(tmp_path, operator, rules=rules) as node:
        information = await step(tools, "information", url=node.url)
        assert information["limitation"]["min_pow_difficulty"] == 10
        found = await step(tools, "work", url=node.url, bits=10)
    assert found["lazy"][1].startswith("pow: ")
    assert found["mined"] == [True, ""]
    assert found["bits"] >= 10


# --- HTTP -------------------------------------------------------------------------------------


async def test_it_reads_what_we_say_of_ourselves(node: Node, tools: Path) -> None:
    found = await step(tools, "information", url=node.url)
    assert found["supported_nips"] == list(SUPPORTED)
    assert found["self"] == node.pubkey


async def test_it_looks_up_the_operators_name(node: Node, tools: Path) -> None:
    found = await step(tools, "name", url=node.http_url, address="_@relay.example")
    assert found["pubkey"] == node.operator


async def test_its_token_publishes_for_this_body_only(node: Node, tools: Path) -> None:
    found = await step(tools, "http", url=node.http_url)
    assert found["bare"][0] == 401
    assert found["other"][0] == 401
    assert found["signed"] == [200, {"id": found["id"], "accepted": True, "message": ""}]
