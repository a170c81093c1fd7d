"""Counting all columns at once says what counting one voucher at a time says."""

from hypothesis import given, settings
from hypothesis import strategies as st

from hanse.protocol.keys import PublicKey
from hanse.trust.acceptance import QUOTA_WINDOW_S, current, within_quota
from hanse.trust.columns import Gathering, Row, count, owned
from hanse.trust.model import Endorsement

KEYS = [f"{number:064x}" for number in range(8)]
NOW = 10 * QUOTA_WINDOW_S
TIMES = st.integers(NOW - 3 * QUOTA_WINDOW_S, NOW + 2)
ROWS = st.dictionaries(
    st.tuples(st.sampled_from(KEYS), st.sampled_from(KEYS), st.sampled_from(["", "sms", "a.b"])),
    st.tuples(st.integers(0, 3), TIMES, st.integers(1, 4 * QUOTA_WINDOW_S)),
    max_size=40,
)
MOVED = st.dictionaries(st.sampled_from(KEYS[:4]), st.sampled_from([*KEYS[4:], "f" * 64]))


@settings(max_examples=300, deadline=None)
@given(ROWS, MOVED, st.dictionaries(st.sampled_from(KEYS), TIMES), st.integers(0, 3))
def test_columns_count_as_values_do(
    said: dict[tuple[str, str, str], tuple[int, int, int]],
    moved: dict[str, str],
    cut: dict[str, int],
    quota: int,
) -> None:
    rows: list[Row] = sorted(
        ((by, of, domain, grade, at_s, at_s + life_s))
        for (by, of, domain), (grade, at_s, life_s) in said.items()
        if by != of
    )
    gathering = Gathering(100)
    for start in range(0, len(rows), 7):
        gathering.add(rows[start : start + 7])
    found, ends = count(
        owned(gathering.done()),
        {PublicKey(key): PublicKey(to) for key, to in moved.items()},
        {PublicKey(key): at_s for key, at_s in cut.items()},
        NOW,
        quota,
    )
    values = [
        Endorsement(
            by=moved.get(by, by),
            of=moved.get(of, of),
            domain=domain,
            grade=grade,
            at_s=at_s,
            expires_s=expires_s,
        )
        for by, of, domain, grade, at_s, expires_s in rows
        if at_s < cut.get(by, at_s + 1) and moved.get(by, by) != moved.get(of, of)
    ]
    expected = within_quota(current(values, NOW), quota)
    assert sorted(found.rows.read(range(len(found.rows.by)))) == sorted(expected)
    for key in {*KEYS, *moved.values()}:
        mine = sorted(one for one in expected if one.by == key)
        assert sorted(found.said(key)) == mine
        said_of = sorted(found.said_of([key], KEYS[5]))
        assert said_of == [one for one in mine if one.of == KEYS[5]]
        due = [one.expires_s for one in mine]
        due += [one.at_s for one in values if one.by == key and one.at_s > NOW]
        assert min((at_s for at_s, owner in ends if owner == key), default=None) == min(
            due, default=None
        )


def test_of_one_author_no_more_is_kept_than_is_read_of_one_alone() -> None:
    gathering = Gathering(2)
    gathering.add([(KEYS[0], key, "", 1, 5, 9) for key in KEYS[1:5]])
    gathering.add([(KEYS[0], KEYS[5], "", 1, 5, 9), (KEYS[1], KEYS[0], "", 1, 5, 9)])
    found = owned(gathering.done())
    assert [one.of for one in found.said(KEYS[0])] == KEYS[1:3]
    assert len(found.said(KEYS[1])) == 1
    assert owned(Gathering(2).done()).said(KEYS[0]) == []
