"""Negentropy: recorded conversations of the reference implementation, bounds, refusals."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from hanse.errors import Invalid
from hanse.protocol.negentropy import FRAME_BYTES_MIN, VERSION, Negentropy

VECTORS = json.loads(
    (Path(__file__).parent.parent / "vectors" / "negentropy.json").read_text("utf-8")
)
CASES = pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])


def item(number: int) -> tuple[int, bytes]:
    return 1_700_000_000 + number // 10, hashlib.sha256(str(number).encode()).digest()


def side(numbers: list[int]) -> Negentropy:
    return Negentropy(item(number) for number in range(*numbers))


@CASES
def test_our_client_learns_what_the_reference_client_learnt(case: dict[str, Any]) -> None:
    client = side(case["client"])
    for step in case["steps"]:
        found = client.reconcile(bytes.fromhex(step["answered"]))
        assert {id.hex() for id in found.have} == set(step["have"])
        assert {id.hex() for id in found.need} == set(step["need"])


@CASES
def test_our_server_answers_so_that_the_same_is_learnt(case: dict[str, Any]) -> None:
    client, server = side(case["client"]), side(case["server"])
    for step in case["steps"]:
        answered = client.reconcile(server.respond(bytes.fromhex(step["asked"])))
        assert {id.hex() for id in answered.have} == set(step["have"])
        assert {id.hex() for id in answered.need} == set(step["need"])


def test_fingerprints_of_equal_ranges_agree_with_the_reference() -> None:
    case = VECTORS["cases"][0]
    asked = bytes.fromhex(case["steps"][0]["asked"])
    assert side(case["server"]).respond(asked) == VERSION
    assert side(case["server"]).respond(asked[:-1] + b"\0") != VERSION


def test_an_empty_side_lists_nothing_and_learns_everything() -> None:
    empty, full = side([0]), side([40])
    assert empty.initiate() == bytes.fromhex("6100000200")
    step = empty.reconcile(full.respond(empty.initiate()))
    assert step.reply is None
    assert set(step.need) == {item(number)[1] for number in range(40)}
    assert not step.have


def test_the_same_item_given_twice_counts_once() -> None:
    assert len(Negentropy([item(1), item(1), item(2)])) == 2


@pytest.mark.parametrize("version", [0x60, 0x62, 0x00, 0xFF])
def test_another_version_is_answered_with_the_one_we_speak(version: int) -> None:
    assert side([3]).respond(bytes((version,)) + b"whatever") == VERSION
    with pytest.raises(Invalid, match="version"):
        side([3]).reconcile(bytes((version,)))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("", "empty"),
        ("6101", "ends"),
        ("61010001aabb", "ends too early"),
        ("61000003", "mode 3"),
        ("61000002ff7f", "ends too early"),
        ("610000028001", "begins with zeros"),
        ("61ffffffffffffffffffff01", "too long"),
        ("6101210000", "prefix is too long"),
        ("6101a10000", "prefix is too long"),
        ("61000100", "prefix is too long"),
        ("61000000000000", "after the last"),
        ("610502aabb000101aa00", "ascend"),
        ("61828080808080808080000000", "past infinity"),
    ],
)
def test_a_malformed_message_is_refused_by_both_sides(message: str, reason: str) -> None:
    for call in (side([3]).respond, side([3]).reconcile):
        with pytest.raises(Invalid, match=reason if message else "empty|version"):
            call(bytes.fromhex(message))


@pytest.mark.parametrize(
    ("time", "id"), [(-1, bytes(32)), (2**64 - 1, bytes(32)), (2**64, bytes(32)), (1, bytes(31))]
)
def test_items_that_the_protocol_cannot_name_are_refused(time: int, id: bytes) -> None:
    with pytest.raises(Invalid, match="items"):
        Negentropy([(time, id)])


def test_a_frame_bound_too_small_to_get_anywhere_is_refused() -> None:
    with pytest.raises(Invalid, match="frame_bytes_max"):
        Negentropy([], frame_bytes_max=FRAME_BYTES_MIN - 1)


def test_a_large_list_is_sent_in_bounded_messages_that_cover_all() -> None:
    client, server = side([0]), Negentropy(map(item, range(5000)), frame_bytes_max=FRAME_BYTES_MIN)
    message: bytes | None = client.initiate()
    need: list[bytes] = []
    while message is not None:
        answered = server.respond(message)
        assert len(answered) <= FRAME_BYTES_MIN
        step = client.reconcile(answered)
        need += step.need
        message = step.reply
    assert sorted(need) == sorted(item(number)[1] for number in range(5000))
