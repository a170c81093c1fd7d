"""docs/deployment.md is tried: three nodes by the unit's own command, on the example's NATS."""

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import aiohttp
import orjson
import pytest
from tests.relay_peer import a_peer
from tests.servers import NatsServer, PostgresServer, eventually, free_port, nats_server

from hanse.agent import Agent
from hanse.keyring import Keyring
from hanse.protocol import kinds

pytestmark = pytest.mark.heavy
EXAMPLES = Path(__file__).resolve().parents[2] / "examples/deployment"
HANSE = shlex.join([sys.executable, "-m", "hanse"])


def started_by() -> str:
    """The command of the unit."""
    found = re.search(r"^ExecStart=(.+)$", (EXAMPLES / "hanse@.service").read_text(), re.M)
    assert found is not None
    return found[1]


def environment(postgres: str, nats: NatsServer) -> dict[str, str]:
    """cluster.env with the addresses of the test's servers."""
    lines = (EXAMPLES / "cluster.env").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    place = postgres.partition("@")[2]
    database = re.sub(r"@.*", f"@{place}", found["HANSE_DATABASE"])
    bus = re.sub(r":4222$", f":{nats.port}", found["HANSE_BUS"])
    return os.environ | {"HANSE_DATABASE": database, "HANSE_BUS": bus}


@asynccontextmanager
async def node(number: int, home: Path, env: dict[str, str]) -> AsyncIterator[str]:
    """One node process, as its unit starts it; its URL."""
    command = started_by()
    for theirs, ours in (
        ("/opt/hanse/bin/hanse", HANSE),
        ("0.0.0.0", "127.0.0.1"),
        ("744%i", str(free_port())),
        ("/var/lib/hanse", str(home.parent)),
        ("%H", "here"),
        ("%i", str(number)),
    ):
        assert theirs in command
        command = command.replace(theirs, ours)
    process = await asyncio.create_subprocess_exec(
        *shlex.split(command),
        "--json",
        env=env | {"HANSE_HOME": str(home)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            said = orjson.loads(await process.stdout.readline())
        assert "change-me" not in str(said)
        yield said["url"]
    finally:
        process.terminate()
        async with asyncio.timeout(30):
            assert await process.wait() == 0


async def hears_two(url: str) -> bool:
    """Whether a node is ready and hears two others, by its metrics."""
    async with aiohttp.ClientSession() as session:
        async with session.get(url.replace("ws", "http") + "/ready") as ready:
            assert ready.status == 200, await ready.text()
        async with session.get(url.replace("ws", "http") + "/metrics") as found:
            text = await found.text()
    return float(re.findall(r"^hanse_bus_other_nodes (\S+)$", text, re.M)[0]) == 2


async def test_three_nodes_start_as_the_page_says_and_are_one(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    home, far_home = tmp_path / "one/home", tmp_path / "two/home"
    ring = Keyring(home)
    ring.create("default")
    far_home.mkdir(parents=True)
    for name in ("node.key", "node.auth"):  # and nothing else: the page says so
        shutil.copy(home / name, far_home / name)
    with nats_server((EXAMPLES / "nats.conf").read_text()) as nats:
        env = environment(await postgres.new_database(), nats)
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            homes = (home, home, far_home)
            urls = [await enter(node(n, where, env)) for n, where in enumerate(homes, 1)]
            for url in urls:
                await eventually(partial(hears_two, url))
            here, there = await enter(a_peer(urls[0])), await enter(a_peer(urls[2]))
            await there.ask({"kinds": [1]})
            note = await here.keep(here.note("from one to three"))
            assert (await there.hear())[2]["id"] == note.id

            secret, auth = ring.agent("default")
            provider = await enter(Agent(urls[2], secret, auth))

            async def upper(text: str) -> str:
                """Write it in capitals."""
                return text.upper()

            provider.provide(price="3sat")(upper)
            await provider.serve()
            caller = await enter(Agent(urls[1], secret, auth))
            found = await caller.call(
                f"{kinds.OFFER}:{secret.public}:upper", {"text": "a"}, capability="upper"
            )
            assert found.value == "A"


def test_no_unit_asks_for_what_its_user_may_not_read() -> None:
    units = {path.name: path.read_text() for path in EXAMPLES.glob("*.service")}
    for text in units.values():
        commands = re.findall(r"^Exec\w+=(.+)$", text, re.M)
        assert commands
        assert "/etc/hanse" not in str(commands)  # root's, mode 0700: systemd reads it for them
    assert "\nLoadCredential=nats.conf:/etc/hanse/nats.conf\n" in units["nats.service"]
    # asyncpg looks into ~/.postgresql, and a home it may not enter is an error to it.
    assert "\nProtectHome=tmpfs\n" in units["hanse@.service"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for path in EXAMPLES.glob("*.service"):
        text = re.sub(r"/opt/hanse/bin/[a-z-]+", "/bin/true", path.read_text())
        unit = tmp_path / path.name.replace("@", "@1")
        unit.write_text(text)
        found = subprocess.run(
            ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
        )
        assert (found.returncode, found.stderr) == (0, "")
