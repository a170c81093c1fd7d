"""What every store of handles holds to, whatever engine keeps it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hanse.engines.storage import handles as stored_handles
from hanse.engines.storage.handles import StoredHandles
from hanse.engines.storage.sqlite import SqliteDatabase
from hanse.errors import Conflict, TooLarge
from hanse.keyring import new_secret
from hanse.protocol.handle import Handle

ADA, BOB = new_secret().public, new_secret().public


@pytest.fixture
async def handles(tmp_path: Path) -> AsyncIterator[StoredHandles]:
    async with SqliteDatabase(str(tmp_path / "hanse.db")) as database:
        yield StoredHandles(database)


async def test_a_name_is_kept_until_it_is_removed(handles: StoredHandles) -> None:
    await handles.add(Handle("bob", BOB))
    await handles.add(Handle("ada", ADA))
    await handles.add(Handle("ada", ADA))
    assert await handles.handle("ada") == Handle("ada", ADA)
    assert await handles.handles() == [Handle("ada", ADA), Handle("bob", BOB)]
    assert await handles.remove("ada")
    assert not await handles.remove("ada")
    assert await handles.handle("ada") is None
    assert await handles.handles() == [Handle("bob", BOB)]


async def test_a_name_never_changes_hands_by_itself(handles: StoredHandles) -> None:
    await handles.add(Handle("ada", ADA))
    with pytest.raises(Conflict) as caught:
        await handles.add(Handle("ada", BOB))
    assert caught.value.field == "handle ada"
    assert await handles.handle("ada") == Handle("ada", ADA)


async def test_a_full_store_refuses_new_names_and_keeps_the_old(
    handles: StoredHandles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_handles, "HANDLES_MAX", 2)
    await handles.add(Handle("ada", ADA))
    await handles.add(Handle("bob", BOB))
    with pytest.raises(TooLarge):
        await handles.add(Handle("eve", BOB))
    await handles.add(Handle("ada", ADA))
    assert [found.name for found in await handles.handles()] == ["ada", "bob"]
