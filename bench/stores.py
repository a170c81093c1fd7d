"""Made events, signed for real, and filters with their right answers.

Everything follows from a seed. Events come in files of at most 10,000, each made on its own, so
that a store of a million begins with the store of a hundred thousand; they are kept between runs.

    store   kinds 1, 7, 1111 (70, 20, 10 %), skewed authors, p, e and t tags, one event a second
    notes   the same with kind 1 alone
    mixed   notes, but of a hundred nine replace an earlier event and one deletes a note
    fan     short notes `seq-00000000 …` under one topic
"""

import hashlib
import os
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import orjson

from bench.loadgen import cache_folder
from hanse.protocol.event import digest_of
from hanse.protocol.signature import Signer

FORMAT = 1
"""Part of every kept file's name: raise it when what is made changes."""
CHUNK = 10_000
TOPICS = 500
RENEWING = 200
"""Authors who write what replaces an earlier event of theirs, in turn."""
STORE_BEGINS = 1_750_000_000
NOTES_BEGIN = 1_760_000_000
QUERIES_EACH = 400
SAMPLED_FILES_MAX = 20
CONDITIONS = ("ids", "authors", "#p", "#e", "#t", "kinds")
_TEXT = (
    "agent harbour league signed note relay market price hello world open key receipt ship north "
    "sea trust call answer paid honest fast morning coffee people build run write read again "
    "stream event block wind sail cargo guild ledger code city friend"
)
WORDS = _TEXT.split()


class Events(msgspec.Struct, frozen=True, kw_only=True):
    """Which events: all of them follow from these values."""

    mode: str
    seed: int
    authors: int
    begins: int
    topic: str = ""

    def files(self, count: int) -> list[Path]:
        """The files that hold the first `count` events, made where they are not kept yet."""
        sizes = [min(CHUNK, count - first) for first in range(0, count, CHUNK)]
        name = f"v{FORMAT}-{self.mode}-{self.seed}-{self.authors}-{self.begins}"
        found = [
            cache_folder() / f"{name}-{number:04}-{size}.jsonl" for number, size in enumerate(sizes)
        ]
        missing = [number for number, path in enumerate(found) if not path.exists()]
        work = [(self, number, sizes[number], found[number]) for number in missing]
        if len(work) == 1:
            _make_file(work[0])
        elif work:
            with ProcessPoolExecutor(os.cpu_count()) as workers:
                list(workers.map(_make_file, work))
        return found


def store_events(seed: int = 2) -> Events:
    """What queries are asked of."""
    return Events(mode="store", seed=seed, authors=5000, begins=STORE_BEGINS)


def note_events(seed: int) -> Events:
    """What ingest is measured with."""
    return Events(mode="notes", seed=seed, authors=2000, begins=NOTES_BEGIN)


def mixed_events(seed: int) -> Events:
    """What ingest is measured with, too."""
    return Events(mode="mixed", seed=seed, authors=2000, begins=NOTES_BEGIN)


def fan_events(seed: int) -> Events:
    """What fan-out is measured with."""
    return Events(mode="fan", seed=seed, authors=1, begins=NOTES_BEGIN, topic=f"fan{seed}")


# --- making events ----------------------------------------------------------------------------


@lru_cache(8)
def _signers(seed: int, count: int) -> list[tuple[Signer, str]]:
    secrets = (
        hashlib.sha256(f"author {seed} {number}".encode()).digest() for number in range(count)
    )
    return [(signer, signer.pubkey.hex()) for signer in map(Signer, secrets)]


def _make_file(work: tuple[Events, int, int, Path]) -> None:
    wanted, number, size, path = work
    draw = random.Random(f"{wanted.mode} {wanted.seed} {number}")
    signers = _signers(wanted.seed, wanted.authors)
    make = _fan if wanted.mode == "fan" else _note
    ids: list[str] = []
    authors: list[int] = []
    building = path.with_suffix(f".{os.getpid()}")
    with building.open("wb") as file:
        for offset in range(size):
            author = _skewed(draw, len(signers))
            kind, tags, content = make(draw, wanted, signers, ids, number * CHUNK + offset)
            if wanted.mode == "mixed" and offset % 10 == 0:
                author, kind, tags, content = _changing(offset, ids, authors)
            authors.append(author)
            signer, pubkey = signers[author]
            created_at = wanted.begins + number * CHUNK + offset
            digest = digest_of(pubkey, created_at, kind, tags, content)
            ids.append(digest.hex())
            event = {
                "id": ids[-1],
                "pubkey": pubkey,
                "created_at": created_at,
                "kind": kind,
                "tags": tags,
                "content": content,
                "sig": signer.sign(digest).hex(),
            }
            file.write(orjson.dumps(event) + b"\n")
    building.rename(path)


