"""The registry: are the right services found, how fast, how soon, and who can fool it.

    quality   MetaTool's 199 tools as offers, its questions as searches; nDCG at 5 hits.
              cold: from descriptions alone. warm: the questions of four folds were asked before,
              each followed by a paid call of the tool that answers it, through the node's desk as
              every door makes it; measured on the fifth fold, and so five times (--quick: one
              fold, its lessons given to the registry without the calls).
    speed     a node on `--offers` synthetic offers (catalogue.py) in its own database: searches by
              words, and by words with three constraints; searches per CPU-second; from the append
              of a signed offer to the first search that finds it, the longest of twenty; how long
              indexing took by the clock and of the processor, and memory.
              Full: 100,000, then 1,000,000 (keys ending in _1m).
    attack    bench/attack.py, in the full run.

What is going on is told on stderr. The full run takes about a quarter of an hour.
Last line: {"ndcg5_cold", "ndcg5_warm", "search_p50_ms", "search_p95_ms", "searches_per_cpu_s",
"publish_to_found_ms", …}.
"""

import argparse
import asyncio
import csv
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import structlog

from bench.attack import Harbour, Party, attack
from bench.catalogue import offers, questions
from hanse.config import Config
from hanse.engines.storage.database import Transaction
from hanse.engines.storage.folder import DATABASE
from hanse.engines.storage.sqlite import SqliteDatabase
from hanse.keyring import new_secret
from hanse.node import Node
from hanse.protocol import kinds
from hanse.protocol.amount import Amount
from hanse.protocol.event import Event, sign_event
from hanse.protocol.principal import Principal
from hanse.registry.lessons import Lesson
from hanse.registry.model import Capability, Offer, Promise
from hanse.registry.offer_event import offer_content, offer_tags
from hanse.registry.search import Constraints, Search

DATA = "HANSE_METATOOL"
FOLDS = 5
CUSTOMERS = 20
THREE = Constraints(max_price=Amount(20_000), latency_p95_ms=2000, regions=("US",))
SEARCHES = 1000
PUBLISHED = 20


# --- quality --------------------------------------------------------------------------------------


def data_folder() -> Path | None:
    """The folder with MetaTool's tools.json and queries_dev.csv: where HANSE_METATOOL says, or a
    `data/metatool` in a folder beside the project."""
    if DATA in os.environ:
        return Path(os.environ[DATA])
    beside = Path(__file__).resolve().parents[2].glob("*/data/metatool")
    return next((found for found in sorted(beside) if (found / "tools.json").is_file()), None)


def metatool(folder: Path) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """(description by tool, (question, tool)), the questions in an order of no meaning."""
    tools = json.loads((folder / "tools.json").read_text())
    with (folder / "queries_dev.csv").open(newline="") as file:
        asked = [(row["Query"][:1000], row["Tool"]) for row in csv.DictReader(file)]
    random.Random(1).shuffle(asked)
    return tools, asked


def _tool_name(name: str) -> str:
    """As MCP allows."""
    return re.sub(r"[^A-Za-z0-9._/-]", "_", name)[:64]


