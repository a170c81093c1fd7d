"""A Filter as SQL: pure, so that it can be held against `Filter.matches`.

Starts from the index that narrows most: ids, then tags, then authors, then kinds, then time.
Rows are
`seq, created_at, id, kind, json`, newest first, lowest id first within a second (NIP-01).
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from hanse.protocol.filter import Filter

_HEAD = "SELECT DISTINCT event.seq, event.created_at, event.id, event.kind, event.json FROM "
_TAIL = " ORDER BY event.created_at DESC, event.id ASC LIMIT ?"


def tag_hash(key: bytes, name: str, value: str) -> int:
    """The 64-bit signed name of a tag value in one database; `key` is that database's secret."""
    text = f"{name}{value}".encode()
    digest = hashlib.blake2b(text, digest_size=8, key=key).digest()
    return int.from_bytes(digest, "little", signed=True)


def filter_sql(found: Filter, key: bytes, limit: int, now_s: int) -> tuple[str, list[Any]]:
    """(sql, parameters) of one filter; at most `limit` rows, none that expired by `now_s`."""
    where: list[str] = []
    params: list[Any] = []
    source = "event"
    time = "event.created_at"
    if found.tags and found.ids is None:
        first, *others = sorted(found.tags, key=lambda tag: len(tag[1]))
        hashes = [tag_hash(key, first[0], value) for value in first[1]]
        source = "tag CROSS JOIN event ON event.seq = tag.seq"
        time = "tag.created_at"
        where.append(f"tag.hash IN ({_marks(hashes)})")
        params += hashes
    else:
        others = list(found.tags)
    if found.ids is not None:
        where.append(f"event.id IN ({_marks(found.ids)})")
        params += [bytes.fromhex(id) for id in found.ids]
    if found.authors is not None:
        where.append(f"event.pubkey IN ({_marks(found.authors)})")
        params += [bytes.fromhex(author) for author in found.authors]
    if found.kinds is not None:
        where.append(f"event.kind IN ({_marks(found.kinds)})")
        params += sorted(found.kinds)
    for name, wanted in others:
        hashes = [tag_hash(key, name, value) for value in wanted]
        where.append(
            "EXISTS (SELECT 1 FROM tag AS also WHERE also.hash IN "
            f"({_marks(hashes)}) AND also.created_at = event.created_at AND also.seq = event.seq)"
        )
        params += hashes
    if found.since is not None:
        where.append(f"{time} >= ?")
        params.append(found.since)
    if found.until is not None:
        where.append(f"{time} <= ?")
        params.append(found.until)
    where.append("(event.expires IS NULL OR event.expires > ?)")
    params.append(now_s)
    wanted_rows = limit if found.limit is None else min(limit, found.limit)
    params.append(wanted_rows)
    return f"{_HEAD}{source} WHERE {' AND '.join(where)}{_TAIL}", params


def _marks(values: Iterable[object]) -> str:
    return ",".join("?" for _ in values)
