"""Versions and ranges as laws."""

from hypothesis import given
from hypothesis import strategies as st

from hanse.errors import Invalid
from hanse.registry.version import Version, breaks_allowed, raised, read_range, read_version

numbers = st.integers(0, 4)
words = st.one_of(st.integers(0, 30).map(str), st.sampled_from(["a", "rc", "x-1"]))
versions = st.builds(
    Version, numbers, numbers, numbers, st.one_of(st.just(()), st.lists(words, max_size=3))
).map(lambda found: Version(*found.numbers, tuple(found.pre)))


@given(versions)
def test_a_version_reads_back_as_it_was_written(found: Version) -> None:
    assert read_version(str(found)) == found


@given(versions, versions, versions)
def test_precedence_orders_all_versions(a: Version, b: Version, c: Version) -> None:
    if a.precedence <= b.precedence <= c.precedence:
        assert a.precedence <= c.precedence
    assert (a.precedence == b.precedence) == (a == b)


@given(versions, versions)
def test_a_release_is_in_a_caret_until_one_may_break(old: Version, new: Version) -> None:
    release = Version(*new.numbers)
    if release.precedence > old.precedence:
        assert read_range(f"^{old}").has(release) is not breaks_allowed(old, release)


@given(versions, versions)
def test_two_bounds_are_both_met_and_one_of_two_suffices(low: Version, high: Version) -> None:
    both, either = read_range(f">={low} <{high}"), read_range(f"<{low} || >={high}")
    for version in (Version(*low.numbers), Version(*high.numbers)):
        inside = low.precedence <= version.precedence < high.precedence
        outside = version.precedence < low.precedence or version.precedence >= high.precedence
        assert both.has(version) is inside
        assert either.has(version) is outside


@given(st.text(alphabet="0123456789.x*^~<>=|- arcv+", max_size=40))
def test_any_text_is_a_range_or_refused(text: str) -> None:
    try:
        read_range(text).has(Version(1, 2, 3))
    except Invalid:
        return


@given(versions)
def test_the_next_version_of_each_level_says_just_as_much(old: Version) -> None:
    major, minor, patch = (raised(old, level) for level in ("major", "minor", "patch"))
    assert breaks_allowed(old, major)
    for smaller in (minor, patch):
        assert smaller.precedence > old.precedence
        assert smaller.precedence <= major.precedence
        if old.numbers >= (0, 1, 0):
            assert not breaks_allowed(old, smaller)
