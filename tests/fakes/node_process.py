"""Runs nodes for a test that kills them: one bare relay after another, over one data folder.

    python -m tests.fakes.node_process SETTINGS.json

Each line on stdin starts a node in a forked child: everything is imported once, so that a start
costs what a node's own start costs. The answers on stdout, a line each:

    up PID        it serves
    gone PID      it ended, however it did
"""

import asyncio
import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import msgspec

from hanse.broker.service import Bounds
from hanse.cli.logs import start_logs
from hanse.config import Config, SecretUrl
from hanse.node import Node
from hanse.payments.model import Fee
from hanse.protocol.amount import Amount
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.running import run_node


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What every one of the nodes is started with. Each agent gets `grant_msat`, once."""

    data: str
    port: int
    secret: str
    operator: str
    agents: list[str]
    grant_msat: int
    fee_ppm: int = 10_000
    doors: list[str] = []
    database: str = ""
    bus: str = ""
    instance: str = ""
    grace_ms: int = 60_000


def serve(settings: Settings) -> None:
    """One node, until a signal ends it."""
    config = Config(
        data=Path(settings.data),
        port=settings.port,
        doors=frozenset(settings.doors),
        fee=Fee(settings.fee_ppm),
        starting_grant=Amount(settings.grant_msat),
        database=SecretUrl(settings.database) if settings.database else None,
        bus=SecretUrl(settings.bus) if settings.bus else None,
        instance=settings.instance,
        broker_bounds=Bounds(foreign_grace_ms=settings.grace_ms),
    )
    node = Node(config, SecretKey.from_hex(settings.secret), PublicKey(settings.operator))
    agents = [PublicKey(agent) for agent in settings.agents]
    asyncio.run(run_node(node, agents, lambda: say("up", os.getpid())))


def _live(settings: Settings) -> NoReturn:
    """The child's whole life: it must not go on as a second copy of its parent."""
    status = 1
    try:
        serve(settings)
        status = 0
    except BaseException:  # to be seen before the process ends, whatever it is
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def say(word: str, pid: int) -> None:
    """One line to the test."""
    os.write(1, f"{word} {pid}\n".encode())


def main() -> None:
    """Start a node per line, and wait for its end."""
    start_logs("warning", as_json=True)
    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Settings)
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _live(settings)
        os.waitpid(pid, 0)
        say("gone", pid)


if __name__ == "__main__":
    main()
