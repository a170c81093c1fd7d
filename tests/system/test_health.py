"""Health, readiness, metrics and the log of a real node."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs
from tests.conftest import People, running_node
from tests.relay_peer import a_peer, eventually

from hanse import figures
from hanse.config import Config
from hanse.errors import Invalid
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import http_auth, message
from hanse.protocol.keys import SecretKey


class Site:
    """GETs of one node."""

    def __init__(self, node: Node, session: aiohttp.ClientSession) -> None:
        self.node = node
        self._session = session

    async def get(self, path: str, **headers: str) -> tuple[int, bytes, Any]:
        """(status, body, headers)."""
        async with self._session.get(self.node.http_url + path, headers=headers) as found:
            return found.status, await found.read(), found.headers

    async def ready(self) -> tuple[int, list[str]]:
        """(status, reasons) of /ready."""
        status, body, _ = await self.get("/ready")
        found = orjson.loads(body)
        assert found["ready"] == (status == 200)
        return status, found["reasons"]

    async def metrics(self) -> dict[tuple[str, str], float]:
        """Every figure by its name and label."""
        status, body, headers = await self.get("/metrics")
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return read_metrics(body)


def read_metrics(body: bytes) -> dict[tuple[str, str], float]:
    """Figures by name and the values of their labels."""
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


@pytest.fixture
async def site(node: Node) -> AsyncIterator[Site]:
    async with aiohttp.ClientSession() as session:
        yield Site(node, session)


# --- health and readiness ---------------------------------------------------------------------


async def test_a_node_that_serves_is_alive_and_ready(site: Site) -> None:
    status, body, _ = await site.get("/health")
    assert (status, orjson.loads(body)) == (200, {"alive": True})
    assert await site.ready() == (200, [])


async def test_a_relay_without_other_doors_says_so_too(tmp_path: Path, operator: SecretKey) -> None:
    doors = frozenset[str]()
    async with (
        running_node(tmp_path, operator, doors=doors) as node,
        aiohttp.ClientSession() as session,
    ):
        site = Site(node, session)
        status, body, _ = await site.get("/health")
        assert (status, orjson.loads(body)) == (200, {"alive": True})
        assert await site.ready() == (200, [])
        node.figures.draining = True
        assert await site.ready() == (503, ["draining"])


async def test_a_node_that_starts_or_drains_wants_no_work_but_lives(site: Site) -> None:
    site.node.figures.starting = True
    assert await site.ready() == (503, ["starting"])
    site.node.figures.starting = False
    site.node.figures.draining = True
    assert await site.ready() == (503, ["draining"])
    assert (await site.get("/health"))[0] == 200


async def test_a_database_that_does_not_write_in_time_makes_it_not_ready(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "PROBE_S", 0.2)
    go_on = threading.Event()
    stuck = site.node.figures._parts.database.write(lambda _tx: go_on.wait(20))
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stuck)
            await asyncio.sleep(0)
            status, reasons = await site.ready()
            go_on.set()
        assert status == 503
        assert "write" in reasons[0]
        async with asyncio.timeout(5):  # ready again soon after it writes again
            while (await site.ready())[0] != 200:
                await asyncio.sleep(0.02)
    finally:
        go_on.set()


async def test_a_registry_far_behind_makes_it_not_ready(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.node._follower, "_since", time.monotonic() - 60)
    status, (reason,) = await site.ready()
    assert (status, reason) == (503, "the registry is 60 s behind the log")


# --- metrics ----------------------------------------------------------------------------------


async def test_the_figures_are_what_happened(site: Site) -> None:
    before = await site.metrics()
    async with a_peer(site.node.url) as peer:
        first = await peer.keep(peer.note("one"))
        await peer.keep(peer.note("two"))
        await peer.publish(first)
        await peer.publish(peer.note("late", created_at=1 << 40))
        await peer.ask({"authors": [first.pubkey]}, name="open")
        await peer.socket.send(message.publish(peer.note("three")).decode())
        assert {(await peer.hear())[0], (await peer.hear())[0]} == {"EVENT", "OK"}
        async with asyncio.timeout(5):
            while (found := await site.metrics())["hanse_log_events", ""] != 3:
                await asyncio.sleep(0.1)

        def more(name: str, label: str = "") -> float:
            return found[name, label] - before.get((name, label), 0)

        assert more("hanse_events_total", "accepted") == 3
        assert more("hanse_events_total", "duplicate") == 1
        assert more("hanse_events_total", "invalid") == 1
        assert more("hanse_queries_total", "answered") == 1
        assert more("hanse_query_seconds_count") == 1
        assert more("hanse_deliveries_total") == 1
        assert more("hanse_connections") == more("hanse_subscriptions") == 1
        assert more("hanse_commit_seconds_count") == more("hanse_commit_writes_count") >= 3
        assert found["hanse_log_last_seq", ""] >= 3
        assert found["hanse_log_bytes", ""] > 4096
        assert found["hanse_ledger_sum_msat", ""] == 0
        assert found["process_cpu_seconds_total", ""] > 0


async def test_calls_are_counted_by_how_they_ended(site: Site, people: People) -> None:
    provider, caller = await people.connected(), await people.connected("10sat")

    @provider.provide(price="2sat")
    def greet(name: str) -> str:
        "Greet somebody."
        return f"Hello, {name}"

    offer = await provider.serve()
    address = f"{offer.kind}:{offer.pubkey}:{offer.tag('d')}"
    async with asyncio.timeout(5):
        while not await site.node.registry.offers():
            await asyncio.sleep(0.005)
    await caller.call(address, {"name": "Ada"}, capability="greet")
    found = await site.metrics()
    assert found["hanse_calls_total", "settled"] == 1
    assert found["hanse_calls_running", ""] == 0
    assert found["hanse_holds_msat", ""] == 0


async def test_metrics_are_for_near_networks_and_the_operator(
    tmp_path: Path, operator: SecretKey
) -> None:
    elsewhere = ("192.0.2.0/24",)
    async with (
        running_node(tmp_path, operator, metrics_from=elsewhere) as node,
        aiohttp.ClientSession() as session,
    ):
        site = Site(node, session)
        assert (await site.get("/metrics"))[0] == 401
        now = int(time.time())
        for secret, status in ((new_secret(), 403), (operator, 200)):
            token = http_auth.token(secret, node=node.pubkey, now=now, life_s=60)
            assert (await site.get("/metrics", Authorization=f"Bearer {token}"))[0] == status


async def test_whoever_comes_through_a_proxy_is_not_near(site: Site) -> None:
    status, _, _ = await site.get("/metrics", **{"X-Forwarded-For": "203.0.113.9"})
    assert status == 401


async def test_no_page_of_another_site_reads_the_metrics(site: Site) -> None:
    _, _, headers = await site.get("/metrics", Origin="https://evil.example")
    assert "Access-Control-Allow-Origin" not in headers


def test_what_is_no_network_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        Config(data=tmp_path, metrics_from=("10.0.0.0/8", "home"))
    assert caught.value.field == "metrics-from"
    assert Config(data=tmp_path).metrics_networks[0] == ip_network("127.0.0.0/8")


async def test_asking_how_the_node_is_does_not_count_the_log_each_time(site: Site) -> None:
    async def status() -> Any:
        return orjson.loads((await site.get("/api/v1/status"))[1])

    first = await status()
    started = time.monotonic()
    async with a_peer(site.node.url) as peer:
        await peer.keep(peer.note())
    soon = await status()
    if time.monotonic() - started < figures.FRESH_S / 2:
        assert soon["events"] == first["events"]
    async with asyncio.timeout(5):
        while (await status())["events"] != first["events"] + 1:
            await asyncio.sleep(0.1)


# --- logs -------------------------------------------------------------------------------------


async def test_a_request_has_an_id_and_one_line_without_its_secrets(site: Site) -> None:
    with capture_logs() as lines:
        _, _, headers = await site.get(
            "/api/v1/services?words=sesame", Authorization="Bearer opensesame"
        )
        _, _, own = await site.get("/health", **{"X-Request-ID": "my-own.1"})
        _, _, bad = await site.get("/health", **{"X-Request-ID": "a b"})
    assert own["X-Request-ID"] == "my-own.1"
    assert bad["X-Request-ID"] != "a b"
    assert len(headers["X-Request-ID"]) == 16
    requests = [line for line in lines if line["event"] == "http.request"]
    assert [(line["path"], line["status"]) for line in requests] == [
        ("/api/v1/services", 401),
        ("/health", 200),
        ("/health", 200),
    ]
    assert "sesame" not in json.dumps(lines)


async def test_a_fault_of_ours_is_told_in_the_log_and_not_to_the_client(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> Any:
        raise RuntimeError("sesame")

    monkeypatch.setattr(site.node.figures, "_kept", figures.Fresh(fail))
    with capture_logs() as lines:
        status, body, headers = await site.get("/api/v1/status")
    problem = orjson.loads(body)
    assert (status, headers["Content-Type"]) == (500, "application/problem+json")
    assert (problem["error"], "sesame" in body.decode()) == ("internal", False)
    (line,) = [line for line in lines if line["event"] == "http.failed"]
    assert (line["log_level"], line["path"]) == ("error", "/api/v1/status")
    assert (await site.get("/health"))[0] == 200


@pytest.mark.parametrize("path", ["/events", "/query", "/", "/mcp"])
async def test_a_client_that_leaves_before_its_request_is_whole_is_no_fault_of_ours(
    site: Site, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    port = int(site.node.url.rpartition(":")[2])
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 1000\r\n"
    head += "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\r\n{"
    with capture_logs() as lines:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode())
        await writer.drain()
        writer.close()
        await eventually(lambda: any(line["event"] == "http.request" for line in lines))
    assert [line for line in lines if line["log_level"] == "error"] == []
    assert caplog.records == []