class Fair(Harbour):
    """A node where every tool is an offer of its own provider."""

    def __init__(self, node: Node, tools: dict[str, str]) -> None:
        super().__init__(node)
        self._tools = tools
        self.providers = {name: Party(new_secret()) for name in tools}
        self.names = {party.key: name for name, party in self.providers.items()}

    async def open(self) -> None:
        """Publish all, and connect all."""
        for kept in await self.node.log.append_many([self._listed(name) for name in self._tools]):
            assert isinstance(kept, int), kept
        for party in self.providers.values():
            self._providers[party.key] = party.secret
            self.node.presence.arrive(party.key)
        await self.node.offers.advance()
        await self.node.indexing.advance()

    def _listed(self, name: str) -> Event:
        party, text = self.providers[name], self._tools[name]
        value = Offer(
            provider=party.key,
            operator=party.key,
            identifier="sms",
            name=name,
            summary=text,
            capabilities=(
                Capability(
                    name=_tool_name(name),
                    description=text,
                    input_schema={"type": "object"},
                    output_schema={"type": "object", "required": ["sent"]},
                    price=Amount(1000),
                ),
            ),
            promise=Promise(latency_p95_ms=60_000),
        )
        return sign_event(
            party.secret,
            kind=kinds.OFFER,
            created_at=int(time.time()),
            tags=offer_tags(value, url="wss://node.example", node=self.node.pubkey),
            content=offer_content(value),
        )

    async def ndcg5(self, asked: list[tuple[str, str]]) -> float:
        """Of these questions."""
        total = 0.0
        for words, tool in asked:
            found = await self.node.registry.find(Search(words=words, limit=5))
            for place, hit in enumerate(found.hits):
                if self.names[hit.offer.provider] == tool:
                    total += 1 / math.log2(place + 2)
        return total / len(asked)

    async def pay(self, asked: list[tuple[str, str]]) -> None:
        """Ask and call, as customers do."""
        customers = [Party(new_secret()) for _ in range(CUSTOMERS)]
        for customer in customers:
            await self.grant(customer, len(asked))
        gate = asyncio.Semaphore(32)

        async def one(number: int, words: str, tool: str) -> None:
            customer = customers[number % CUSTOMERS]
            arguments = {
                "offer": self.providers[tool].address,
                "capability": _tool_name(tool),
                "input": {},
                "words": words,
                "idempotency_key": str(number),
            }
            async with gate:
                who = Principal(customer.key, customer.key)
                call = await self.node.desk.perform(who, "call_service", arguments)
            assert call["status"] == "settled", call

        await asyncio.gather(*(one(at, words, tool) for at, (words, tool) in enumerate(asked)))
        await self.node.observing.count()
        await self.node.indexing.advance()
        await self.node.indexing.tend(int(time.time()))

    def tell(self, asked: list[tuple[str, str]]) -> None:
        """The same lessons, without the calls."""
        now_s = int(time.time())
        finder = self.node.registry.finder
        customers = [Party(new_secret()) for _ in range(CUSTOMERS)]
        for customer in customers:
            self.node.registry.observed.voices.brought(customer.key, 10**9)
        lessons = [
            Lesson(
                id=at.to_bytes(32),
                address=self.providers[tool].address,
                capability=_tool_name(tool),
                words=words,
                payer=customers[at % CUSTOMERS].key,
                payee=self.providers[tool].key,
                settled=True,
                at_s=now_s,
            )
            for at, (words, tool) in enumerate(asked)
        ]
        finder.teach(lessons)


async def quality(quick: bool) -> dict[str, float]:
    """nDCG@5, cold and warm; nothing without the data."""
    folder_of_data = data_folder()
    if folder_of_data is None:
        print(f"quality: left out, {DATA} names no folder with MetaTool (github: HowieHwong)")
        return {}
    tools, asked = metatool(folder_of_data)
    folds = [asked[at::FOLDS] for at in range(FOLDS)]
    cold: list[float] = []
    warm: list[float] = []
    for at, held in enumerate(folds[:1] if quick else folds):
        others = [one for fold in folds if fold is not folds[at] for one in fold]
        with tempfile.TemporaryDirectory() as folder:
            async with _node(Path(folder)) as node:
                fair = Fair(node, tools)
                await fair.open()
                cold.append(await fair.ndcg5(held))
                if quick:
                    fair.tell(others)
                else:
                    await fair.pay(others)
                warm.append(await fair.ndcg5(held))
        print(f"fold {at}: cold {cold[-1]:.4f}, warm {warm[-1]:.4f}", flush=True)
    return {
        "ndcg5_cold": round(sum(cold) / len(cold), 4),
        "ndcg5_warm": round(sum(warm) / len(warm), 4),
    }


def _node(folder: Path) -> Node:
    config = Config(data=folder, port=0, doors=frozenset())
    return Node(config, new_secret(), new_secret().public)


# --- speed ----------------------------------------------------------------------------------------


def tell(what: str) -> None:
    """Say how far it is."""
    print(what, file=sys.stderr, flush=True)


