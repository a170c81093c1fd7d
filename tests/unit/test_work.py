"""NIP-13: counting, what is enough, and mining within a bound."""

import hashlib

import pytest

from hanse.errors import Invalid
from hanse.protocol.work import committed_target, difficulty, mine, shortfall

EXAMPLE = "000006d8c378af1779d2feebc7603a125d99eca0ccf1085959b307f64e5dd358"
EXAMPLE_TAGS = (("nonce", "776797", "20"),)


def id_of(nonce: int) -> str:
    return hashlib.sha256(str(nonce).encode()).hexdigest()


@pytest.mark.parametrize(
    ("event_id", "bits"),
    [
        ("000000000e9d97a1ab09fc381030b346cdd7a142ad57e6df0b46dc9bef6c7e2d", 36),
        (EXAMPLE, 21),
        ("002f" + "0" * 60, 10),
        ("0" * 64, 256),
        ("0" * 63 + "1", 255),
        ("f" * 64, 0),
        ("7" + "f" * 63, 1),
    ],
)
def test_difficulty_counts_leading_zero_bits(event_id: str, bits: int) -> None:
    assert difficulty(event_id) == bits


@pytest.mark.parametrize("event_id", ["", "0", "0" * 63, "0" * 65, "0" * 63 + "A", "0x" + "0" * 62])
def test_an_id_that_is_not_hex_has_no_difficulty(event_id: str) -> None:
    with pytest.raises(Invalid):
        difficulty(event_id)


@pytest.mark.parametrize(
    ("tags", "target"),
    [
        (EXAMPLE_TAGS, 20),
        ((("t", "x"), (), ("nonce", "1", "0"), ("nonce", "1", "30")), 0),
        ((), None),
        ((("nonce",),), None),
        ((("nonce", "1"),), None),
        ((("nonce", "1", ""),), None),
        ((("nonce", "1", "-1"),), None),
        ((("nonce", "1", "+20"),), None),
        ((("nonce", "1", "2_0"),), None),
        ((("nonce", "1", " 20"),), None),
        ((("nonce", "1", "٢٠"),), None),
        ((("nonce", "1", "²"),), None),
        ((("nonce", "1", "9" * 5000),), None),
    ],
)
def test_the_committed_target_is_plain_decimals_in_the_first_nonce_tag(
    tags: tuple[tuple[str, ...], ...], target: int | None
) -> None:
    assert committed_target(tags) == target


@pytest.mark.parametrize("minimum", [-1, 0, 1, 20])
def test_the_example_of_the_nip_is_enough_up_to_its_target(minimum: int) -> None:
    assert shortfall(EXAMPLE, EXAMPLE_TAGS, minimum) is None


@pytest.mark.parametrize(
    ("tags", "minimum", "reason"),
    [
        (EXAMPLE_TAGS, 21, "committed target 20 is under 21"),  # lucky: the id has 21 bits
        (EXAMPLE_TAGS, 22, "difficulty 21 is under 22"),
        ((), 20, "commits to no target"),
        ((("nonce", "1"),), 20, "commits to no target"),
        ((("nonce", "1", "19"),), 20, "committed target 19 is under 20"),
        ((("nonce", "1", "40"),), 20, "under its committed target 40"),
    ],
)
def test_too_little_work_is_refused_with_its_reason(
    tags: tuple[tuple[str, ...], ...], minimum: int, reason: str
) -> None:
    found = shortfall(EXAMPLE, tags, minimum)
    assert found is not None
    assert reason in found


def test_no_work_is_asked_for_when_the_minimum_is_nothing() -> None:
    assert shortfall("f" * 64, (), 0) is None


def test_mining_finds_the_first_nonce_with_enough_bits() -> None:
    found = mine(id_of, 8, attempts=10_000)
    assert found is not None
    assert difficulty(id_of(found)) >= 8
    assert all(difficulty(id_of(nonce)) < 8 for nonce in range(found))


def test_mining_goes_on_from_where_another_stopped() -> None:
    first = mine(id_of, 8, attempts=10_000)
    assert first is not None
    assert mine(id_of, 8, attempts=first) is None
    assert mine(id_of, 8, start=first, attempts=1) == first
    second = mine(id_of, 8, start=first + 1, attempts=10_000)
    assert second is not None
    assert second > first


def test_mining_tries_no_more_than_it_was_given() -> None:
    tried: list[int] = []

    def never(nonce: int) -> str:
        tried.append(nonce)
        return "f" * 64

    assert mine(never, 1, start=5, attempts=3) is None
    assert tried == [5, 6, 7]
    assert mine(never, 1, attempts=0) is None
    assert len(tried) == 3


@pytest.mark.parametrize("target", [-1, 257])
def test_a_target_no_id_can_have_is_refused(target: int) -> None:
    with pytest.raises(Invalid):
        mine(id_of, target, attempts=1)
