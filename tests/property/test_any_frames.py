"""Any frames on a connection give protocol answers or its end, and nothing raises."""

import asyncio
import json
import logging
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from picows import WSMsgType
from tests.fakes.memory_log import MemoryLog
from tests.fakes.wire import Wire, a_relay
from tests.property.test_protocol import anything

from hanse.protocol import session

VERBS = {"EVENT", "OK", "EOSE", "CLOSED", "NOTICE", "COUNT", "NEG-MSG", "NEG-ERR"}
DATA = [WSMsgType.TEXT] * 4 + [WSMsgType.CONTINUATION, WSMsgType.BINARY]
CONTROL = [WSMsgType.PING, WSMsgType.PONG, WSMsgType.CLOSE]

payloads = anything.map(
    lambda found: found if isinstance(found, bytes) else found.encode("utf-8", "surrogatepass")
)
whole = st.tuples(st.just(WSMsgType.TEXT), payloads, st.just(True), st.just(False))
frames = st.one_of(
    whole,
    whole,
    st.tuples(st.sampled_from(DATA), payloads, st.booleans(), st.just(False)),
    st.tuples(st.sampled_from(CONTROL), st.just(b"x"), st.just(True), st.just(False)),
    st.tuples(st.sampled_from(DATA), payloads, st.booleans(), st.booleans()),
)


@given(st.lists(frames, max_size=12), st.booleans())
async def test_any_frames_give_answers_or_the_end(sent: list[Any], slow: bool) -> None:
    faults = Faults()
    logging.getLogger("hanse.relay").addHandler(faults)
    log = MemoryLog()
    log.gate = asyncio.Event() if slow else None
    limits = session.Limits(subscriptions_max=2, refusals_max=5, requests_burst=8)
    async with a_relay(log, session_limits=limits) as relay:
        log.follow(relay.watch.appended)
        wire = Wire(relay)
        for kind, payload, fin, compressed in sent:
            wire.frame(kind, payload, fin, compressed)
            if wire.transport.ended:
                break
        if log.gate is not None:
            log.gate.set()
        for _ in range(20):
            await asyncio.sleep(0)
        for part in wire.heard():
            assert part[0] in VERBS
            json.dumps(part)
        wire.leave()
        assert (len(relay.watch), relay.comparer.items) == (0, 0)
    logging.getLogger("hanse.relay").removeHandler(faults)
    assert faults.records == []


class Faults(logging.Handler):
    """Keeps what was logged: our own faults."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