async def prepare(folder: Path, count: int) -> None:
    """A database whose offers' view has so many."""

    def put(tx: Transaction, rows: list[tuple[Any, ...]]) -> None:
        tx.many("offer_upsert", rows)

    async with SqliteDatabase(str(folder / DATABASE)) as database:
        rows: list[tuple[Any, ...]] = []
        for seq, one in enumerate(offers(count, int(time.time())), 1):
            document = msgspec.json.encode(one)
            rows.append(
                (one.address, seq, one.identifier, one.name, one.created_at, None, document)
            )
            if len(rows) == 5000 or seq == count:
                await database.write(put, rows)
                rows = []
                if seq % 100_000 == 0:
                    tell(f"{seq} of {count} offers written")


async def speed(folder: Path, count: int) -> dict[str, float]:
    """Figures of a node on the folder."""
    begun, cpu_s, told = time.perf_counter(), time.process_time(), 0
    async with _node(folder) as node:
        finder = node.registry.finder
        while finder.notes or len(finder.index) < count:
            await asyncio.sleep(0.05)
            if len(finder.index) >= told + 100_000:
                told = len(finder.index)
                tell(f"{told} capabilities of {count} offers indexed")
        figures = {
            "offers": float(count),
            "index_s": round(time.perf_counter() - begun, 1),
            "index_cpu_s": round(time.process_time() - cpu_s, 1),
        }
        asked = questions(SEARCHES)
        for words in asked[:50]:  # pages of the database are read once
            await node.registry.find(Search(words=words))
        for name, constraints in (("search_words", Constraints()), ("search", THREE)):
            took: list[float] = []
            cpu_s = time.process_time()
            for words in asked:
                at = time.perf_counter()
                await node.registry.find(Search(words=words, constraints=constraints))
                took.append((time.perf_counter() - at) * 1000)
            cpu_s = time.process_time() - cpu_s
            took.sort()
            figures[f"{name}_p50_ms"] = round(took[len(took) // 2], 2)
            figures[f"{name}_p95_ms"] = round(took[len(took) * 95 // 100], 2)
            per = "searches_per_cpu_s" if name == "search" else "searches_words_per_cpu_s"
            figures[per] = round(len(took) / cpu_s)
            tell(f"{name}: {len(took)} searches, p95 {figures[f'{name}_p95_ms']} ms")
        figures["publish_to_found_ms"] = round(await published(node), 1)
        figures["memory_mib"] = round(_memory_mib())
        return figures


async def published(node: Node) -> float:
    """The longest of PUBLISHED offers from append to found, in ms."""
    worst = 0.0
    for number in range(PUBLISHED):
        secret, word = new_secret(), f"quixotry{number}"
        value = Offer(
            provider=secret.public,
            operator=secret.public,
            identifier=word,
            name=word,
            summary="",
            capabilities=(Capability(name=word, price=Amount(1)),),
            promise=Promise(),
        )
        event = sign_event(
            secret,
            kind=kinds.OFFER,
            created_at=int(time.time()),
            tags=offer_tags(value, url="wss://node.example", node=node.pubkey),
            content=offer_content(value),
        )
        begun = time.perf_counter()
        await node.log.append_many([event])
        while not (await node.registry.find(Search(capability=word))).hits:
            await asyncio.sleep(0.001)
        worst = max(worst, (time.perf_counter() - begun) * 1000)
    return worst


def _memory_mib() -> float:
    """Memory of its own that this process holds; pages of the database's file are the system's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return 0.0


def measured(count: int) -> dict[str, float]:
    """`speed` in a process of its own, so that memory is its own."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(prepare(Path(folder), count))
        command = [
            sys.executable,
            "-m",
            "bench.registry",
            "--speed",
            folder,
            "--offers",
            str(count),
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        print(f"{count} offers: {done.stdout.splitlines()[-1]}", flush=True)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found


def main() -> None:
    """Run it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="one fold, 20,000 offers: 45 s")
    parser.add_argument("--offers", type=int, help="how many, instead of 100,000 and 1,000,000")
    parser.add_argument("--speed", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.speed:
        print(json.dumps(asyncio.run(speed(wanted.speed, wanted.offers))))
        return
    figures: dict[str, float] = asyncio.run(quality(wanted.quick))
    figures |= measured(wanted.offers or (20_000 if wanted.quick else 100_000))
    if not wanted.quick:
        if wanted.offers is None:
            large = measured(1_000_000)
            figures |= {f"{name}_1m": value for name, value in large.items()}
        figures |= asyncio.run(attack())
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