def _skewed(draw: random.Random, count: int) -> int:
    """A number below `count`, small ones far more often: some authors write much more."""
    return int(count * draw.random() * draw.random())


def _note(
    draw: random.Random,
    wanted: Events,
    signers: list[tuple[Signer, str]],
    ids: list[str],
    _number: int,
) -> tuple[int, Any, str]:
    kind = 1
    if wanted.mode == "store":
        kind = (1, 1, 1, 1, 1, 1, 1, 7, 7, 1111)[int(draw.random() * 10)]
    tags: list[tuple[str, ...]] = [("p", signers[_skewed(draw, len(signers))][1])]
    if ids and (kind == 7 or draw.random() < 0.5):
        target = ids[-1 - _skewed(draw, min(len(ids), 2000))]
        tags.append(("e", target, "wss://relay.example.com", "reply"))
    tags.append(("t", f"topic{_skewed(draw, TOPICS)}"))
    if kind == 7:
        return kind, tuple(tags), "+"
    text = " ".join(draw.choices(WORDS, k=8 + int(draw.random() * 45)))
    if draw.random() < 0.1:
        text += f"\nhttps://example.com/{draw.getrandbits(64):x}.jpg"
    if draw.random() < 0.1:
        text += ' "quoted" \N{ROCKET}'
    return kind, tuple(tags), text


def _changing(offset: int, ids: list[str], authors: list[int]) -> tuple[int, int, Any, str]:
    """What takes something away, by whom: a deletion of the note 999 before, or a profile or an
    addressable event whose next version comes 2,000 events later. What depends on another must not
    be under way together with it."""
    if offset % 100 == 50 and offset > 1000:
        return authors[-999], 5, (("e", ids[-999]),), ""
    author, profile = offset // 10 % RENEWING, '{"name":"agent","about":"' + "news " * 20 + '"}'
    return (author, 0, (), profile) if author % 2 else (author, 30078, (("d", "state"),), profile)


def _fan(
    _draw: random.Random,
    wanted: Events,
    _signers: list[tuple[Signer, str]],
    _ids: list[str],
    number: int,
) -> tuple[int, Any, str]:
    text = f"seq-{number:08} for every subscriber, a short note of about the length notes have"
    return 1, (("t", wanted.topic),), text


# --- filters and their answers ----------------------------------------------------------------


class Query(msgspec.Struct):
    """One filter and its answer: how many events, and the xor of their ids' first 8 bytes."""

    name: str
    filter: dict[str, Any]
    count: int = 0
    xor: int = 0

    def take(self, event: dict[str, Any]) -> bool:
        """Take an event, newest first, if the filter passes it; False once it is full."""
        found = self.filter
        if not (
            ("kinds" not in found or event["kind"] in found["kinds"])
            and found.get("since", 0) <= event["created_at"]
            and event["created_at"] <= found.get("until", 2**53)
        ):
            return True
        self.count += 1
        self.xor ^= int(event["id"][:16], 16)
        return self.count < int(found.get("limit", 2**53))


def query_file(events: Events, count: int) -> Path:
    """The queries over a store of `count` events with their answers, a line each."""
    path = cache_folder() / f"v{FORMAT}-queries{len(ROWS)}-{events.seed}-{count}.tsv"
    if path.exists():
        return path
    files = events.files(count)
    queries = list(_queries(files, count, events))
    answer(queries, (event for file in reversed(files) for event in reversed(_read(file))))
    lines = [
        f"{one.name}\t{orjson.dumps(one.filter).decode()}\t{one.count}\t{one.xor:016x}\n"
        for one in queries
    ]
    building = path.with_suffix(f".{os.getpid()}")
    building.write_text("".join(lines))
    building.rename(path)
    return path


