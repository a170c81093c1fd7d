"""One node, operators with agents, wrapped MCP servers, cheaters, and a consumer.

Everything is real: processes, sockets, signatures, SQLite on disk, MCP servers from PyPI. The
consumer knows only the node's /mcp URL and a token.
"""

import argparse
import asyncio
import json
import shutil
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from examples.demo.processes import Processes, hanse
from examples.demo.telling import Telling

from hanse.broker.receipt import verify_receipt
from hanse.protocol.amount import format_msat
from hanse.protocol.event import parse_event

ROOT = Path(__file__).resolve().parents[2]
SERVERS = ROOT / ".venvs" / "demo-servers" / "bin"
SQLITE = ROOT / ".venvs" / "demo-sqlite" / "bin"
CLOCK_WORDS = "what is the current time in another timezone"
CHEATERS = (
    ("late", "answers too late"),
    ("schema", "breaks its own output schema"),
    ("dies", "dies during the call"),
)


class Consumer:
    """An agent that has nothing but the MCP door, and keeps the receipts it gets."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.calls: list[dict[str, Any]] = []

    async def tool(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call one of the node's tools."""
        result = await self._client.call_tool(tool, arguments)
        found: dict[str, Any] = result.structured_content
        if "error" in found:
            raise SystemExit(f"{tool}: {found}")
        return found

    async def find(self, words: str, **constraints: Any) -> list[dict[str, Any]]:
        """Ranked services."""
        found: list[dict[str, Any]] = (
            await self.tool("find_services", words=words, **constraints)
        )["services"]
        return found

    async def call(self, hit: dict[str, Any], input: dict[str, Any]) -> dict[str, Any]:
        """Call a hit; waits 800 ms at most."""
        result = await self.tool(
            "call_service",
            offer=hit["offer"],
            capability=hit["capability"],
            input=input,
            max_price_msat=3000,
            deadline_ms=800,
        )
        self.calls.append(result)
        return result


@asynccontextmanager
async def consumer(url: str, token: str) -> Any:
    """The official MCP client on the node's /mcp, with a bearer token."""
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield Consumer(client)


