"""Runs a node as a process of its own: signals, limits of the system, the starting grants."""

import asyncio
import contextlib
import gc
import resource
import signal
from collections.abc import Callable

from hanse.node import Node
from hanse.protocol.keys import PublicKey

GARBAGE = 100_000
"""Objects made and not freed after which Python looks for cycles among them: more than the events
are that wait to be moved into the tables (`tail.py`), or it would look at these again and again."""


def raise_file_limit() -> None:
    """Allow as many open files as the system lets this process have: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # some systems call unlimited what is not
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def collect_seldom() -> None:
    """Look for garbage in cycles seldom, and not in what is there from the start. An answer of 500
    rows is 500 tuples: at Python's own threshold of 700 nearly every one was a search of all."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE, 20, 20)


async def run_node(node: Node, own_agents: list[PublicKey], started: Callable[[], None]) -> None:
    """Run until SIGINT or SIGTERM; `started` is called once it serves. The operator's own agents
    get the starting grant, each once in the life of the books."""
    raise_file_limit()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, node.stop)
    async with node:
        for agent in own_agents:
            if node.config.starting_grant.msat:
                await node.payments.grant(
                    f"starting:{agent}", agent, node.config.starting_grant, "starting grant"
                )
        collect_seldom()
        started()
        await node.wait()
