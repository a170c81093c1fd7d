"""Negentropy over random sets, any frame bounds and any bytes."""

from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import Invalid
from hanse.protocol.negentropy import FRAME_BYTES_MIN, VERSION, Negentropy

T = TypeVar("T")

# Few times and few first bytes: most neighbours share a time and a prefix of their id.
IDS = st.one_of(
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=1, max_size=2).map(lambda tail: tail.rjust(32, b"\0")),
    st.binary(min_size=1, max_size=2).map(lambda head: head.ljust(32, b"\0")),
)
ITEMS = st.dictionaries(
    IDS, st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 2)), max_size=400
).map(lambda found: [(time, id) for id, time in found.items()])
FRAMES = st.one_of(st.just(0), st.integers(FRAME_BYTES_MIN, 3 * FRAME_BYTES_MIN))


@st.composite
def two_sides(draw: st.DrawFn) -> tuple[list[tuple[int, bytes]], list[tuple[int, bytes]]]:
    """Two sets with much in common."""
    items = draw(ITEMS)
    # One seed decides who has what: a list of as many draws would dwarf the items.
    random = draw(st.randoms(use_true_random=False))
    missing = draw(st.sampled_from([0.01, 0.3, 1.0]))
    return (
        [one for one in items if random.random() >= missing / 2],
        [one for one in items if random.random() >= missing / 2],
    )


@given(two_sides(), FRAMES, FRAMES)
def test_reconciling_finds_exactly_the_difference_within_the_frames(
    sides: tuple[list[tuple[int, bytes]], list[tuple[int, bytes]]], ours: int, theirs: int
) -> None:
    mine, other = ({id for _, id in side} for side in sides)
    client = Negentropy(sides[0], frame_bytes_max=ours)
    server = Negentropy(sides[1], frame_bytes_max=theirs)
    message: bytes | None = client.initiate()
    have: set[bytes] = set()
    need: set[bytes] = set()
    rounds = 0
    while message is not None:
        rounds += 1
        assert rounds <= 60
        assert not ours or len(message) <= ours
        answered = server.respond(message)
        assert not theirs or len(answered) <= theirs
        step = client.reconcile(answered)
        have |= set(step.have)
        need |= set(step.need)
        message = step.reply
    assert have == mine - other
    assert need == other - mine


ANY_MESSAGE = st.one_of(
    st.binary(max_size=400),
    st.binary(max_size=400).map(lambda rest: VERSION + rest),
    # Well-formed heads, so that the search gets past the first bound.
    st.lists(
        st.one_of(
            st.just(b"\1\0\0"),
            st.binary(min_size=16, max_size=16).map(lambda print: b"\1\0\1" + print),
            IDS.map(lambda id: b"\2\0\2\1" + id),
            st.just(b"\0\0\2\0"),
        ),
        max_size=20,
    ).map(lambda parts: VERSION + b"".join(parts)),
)


@given(ITEMS, ANY_MESSAGE)
def test_any_bytes_are_answered_within_the_bound_or_refused(
    items: list[tuple[int, bytes]], message: bytes
) -> None:
    side = Negentropy(items, frame_bytes_max=FRAME_BYTES_MIN)
    for call in (side.respond, side.reconcile):
        try:
            found = call(message)
        except Invalid:
            continue
        if isinstance(found, bytes):
            assert found[:1] == VERSION
            assert len(found) <= FRAME_BYTES_MIN
        else:
            assert len(found.reply or b"") <= FRAME_BYTES_MIN
            assert len(found.have) + len(found.need) <= len(items) + len(message) // 32