def answer(queries: list[Query], newest_first: Iterable[dict[str, Any]]) -> None:
    """Find the answers in one pass. Each query waits under the values of one condition of its
    filter, and leaves when it is full; times are unique, so every answer is determined."""
    waiting: dict[tuple[str, object], list[Query]] = {}
    for query in queries:
        name = next(name for name in CONDITIONS if name in query.filter)
        for value in query.filter[name]:
            waiting.setdefault((name, value), []).append(query)
    full: set[int] = set()
    for event in newest_first:
        keys = {("ids", event["id"]), ("authors", event["pubkey"]), ("kinds", event["kind"])}
        keys |= {("#" + tag[0], tag[1]) for tag in event["tags"]}
        for key in keys & waiting.keys():
            kept = []
            for query in waiting[key]:
                if id(query) in full:
                    continue
                if query.take(event):
                    kept.append(query)
                else:
                    full.add(id(query))
            if kept:
                waiting[key] = kept
            else:
                del waiting[key]


def _queries(files: list[Path], count: int, events: Events) -> Iterator[Query]:
    """QUERIES_EACH of every row, about events drawn from all over the store."""
    draw = random.Random(f"queries {events.seed} {count}")
    sampled = draw.sample(files, min(len(files), SAMPLED_FILES_MAX))
    sample = [event for file in sampled for event in _read(file)]
    begins, ends = events.begins, events.begins + count - 1
    for name, make in ROWS.items():
        for _ in range(QUERIES_EACH):
            yield Query(name, make(draw, sample, begins, ends))


def _read(file: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in file.read_bytes().splitlines()]


Make = Callable[[random.Random, list[dict[str, Any]], int, int], dict[str, Any]]


def _tagged(draw: random.Random, sample: list[dict[str, Any]], name: str) -> str:
    """The value of such a tag of some event; every tag that occurs is as likely as it is used."""
    while True:
        for tag in draw.choice(sample)["tags"]:
            if tag[0] == name:
                return str(tag[1])


def _range(
    draw: random.Random, sample: list[dict[str, Any]], begins: int, ends: int
) -> dict[str, Any]:
    tenth = (ends - begins) // 10
    since = draw.randint(begins, ends - tenth)
    author = draw.choice(sample)["pubkey"]
    return {"authors": [author], "since": since, "until": since + tenth, "limit": 50}


ROWS: dict[str, Make] = {
    "ids1": lambda draw, sample, *_: {"ids": [draw.choice(sample)["id"]]},
    "ids20": lambda draw, sample, *_: {
        "ids": sorted({event["id"] for event in draw.sample(sample, 20)})
    },
    "author": lambda draw, sample, *_: {
        "authors": [draw.choice(sample)["pubkey"]],
        "kinds": [1],
        "limit": 20,
    },
    "tag_t": lambda draw, sample, *_: {"#t": [_tagged(draw, sample, "t")], "limit": 50},
    "notif": lambda draw, sample, *_: {
        "#p": [_tagged(draw, sample, "p")],
        "kinds": [1, 7],
        "limit": 50,
    },
    "thread": lambda draw, sample, *_: {"#e": [_tagged(draw, sample, "e")], "kinds": [1]},
    "recent": lambda *_: {"kinds": [1], "limit": 100},
    "recent500": lambda *_: {"kinds": [1], "limit": 500},
    "home": lambda draw, sample, *_: {
        "authors": sorted({event["pubkey"] for event in draw.sample(sample, 100)}),
        "kinds": [1],
        "limit": 100,
    },
    "range": _range,
    "until": lambda draw, _, begins, ends: {
        "kinds": [7],
        "until": draw.randint(begins, ends),
        "limit": 20,
    },
    "miss": lambda draw, *_: {"ids": [f"{draw.getrandbits(256):064x}"]},
    "paged": lambda draw, sample, begins, ends: {
        "authors": sorted({event["pubkey"] for event in draw.sample(sample, 100)}),
        "kinds": [1],
        "until": draw.randint(begins, ends),
        "limit": 100,
    },
    "strangers": lambda draw, sample, *_: {
        "authors": sorted(
            {draw.choice(sample)["pubkey"] for _ in range(5)}
            | {f"{draw.getrandbits(256):064x}" for _ in range(95)}
        ),
        "kinds": [1],
        "limit": 100,
    },
}
"""The rows of queries: by id, one author's notes, a topic, notifications, replies, the newest, a
home feed of 100 authors, a stretch of time of one author, a page further back, an unknown id, a
page further back in a feed, a feed of 100 authors nearly all of whom write elsewhere."""
