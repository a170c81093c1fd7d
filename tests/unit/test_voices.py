"""Whose calls count: not one's own, rings as one voice, strangers only so far."""

import pytest

from hanse.protocol.keys import PublicKey
from hanse.registry.voices import RING_MAX, STRANGERS_MAX, Voices, find_rings

ME = PublicKey("me")


class Trusting:
    """Implements `registry.store.Standing`: friends are at level 2."""

    def level(self, viewer: PublicKey, operator: PublicKey) -> int:
        return 2 if operator.startswith("friend") else 0

    def score(self, viewer: PublicKey, operator: PublicKey) -> float:
        return 0.5 if operator.startswith("friend") else 0.0


@pytest.fixture
def voices() -> Voices:
    return Voices(ME, Trusting())


def test_calls_between_keys_of_one_operator_count_nothing(voices: Voices) -> None:
    voices.brought("maker", 10**9)
    assert voices.weight("maker", "maker") == 0
    assert Voices(ME, Trusting()).weight(ME, ME) == 0


def test_whom_the_operator_knows_counts_in_full(voices: Voices) -> None:
    payers = [ME, *(f"friend {number}" for number in range(50))]
    assert set(voices.weights(payers, "maker").values()) == {1.0}


def test_ten_funded_strangers_make_up_as_many_voices_as_strangers_may(voices: Voices) -> None:
    payers = [f"stranger {number}" for number in range(10)]
    for payer in payers:
        voices.brought(payer, 50_000)
        voices.paid(payer, "maker", 5000, 4950)
    assert sum(voices.weights(payers, "maker").values()) == pytest.approx(STRANGERS_MAX)
    assert sum(voices.weights(payers[:3], "maker").values()) == pytest.approx(3)


def test_a_thousand_strangers_count_no_more_than_ten(voices: Voices) -> None:
    payers = [f"stranger {number}" for number in range(1000)]
    for payer in payers:
        voices.brought(payer, 50_000)
    assert sum(voices.weights(payers, "maker").values()) == pytest.approx(STRANGERS_MAX)


def test_a_ring_that_moves_one_grant_around_is_one_voice(voices: Voices) -> None:
    ring = [f"ring {number}" for number in range(1000)]
    voices.brought(ring[0], 1_000_000)
    for number, payer in enumerate(ring):
        voices.paid(payer, ring[(number + 1) % 1000], 1_000_000, 990_000)
        voices.paid(payer, "maker", 1000, 990)
    total = sum(voices.weights(ring, "maker").values())
    assert total == pytest.approx(RING_MAX)


def test_who_is_paid_back_by_the_provider_is_no_customer(voices: Voices) -> None:
    voices.brought("friendly", 50_000)
    voices.paid("friendly", "maker", 5000, 4950)
    assert voices.backing("friendly", "maker") == 1.0
    voices.paid("maker", "friendly", 5000, 4950)
    assert voices.backing("friendly", "maker") == 0.0


def test_earned_money_leaves_less_of_ones_own_behind_a_voice(voices: Voices) -> None:
    voices.brought("worker", 10_000)
    voices.paid("somebody", "worker", 30_300, 30_000)
    assert voices.backing("worker", "maker") == pytest.approx(0.25)


def test_dust_makes_nobody(voices: Voices) -> None:
    voices.brought("dusty", 999)
    assert voices.backing("dusty", "maker") == 0


def test_an_earner_with_no_money_of_its_own_still_is_a_voice(voices: Voices) -> None:
    assert voices.weight("worker", "maker") == RING_MAX


def test_funded_strangers_that_pay_each_other_in_a_ring_are_one_voice(voices: Voices) -> None:
    ring = [f"ring {number}" for number in range(100)]
    for number, payer in enumerate(ring):
        voices.brought(payer, 50_000)
        voices.paid(payer, ring[(number + 1) % 100], 1000, 990)
    before = voices.unsorted
    voices.sort(find_rings(voices.graph()))
    assert (before, voices.unsorted) == (True, False)
    assert sum(voices.weights(ring, "maker").values()) == pytest.approx(RING_MAX)
    voices.brought("alone", 50_000)
    assert sum(voices.weights([*ring, "alone"], "maker").values()) == pytest.approx(RING_MAX + 1)


def test_nobody_is_in_a_ring_because_of_whom_the_operator_knows(voices: Voices) -> None:
    for name in ("one", "two", "three"):
        voices.paid(name, "friend", 1000, 990)
        voices.paid("friend", name, 1000, 990)
    assert find_rings(voices.graph()) == {}


def test_who_has_no_money_of_its_own_adds_nothing_to_who_has(voices: Voices) -> None:
    voices.brought("funded", 50_000)
    weights = voices.weights(["funded", "moved 1", "moved 2"], "maker")
    assert weights == {"funded": 1.0, "moved 1": 0.0, "moved 2": 0.0}
    alone = voices.weights(["moved 1", "moved 2"], "maker")
    assert sum(alone.values()) == pytest.approx(RING_MAX)


@pytest.mark.parametrize("size", [2, 5000])
def test_a_ring_is_found_however_long_and_a_line_is_none(size: int) -> None:
    names = [str(number) for number in range(size)]
    ring = {name: [names[(number + 1) % size]] for number, name in enumerate(names)}
    line = {name: [names[number + 1]] for number, name in enumerate(names[:-1])}
    assert set(find_rings(ring)) == set(names)
    assert len(set(find_rings(ring).values())) == 1
    assert find_rings(line) == {}


def test_two_rings_are_two() -> None:
    rings = find_rings({"a": ["b"], "b": ["a", "c"], "c": ["d"], "d": ["c"], "e": ["a"]})
    assert rings["a"] == rings["b"] != rings["c"] == rings["d"]
    assert "e" not in rings
