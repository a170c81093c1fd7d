"""What replaces and deletes while it is kept aside: what it takes away is gone from every answer,
view and copy at once, and from the tables later."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.conformance.engines import Stores, stores
from tests.conformance.events import (
    ADDRESSABLE,
    ALICE,
    BOB,
    Words,
    a_deletion,
    address,
    an_event,
)
from tests.conformance.test_aside import aside, keeper_of, killed, notes

from hanse.engines.storage import pages
from hanse.engines.storage.append import left_aside
from hanse.engines.storage.overlay import Overlay
from hanse.engines.storage.pages import SqlitePages
from hanse.engines.storage.tag_hash import TagHash
from hanse.engines.storage.tail import Deferred
from hanse.errors import Conflict, Restricted
from hanse.operations.export import export
from hanse.ports import Found
from hanse.protocol import kinds
from hanse.protocol.filter import Filter


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Stores]:
    """A file in a folder."""
    (tmp_path / "data").mkdir()
    async with stores("deferring", tmp_path / "data") as found:
        yield found


async def test_a_newer_version_aside_takes_the_place_of_the_one_in_the_tables(kept: Stores) -> None:
    log = Words(kept.log)
    old = [an_event(kind=ADDRESSABLE, created_at=n, tags=[["d", str(n)]]) for n in range(10)]
    await log.keep(*old)
    await kept.database.settle()
    new = [an_event(kind=ADDRESSABLE, created_at=20 + n, tags=[["d", str(n)]]) for n in range(3, 9)]
    await log.keep(*new[:4])
    await log.keep(*new[4:])
    assert await aside(kept) == 6
    wanted = [event.id for event in [*reversed(new), old[9], *reversed(old[:3])]]
    mine = Filter(authors=frozenset({ALICE.public}), kinds=frozenset({ADDRESSABLE}))
    for asked in (Filter(), mine, Filter(kinds=frozenset({ADDRESSABLE, kinds.NOTE}))):
        assert await log.kept(asked) == wanted
        for limit in range(1, 12):  # what is gone leaves its place to others
            found = await kept.log.query([asked], limit=limit, now_s=0)
            assert [row[2].hex() for row in found.rows] == wanted[:limit]
            assert found.more == (limit < len(wanted))
    assert await log.kept(Filter(until=9)) == wanted[6:]
    assert await log.kept(Filter(ids=frozenset({old[5].id, new[2].id}))) == [new[2].id]
    assert await kept.log.event(old[5].id) is None
    with pytest.raises(Conflict):
        await log.append(old[5])
    assert await log.append(new[2]) is None
    assert await aside(kept) == 6
    assert await kept.log.count([mine], now_s=0) == await kept.log.total() == 10
    assert await aside(kept) == 6  # those that went have left their numbers
    assert await log.kept() == wanted


async def test_a_deletion_aside_takes_what_is_there_and_keeps_it_from_coming_back(
    kept: Stores,
) -> None:
    log, early, late = Words(kept.log), an_event(content="early"), an_event(content="late")
    profile = an_event(kind=kinds.PROFILE, created_at=5)
    await log.keep(early, profile)
    await kept.database.settle()
    unborn = an_event(content="unborn")
    deletion = a_deletion(
        *[("e", event.id) for event in (early, late, unborn)], address(kinds.PROFILE)
    )
    await log.keep(late, deletion)
    assert await aside(kept) == 2
    assert await log.kept() == [deletion.id]
    for event in (early, late, unborn, profile):
        with pytest.raises(Restricted):
            await log.append(event)
        assert await kept.log.event(event.id) is None
    newer = an_event(kind=kinds.PROFILE, created_at=3000)
    assert await log.append(newer) == 5
    assert await aside(kept) == 3
    await kept.database.settle()
    assert await log.kept() == [newer.id, deletion.id]
    with pytest.raises(Restricted):
        await log.append(early)


async def test_a_view_reads_what_is_aside_without_moving_it(kept: Stores) -> None:
    follows = [["p", BOB.public]]
    log = Words(kept.log)
    await log.keep(*notes(3), an_event(kind=kinds.FOLLOWS, tags=follows))
    await kept.trust.advance()
    assert await aside(kept) == 4
    assert await kept.trust.followers_of(BOB.public) == [ALICE.public]
    await log.keep(an_event(kind=kinds.FOLLOWS, created_at=1001))
    await kept.trust.advance()
    assert await kept.trust.followers_of(BOB.public) == []
    await log.keep(an_event(kind=kinds.FOLLOWS, created_at=1002, tags=follows))
    await kept.trust.advance()
    await log.keep(a_deletion(address(kinds.FOLLOWS)))
    await kept.trust.advance()
    assert await kept.trust.followers_of(BOB.public) == []


async def test_a_view_reads_again_what_it_followed_into_a_file_that_is_lost(
    kept: Stores, tmp_path: Path
) -> None:
    await Words(kept.log).keep(*notes(3))
    await kept.database.settle()
    follow = an_event(kind=kinds.FOLLOWS, tags=[["p", BOB.public]])
    await Words(kept.log).keep(*notes(5, first=3), follow)
    await kept.trust.advance()
    assert await kept.trust.followers_of(BOB.public) == [ALICE.public]
    killed(tmp_path / "data", tmp_path / "killed")
    fresh = tmp_path / "killed" / "hanse.db-fresh"
    fresh.unlink()
    fresh.touch()  # on purpose, as the refusal says
    async with stores("deferring", tmp_path / "killed") as again:
        await again.trust.advance()
        assert await again.trust.followers_of(BOB.public) == []
        assert await Words(again.log).append(follow) == 4
        await again.trust.advance()
        assert await again.trust.followers_of(BOB.public) == [ALICE.public]


async def test_an_answer_has_one_version_though_the_newest_was_not_announced_yet(
    kept: Stores,
) -> None:
    mine = Filter(kinds=frozenset({kinds.PROFILE}))
    await Words(kept.log).keep(an_event(kind=kinds.PROFILE, created_at=1))
    newest = an_event(kind=kinds.PROFILE, created_at=2)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(kept.database.write(kept.log.append_within, newest))
        await asyncio.sleep(0)
        while keeper_of(kept).deferred.runs:  # the loop does not hear of it meanwhile
            threading.Event().wait(0.001)
        found = kept.log.at_once([mine], limit=10, now_s=0)
        assert isinstance(found, Found)
        assert [row[2].hex() for row in found.rows] == [newest.id]
        several = await kept.log.query([mine, mine], limit=10, now_s=0)
        assert [row[2].hex() for row in several.rows] == [newest.id]


def test_what_comes_again_is_found_when_its_first_coming_moves() -> None:
    hash, kept = TagHash(b""), Deferred()
    overlay = Overlay(lambda _name, _values: [], kept)
    first, second = (an_event(kind=kinds.PROFILE, created_at=n) for n in (1, 2))
    story = [first, second, a_deletion(("e", second.id)), first]
    for number, event in enumerate(story, 1):
        kept.add(left_aside(overlay.among, [event], number, hash))
    kept.drop(1)
    wanted = bytes.fromhex(first.id)
    assert [row[0] for row in overlay.among("events_by_ids", [wanted])] == [4]
    kept.drop(4)
    left = (kept.rows, kept.versions, kept.gone, kept.forbidden, kept.bytes)
    assert left == ({}, {}, set(), {}, 0)


async def test_an_export_leaves_out_what_is_replaced_or_deleted_aside(
    kept: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE", 2)
    old = [an_event(kind=ADDRESSABLE, tags=[["d", str(n)]]) for n in range(6)]
    await Words(kept.log).keep(*notes(1), *old)
    await kept.database.settle()
    new = [an_event(kind=ADDRESSABLE, created_at=2000, tags=[["d", str(n)]]) for n in range(5)]
    unwanted = notes(1, first=1)[0]
    await Words(kept.log).keep(unwanted, *new, a_deletion(("e", old[5].id), ("e", unwanted.id)))
    out = io.BytesIO()
    async with SqlitePages(tmp_path / "data" / "hanse.db") as opened:
        await export(opened, out, Filter(), 10, lambda *_: None)
    exported = {msgspec.json.decode(line)["id"] for line in out.getvalue().splitlines()}
    assert exported == set(await Words(kept.log).kept())
    assert len(exported) == 1 + 5 + 1