class Demo:
    """The steps in order."""

    def __init__(self, telling: Telling, folder: Path) -> None:
        self.telling = telling
        self.folder = folder
        self.homes = {name: folder / name for name in ("ada", "bruno", "cleo", "mallory")}
        logs = folder / "logs"
        logs.mkdir(parents=True)
        self.processes = Processes(logs)
        self.node: dict[str, Any] = {}

    def start_node(self) -> None:
        """Step 1."""
        hanse(self.homes["ada"], "init", "--agent", "greeter")
        up = self.processes.start(
            "node",
            self.homes["ada"],
            "-m",
            "hanse",
            "up",
            "--port",
            "0",
            "--grant",
            "0sat",
            "--json",
        )
        self.node = json.loads(self.processes.first_line(up))
        self.telling.step("A node starts", **self.node)
        self.telling.say(
            f"relay {self.node['url']}   API {self.node['http']}/docs   MCP {self.node['mcp']}",
            f"data  {self.node['data']} (SQLite, inside the node's process)",
        )

    def start_operators(self) -> None:
        """Step 2: operators, their agents, and providers in processes of their own."""
        agents = {"bruno": ("clock", "git", "sqlite"), "cleo": ("buyer",)}
        for operator, names in agents.items():
            self._operator(operator, names)
        told = {name: len(found) for name, found in agents.items()} | {"ada": 1}
        self.telling.step("Three operators appear, each with agents", operators=told)
        self.telling.say(
            "Ada runs the node and a greeter of her own: ten lines with the SDK.",
            "Bruno wraps three MCP servers from PyPI. Cleo has an agent that wants things done.",
        )
        repository = _repository(self.folder / "repository")
        wrapped = {
            "clock": ("2sat", str(SERVERS / "mcp-server-time"), "--local-timezone", "UTC"),
            "git": ("2sat", str(SERVERS / "mcp-server-git"), "--repository", str(repository)),
            "sqlite": (
                "1sat",
                str(SQLITE / "mcp-server-sqlite"),
                "--db-path",
                str(self.folder / "shop.db"),
            ),
        }
        started = [
            self.processes.start(
                agent,
                self.homes["bruno"],
                "-m",
                "hanse",
                "serve",
                "mcp",
                "--agent",
                agent,
                "--price",
                price,
                "--latency-p95",
                "500ms",
                "--json",
                "--",
                *command,
            )
            for agent, (price, *command) in wrapped.items()
        ]
        greeter = self.processes.start("greeter", self.homes["ada"], "-m", "examples.demo.greeter")
        offers = [json.loads(self.processes.first_line(process)) for process in started]
        self.processes.first_line(greeter)
        for offer in offers:
            self.telling.step("An offer", **offer)
            self.telling.say(f"{offer['name']}: {', '.join(offer['capabilities'])}")
        self.telling.step("An offer", name="Greeter", capabilities=["greet"])
        self.telling.say("Greeter: greet")

    def start_cheaters(self) -> None:
        """Step 4's providers."""
        names = [how for how, _ in CHEATERS] + ["injects"]
        self._operator("mallory", names)
        started = [
            self.processes.start(how, self.homes["mallory"], "-m", "examples.demo.cheater", how)
            for how in names
        ]
        for process in started:
            self.processes.first_line(process)

    async def honest_work(self, buyer: Consumer) -> None:
        """Step 3."""
        hits = await buyer.find(CLOCK_WORDS, max_price_msat=3000, latency_p95_ms=500)
        self._show_ranking(f'Cleo\'s agent asks: "{CLOCK_WORDS}", ≤ 3 sat, p95 ≤ 500 ms', hits)
        self._show_call(await buyer.call(hits[0], {"timezone": "Asia/Tokyo"}))
        for words, input in (
            ("list the tables of a database", {}),
            ("show the git log of commits", {"repo_path": str(self.folder / "repository")}),
            ("greet somebody by name", {"name": "Ada"}),
        ):
            found = await buyer.find(words, max_price_msat=3000)
            self.telling.step(f'"{words}"', best=found[0]["capability"])
            self.telling.say(f"best: {found[0]['name']}: {found[0]['capability']}")
            self._show_call(await buyer.call(found[0], input))

    async def cheated(self, buyer: Consumer) -> None:
        """Step 4."""
        for how, words in CHEATERS:
            hits = await buyer.find(CLOCK_WORDS, max_price_msat=3000)
            hit = next(found for found in hits if found["name"] == f"World clock ({how})")
            before = hits.index(hit) + 1
            self.telling.step(f"A cheater: {words}", rank=before)
            self.telling.say(f"{hit['name']} ranks {before}, and it is cheap. Called:")
            self._show_call(await buyer.call(hit, {"timezone": "Asia/Tokyo"}))
            again = await buyer.find(CLOCK_WORDS, max_price_msat=3000)
            after = next(i for i, found in enumerate(again, 1) if found["offer"] == hit["offer"])
            score = next(found["score"] for found in again if found["offer"] == hit["offer"])
            self.telling.step("It sinks", rank=after, score=score, before=hit["score"])
            self.telling.say(f"score {hit['score']:.3f} → {score:.3f}, rank {before} → {after}")
        hits = await buyer.find("latest news headline", max_price_msat=3000)
        result = await buyer.call(hits[0], {"topic": "trade"})
        self.telling.step("A cheater: instructs the caller", untrusted=result["untrusted"])
        self._show_call(result)
        self.telling.say(
            f"labelled: from {result['untrusted']['from'][:16]}…, untrusted.",
            result["untrusted"]["notice"],
        )

    async def books(self, buyer: Consumer) -> dict[str, Any]:
        """Step 5."""
        folder = self.folder / "receipts"
        folder.mkdir()
        verified = 0
        for call in buyer.calls:
            found = await buyer.tool("get_receipt", id=call["receipt"])
            file = folder / f"{call['receipt'][:16]}.json"
            file.write_text(json.dumps(found["receipt"]), encoding="utf-8")
            verify_receipt(parse_event(file.read_bytes()), self.node["node"])
            verified += 1
        books = hanse(self.homes["ada"], "books")
        self.telling.step("The books", **books)
        for row in books["accounts"]:
            self.telling.say(
                f"{row['kind']:7} {row['name'][:20]:22} {format_msat(row['balance_msat']):>14}"
            )
        self.telling.say(f"sum: {format_msat(books['sum_msat'])}")
        first = folder / f"{buyer.calls[0]['receipt'][:16]}.json"
        checked = hanse(self.homes["cleo"], "receipt", "verify", str(first))
        self.telling.step("A receipt, verified offline", file=str(first), **checked)
        self.telling.say(
            f"hanse receipt verify {first}",
            f"node {checked['node'][:16]}…, provider {checked['provider'][:16]}…: both signed",
            f"{checked['outcome']}: {format_msat(checked['paid_msat'])} to the provider, "
            f"{format_msat(checked['fee_msat'])} to the node",
        )
        settled = sum(call["status"] == "settled" for call in buyer.calls)
        return {
            "calls": len(buyer.calls),
            "settled": settled,
            "refunded": len(buyer.calls) - settled,
            "ledger_sum_msat": books["sum_msat"],
            "receipts_verified": verified,
        }

    async def run(self) -> dict[str, Any]:
        """All steps; the closing figures."""
        self.start_node()
        self.start_operators()
        me = hanse(self.homes["cleo"], "agent", "list")["agents"][0]["npub"]
        hanse(self.homes["ada"], "grant", me, "100sat", "--memo", "to try things out")
        token = hanse(self.homes["cleo"], "token", "--agent", "buyer")["token"]
        async with consumer(self.node["mcp"], token) as buyer:
            await self.honest_work(buyer)
            self.start_cheaters()
            await self.cheated(buyer)
            return await self.books(buyer)

    # --- words --------------------------------------------------------------------------------

    def _operator(self, name: str, agents: Any) -> None:
        first, *others = agents
        hanse(self.homes[name], "init", "--agent", first)
        for other in others:
            hanse(self.homes[name], "agent", "add", other)
        self._remember_node(name)

    def _remember_node(self, name: str) -> None:
        known = {"url": self.node["url"], "pubkey": self.node["node"]}
        (self.homes[name] / "node.json").write_text(json.dumps(known), encoding="utf-8")

    def _show_ranking(self, title: str, hits: list[dict[str, Any]]) -> None:
        rows = [
            {key: hit[key] for key in ("name", "capability", "price_msat", "score", "reasons")}
            for hit in hits
        ]
        self.telling.step(title, ranking=rows)
        for number, hit in enumerate(hits[:3], 1):
            self.telling.say(
                f"{number}. {hit['name']}: {hit['capability']}, {format_msat(hit['price_msat'])}, "
                f"score {hit['score']:.3f}",
                *(f"     {reason}" for reason in hit["reasons"]),
            )

    def _show_call(self, result: dict[str, Any]) -> None:
        shown = {key: value for key, value in result.items() if key != "untrusted"}
        self.telling.step("A call", **shown)
        if result["status"] == "settled":
            words = json.dumps(result["output"])
            self.telling.say(
                f"settled in {result['latency_ms']} ms, "
                f"paid {format_msat(result['charged_msat'])}: {words[:150]}"
            )
        else:
            self.telling.say(f"refunded, paid nothing: {result['fault']} ({result.get('reason')})")


def _repository(folder: Path) -> Path:
    """A small git repository for the git server to read."""
    folder.mkdir()
    identity = ("-c", "user.name=demo", "-c", "user.email=demo@example.invalid")
    for command in (
        ("init", "-q"),
        (*identity, "commit", "-q", "--allow-empty", "-m", "Found the league"),
    ):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    return folder


def _fresh(folder: Path) -> None:
    """An empty folder with our mark; one without it is somebody's and stays as it is."""
    mark = folder / "made-by-the-demo"
    if folder.exists() and any(folder.iterdir()):
        if not mark.exists():
            raise SystemExit(f"{folder} is not empty and not a demo's: name another --folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark.touch()


def main() -> None:
    """Run the demo; every process it started has ended when this returns."""
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object per step")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".demo", help="where keys, data and receipts go"
    )
    asked = parser.parse_args()
    telling = Telling(asked.json)
    _fresh(asked.folder)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    demo = Demo(telling, asked.folder)
    try:
        telling.last(asyncio.run(demo.run()))
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        demo.processes.end()


if __name__ == "__main__":
    main()
