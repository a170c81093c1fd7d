"""What every log holds to, whatever engine keeps it: what is kept, replaced, deleted, expired. The
model that other tests trust, `MemoryLog`, holds to it too.
"""

import asyncio
import contextlib

import pytest
from tests.conformance.events import (
    ADDRESSABLE,
    ALICE,
    BOB,
    REPLACEABLE,
    Words,
    a_deletion,
    address,
    an_event,
)

from hanse.engines.storage.removal import STEP
from hanse.errors import Conflict, Restricted
from hanse.protocol import kinds
from hanse.protocol.event import Event
from hanse.protocol.filter import Filter
from hanse.protocol.keys import SecretKey

# --- appending --------------------------------------------------------------------------------


async def test_an_event_is_kept_once_and_comes_back_as_it_was(log: Words) -> None:
    event = an_event(content="é\x00🦀", tags=[["t", "a"], [], ["t", "a"]])
    assert await log.append(event) == 1
    assert await log.append(event) is None
    assert await log.log.event(event.id) == event
    assert await log.log.total() == await log.log.last_seq() == 1


async def test_a_duplicate_within_one_batch_is_kept_once(log: Words) -> None:
    event = an_event()
    assert await log.log.append_many([event, event, an_event(content="x")]) == [1, None, 2]


async def test_an_event_that_is_not_here_is_none(log: Words) -> None:
    assert await log.log.event("00" * 32) is None


async def test_appended_events_are_told_in_order_after_they_can_be_read(log: Words) -> None:
    told: list[tuple[int, str]] = []
    reads: list[asyncio.Task[Event | None]] = []

    def reader(seq: int, event: Event) -> None:
        told.append((seq, event.id))
        reads.append(tasks.create_task(log.log.event(event.id)))

    log.log.follow(reader)
    events = [an_event(content=str(number)) for number in range(50)]
    async with asyncio.TaskGroup() as tasks:
        await asyncio.gather(*(log.append(event) for event in [*events, *events]))
    assert [seq for seq, _ in told] == list(range(1, 51))
    assert {id for _, id in told} == {event.id for event in events}
    found = [read.result() for read in reads]
    assert [event.id for event in found if event] == [id for _, id in told]


async def test_a_refusal_in_a_batch_does_not_undo_its_neighbours(log: Words) -> None:
    newer, older = (an_event(kind=REPLACEABLE, created_at=at) for at in (2000, 1000))
    first, second, third = await log.log.append_many([newer, older, an_event()])
    assert (first, third) == (1, 2)
    assert isinstance(second, Conflict)
    assert set(await log.kept()) == {newer.id, an_event().id}


async def test_a_caller_that_gives_up_does_not_undo_its_write(log: Words) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            await log.append(an_event())
    await log.append(an_event(content="next"))
    assert an_event().id in await log.kept()


async def test_an_event_that_passes_twice_counts_once_toward_the_limit(log: Words) -> None:
    twice = an_event(created_at=1001, tags=[["t", "a"], ["t", "b"]])
    once = an_event(tags=[["t", "a"]])
    await log.keep(twice, once)
    assert await log.kept(Filter(tags=(("t", frozenset("ab")),), limit=2)) == [twice.id, once.id]


@pytest.mark.parametrize("count", [30, 100])
async def test_a_feed_holds_the_newest_of_its_authors_however_unevenly_they_write(
    log: Words, count: int
) -> None:
    authors = [SecretKey(bytes([number]) * 32) for number in range(1, count + 1)]
    events = []
    for number, author in enumerate(authors):
        for turn in range(60 if number == 7 else number % 4):
            expiry = [["expiration", "1400"]] if turn % 5 == 4 or number % 10 == 3 else []
            at = 1000 + (turn * 7 + number * 13) % (40 if number == 7 else 300)
            events.append(an_event(author, created_at=at, content=f"{turn}", tags=expiry))
    await log.keep(*events)
    newest = sorted(events, key=lambda event: (-event.created_at, event.id))
    asked = frozenset(author.public for author in authors[:-1])
    for since, until in ((None, None), (1020, None), (None, 1100), (1010, 1030)):
        for limit in (1, 2, 5, 14, 15, 29, 30, 58, 59, 200):
            feed = Filter(
                authors=asked, kinds=frozenset({1}), since=since, until=until, limit=limit
            )
            right = [one.id for one in newest if feed.matches(one) and not one.tags][:limit]
            assert await log.kept(feed) == right, feed


RANDOM = "".join(SecretKey(bytes([number]) * 32).public for number in range(1, 150))
"""That no compression makes short."""

