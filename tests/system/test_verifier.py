"""Signatures checked in a process of their own: right, in order, and whatever happens to it."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hanse.engines.verifier import process
from hanse.engines.verifier.process import VerifierProcess
from hanse.protocol.event import packed, sign_event
from hanse.protocol.keys import SecretKey

pytestmark = pytest.mark.anyio

KEYS = [SecretKey(bytes([number]) * 32) for number in (1, 2, 3)]


def signatures(count: int, forged: set[int]) -> list[bytes]:
    """Packed events; the signatures of those at `forged` are off by one bit."""
    found = [
        packed(sign_event(KEYS[number % 3], kind=1, created_at=number, content=f"note {number}"))
        for number in range(count)
    ]
    return [
        one[:-1] + bytes([one[-1] ^ 1]) if number in forged else one
        for number, one in enumerate(found)
    ]


def marks(count: int, forged: set[int]) -> bytes:
    return bytes(number not in forged for number in range(count))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def started(verifier: VerifierProcess) -> int:
    """Have it start its process; the process's id."""
    assert await verifier.check(signatures(1, set())) == marks(1, set())
    await until(lambda: verifier.pid)
    assert verifier.pid is not None
    return verifier.pid


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_each_question_gets_its_own_answer_whoever_gives_it() -> None:
    questions = [(size, {size // 2, size - 1}) for size in (1, 40, 3, 700, 32, 33)]
    asked = [signatures(size, forged) for size, forged in questions]
    right = [marks(size, forged) for size, forged in questions]
    async with VerifierProcess() as verifier:
        assert await asyncio.gather(*map(verifier.check, asked)) == right  # threads: it starts
        pid = await started(verifier)
        for _ in range(3):
            assert await asyncio.gather(*map(verifier.check, asked)) == right
        assert verifier.pid == pid
    assert not is_there(pid)


async def test_what_a_killed_process_leaves_unanswered_is_checked_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "RESTART_S", 0.2)
    asked, right = signatures(600, {7, 599}), marks(600, {7, 599})
    async with VerifierProcess() as verifier:
        for _ in range(3):
            pid = await started(verifier)
            questions = [verifier.check(asked) for _ in range(4)]
            os.kill(pid, signal.SIGKILL)
            assert await asyncio.gather(*questions) == [right] * 4
            await until(lambda: verifier.pid is None)
            assert await verifier.check(asked) == right  # by threads, too soon for another
            await asyncio.sleep(0.25)


async def test_a_process_that_says_nothing_more_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "ANSWER_S", 0.3)
    async with VerifierProcess() as verifier:
        pid = await started(verifier)
        await asyncio.sleep(1)
        assert verifier.pid == pid  # nobody asked, so it may be silent
        os.kill(pid, signal.SIGSTOP)
        async with asyncio.timeout(10):
            assert await verifier.check(signatures(5, {1})) == marks(5, {1})
        await until(lambda: not is_there(pid))


@pytest.mark.parametrize(
    "command",
    [
        ("/nowhere/python",),
        (sys.executable, "-c", "raise SystemExit(3)"),
        (sys.executable, "-c", "print('no socket'); import time; time.sleep(60)"),
    ],
    ids=["is not there", "ends at once", "hangs"],
)
async def test_without_a_process_threads_check_and_the_end_is_clean(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "ANSWER_S", 0.3)
    async with VerifierProcess(command) as verifier:
        for _ in range(3):
            assert await verifier.check(signatures(9, {4})) == marks(9, {4})
            await asyncio.sleep(0.1)
        assert verifier.pid is None


async def test_the_process_outlives_a_signal_to_end_and_not_its_node() -> None:
    async with VerifierProcess() as verifier:
        pid = await started(verifier)
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
        time.sleep(0.1)
        assert await verifier.check(signatures(40, {39})) == marks(40, {39})
        assert verifier.pid == pid
    assert not is_there(pid)


_NODE = """
import asyncio
from hanse.engines.verifier.process import VerifierProcess

async def run() -> None:
    async with VerifierProcess() as verifier:
        await verifier.check([bytes(128)])
        while verifier.pid is None:
            await asyncio.sleep(0.01)
        print(verifier.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(run())
"""


async def test_the_process_ends_when_its_node_is_killed() -> None:
    node = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _NODE, stdout=asyncio.subprocess.PIPE
    )
    assert node.stdout is not None
    pid = int(await node.stdout.readline())
    assert is_there(pid)
    node.kill()
    await node.wait()
    await until(lambda: not is_there(pid))