AWKWARD = {
    "a NUL in its address": {"kind": ADDRESSABLE, "tags": [["d", "a\x00b"]]},
    "a NUL in what it deletes": {
        "kind": kinds.DELETION,
        "tags": [["a", f"30000:{ALICE.public}:\x00"], ["a", f"30000:{ALICE.public}:{RANDOM}"]],
    },
    "a long address": {"kind": ADDRESSABLE, "tags": [["d", RANDOM]]},
    "a long word": {"content": "w" * 5000 + " short word"},
    "many words": {"content": " ".join(f"word{number}" for number in range(8000)) + " short"},
    "a long tag": {"tags": [["t", RANDOM]]},
    "quotes and marks": {"content": 'it\'s "short" ? $1 :a \\ %s & | ! <-> * ( )'},
    "the latest time": {"created_at": 2**53 - 1},
    "the last kind": {"kind": 65535},
}


@pytest.mark.parametrize("case", AWKWARD)
async def test_an_awkward_event_is_kept_and_found_like_any_other(log: Words, case: str) -> None:
    event = an_event(**AWKWARD[case])  # type: ignore[arg-type]
    await log.keep(event, an_event(content="another"))
    assert await log.log.event(event.id) == event
    asked = [Filter(ids=frozenset({event.id})), Filter(kinds=frozenset({event.kind}))]
    asked += [Filter(tags=((tag[0], frozenset({tag[1]})),)) for tag in event.tags]
    if "short" in event.content:
        asked.append(Filter(search="short"))
    for one in asked:
        assert event.id in await log.kept(one), one
    if event.kind == ADDRESSABLE:
        await log.keep(a_deletion(address(ADDRESSABLE, ALICE, event.tag("d") or "")))
        assert event.id not in await log.kept()


# --- replaceable and addressable ----------------------------------------------------------------

KEPT_ONCE = [
    (0, ()),
    (3, ()),
    (REPLACEABLE, ()),
    (19_999, (("d", "ignored"),)),
    (ADDRESSABLE, (("d", "x"),)),
    (39_999, ()),
    (kinds.OFFER, (("d", "é:with:colons"),)),
]


@pytest.mark.parametrize(("kind", "tags"), KEPT_ONCE)
async def test_a_newer_version_takes_the_place_of_the_older(
    log: Words, kind: int, tags: tuple[tuple[str, str], ...]
) -> None:
    old, new = (an_event(kind=kind, created_at=at, tags=tags) for at in (1000, 1001))
    await log.keep(old, new)
    assert await log.kept() == [new.id]
    with pytest.raises(Conflict):
        await log.append(old)
    assert await log.kept() == [new.id]


@pytest.mark.parametrize(("kind", "tags"), KEPT_ONCE)
@pytest.mark.parametrize("lowest_first", [True, False])
async def test_within_one_second_the_lowest_id_stays(
    log: Words, kind: int, tags: tuple[tuple[str, str], ...], lowest_first: bool
) -> None:
    pair = [an_event(kind=kind, content=text, tags=tags) for text in ("a", "b")]
    low, high = sorted(pair, key=lambda event: event.id)
    if lowest_first:
        await log.keep(low)
        with pytest.raises(Conflict):
            await log.append(high)
    else:
        await log.keep(high, low)
    assert await log.kept() == [low.id]


async def test_versions_of_different_addresses_do_not_touch(log: Words) -> None:
    events = [
        an_event(kind=ADDRESSABLE, tags=[["d", "x"]]),
        an_event(kind=ADDRESSABLE, tags=[["d", "X"]]),
        an_event(kind=ADDRESSABLE, tags=[["d", ""]]),
        an_event(kind=ADDRESSABLE + 1, tags=[["d", "x"]]),
        an_event(BOB, ADDRESSABLE, tags=[["d", "x"]]),
        an_event(kind=REPLACEABLE),
        an_event(BOB, REPLACEABLE),
    ]
    await log.keep(*events)
    assert set(await log.kept()) == {event.id for event in events}


@pytest.mark.parametrize("tags", [[], [["d"]], [["d", ""]], [["d", "", "x"]]])
async def test_no_d_tag_and_an_empty_one_are_one_address(log: Words, tags: list[list[str]]) -> None:
    await log.keep(an_event(kind=ADDRESSABLE, tags=[["d", ""]], content="old"))
    newest = an_event(kind=ADDRESSABLE, created_at=1001, tags=tags)
    await log.keep(newest)
    assert await log.kept() == [newest.id]


# --- deletion (NIP-09) ------------------------------------------------------------------------


async def test_a_deletion_by_id_removes_the_event_and_forbids_its_return(log: Words) -> None:
    event = an_event(tags=[["t", "a"]])
    deletion = a_deletion(("e", event.id))
    await log.keep(event, deletion)
    assert await log.kept() == [deletion.id]
    with pytest.raises(Restricted):
        await log.append(event)
    assert await log.kept() == [deletion.id]


async def test_a_deletion_that_arrives_first_forbids_what_it_names(log: Words) -> None:
    event = an_event()
    await log.keep(a_deletion(("e", event.id), created_at=500))
    with pytest.raises(Restricted):
        await log.append(event)


@pytest.mark.parametrize("deletion_first", [True, False])
async def test_nobody_deletes_anothers_event(log: Words, deletion_first: bool) -> None:
    note, version = an_event(), an_event(kind=ADDRESSABLE, tags=[["d", "x"]])
    deletion = a_deletion(
        ("e", note.id), ("e", version.id), address(ADDRESSABLE, ALICE, "x"), by=BOB
    )
    order = [note, version]
    await log.keep(*([deletion, *order] if deletion_first else [*order, deletion]))
    assert set(await log.kept()) == {note.id, version.id, deletion.id}


@pytest.mark.parametrize(
    ("kind", "identifier"), [(REPLACEABLE, ""), (ADDRESSABLE, "a:b"), (ADDRESSABLE, "a\0b")]
)
async def test_a_deletion_by_address_removes_versions_up_to_its_own_time(
    log: Words, kind: int, identifier: str
) -> None:
    tags = [["d", identifier]]
    old, same, new = (an_event(kind=kind, created_at=at, tags=tags) for at in (1000, 2000, 2001))
    deletion = a_deletion(address(kind, ALICE, identifier), created_at=2000)
    await log.keep(old, deletion)
    assert await log.kept() == [deletion.id]
    for event in (old, same):
        with pytest.raises(Restricted):
            await log.append(event)
    await log.keep(new)
    assert set(await log.kept()) == {new.id, deletion.id}


async def test_a_deletion_by_address_leaves_a_newer_version(log: Words) -> None:
    version = an_event(kind=REPLACEABLE, created_at=3000)
    deletion = a_deletion(address(REPLACEABLE), created_at=2000)
    await log.keep(version, deletion)
    assert set(await log.kept()) == {version.id, deletion.id}


async def test_an_older_deletion_does_not_lift_a_newer_one(log: Words) -> None:
    await log.keep(
        a_deletion(address(REPLACEABLE), created_at=3000),
        a_deletion(address(REPLACEABLE), created_at=1000),
    )
    with pytest.raises(Restricted):
        await log.append(an_event(kind=REPLACEABLE, created_at=2500))


@pytest.mark.parametrize("last_first", [True, False])
async def test_a_deletion_cannot_be_deleted_in_either_order(log: Words, last_first: bool) -> None:
    event = an_event()
    deletion = a_deletion(("e", event.id))
    second = a_deletion(("e", deletion.id), created_at=3000)
    await log.keep(*([second, deletion] if last_first else [deletion, second]))
    assert set(await log.kept()) == {deletion.id, second.id}
    with pytest.raises(Restricted):
        await log.append(event)


async def test_targets_of_a_deletion_that_make_no_sense_are_passed_over(log: Words) -> None:
    event = an_event()
    deletion = a_deletion(
        ("e", "not hex"),
        ("e", event.id.upper()),
        ("e", ""),
        ("a", "30000"),
        ("a", f"x:{ALICE.public}:"),
        ("a", ""),
        ("k", "1"),
    )
    await log.keep(event, deletion)
    assert set(await log.kept()) == {event.id, deletion.id}


# --- expiration (NIP-40) ------------------------------------------------------------------------


async def test_an_event_is_served_until_its_last_second_and_not_at_it(log: Words) -> None:
    event = an_event(tags=[["expiration", "2000"], ["t", "a"]])
    await log.keep(event)
    for found in (
        Filter(),
        Filter(ids=frozenset({event.id})),
        Filter(tags=(("t", frozenset("a")),)),
    ):
        assert await log.kept(found, now_s=1999) == [event.id]
        assert await log.kept(found, now_s=2000) == []


async def test_what_expired_is_swept_and_the_rest_stays(log: Words) -> None:
    stays = an_event(tags=[["expiration", "3000"]])
    await log.keep(an_event(tags=[["expiration", "2000"], ["t", "a"]]), stays)
    assert await log.log.sweep(1999) == 0
    assert await log.log.sweep(2000) == 1
    assert await log.log.sweep(2000) == 0
    assert await log.kept() == [stays.id]


async def test_a_sweep_goes_on_until_all_that_expired_is_gone(log: Words) -> None:
    tags = [["expiration", "2000"]]
    await log.keep(*(an_event(content=str(n), tags=tags) for n in range(STEP + 1)))
    assert [await log.log.sweep(2000), await log.log.sweep(2000)] == [STEP + 1, 0]
