"""Lines of a stream: numbered from one, bounded, however the stream is cut."""

import io

from hypothesis import given
from hypothesis import strategies as st

from hanse.operations import lines
from hanse.operations.lines import BATCH, LINE_BYTES_MAX, Line, Lines

TEXTS = st.lists(st.binary(max_size=20).map(lambda text: text.replace(b"\n", b"")), max_size=30)


class Cut(io.BytesIO):
    """Gives a few bytes at a time, whatever it is asked for."""

    def __init__(self, content: bytes, most: int) -> None:
        super().__init__(content)
        self._most = most

    def read(self, _size: int | None = -1, /) -> bytes:
        return super().read(self._most)


def all_of(found: Lines) -> list[Line]:
    whole: list[Line] = []
    while batch := found.batch():
        whole += batch
    return whole


@given(TEXTS, st.integers(1, 50), st.booleans())
def test_every_line_has_its_number_wherever_the_stream_is_cut(
    texts: list[bytes], most: int, ends: bool
) -> None:
    content = b"\n".join(texts) + (b"\n" if ends else b"")
    found = Lines(Cut(content, most))
    wanted = [(number, text.strip()) for number, text in enumerate(texts, 1) if text.strip()]
    assert all_of(found) == wanted
    assert found.read_bytes == len(content)


def test_a_line_that_is_too_long_is_passed_over_and_the_next_is_read() -> None:
    long = b"x" * (LINE_BYTES_MAX + 2 * lines._CHUNK)
    found = all_of(Lines(io.BytesIO(b"a\n" + long + b"\nb\n" + long)))
    assert found == [(1, b"a"), (2, None), (3, b"b"), (4, None)]


def test_a_batch_has_a_bound() -> None:
    found = Lines(io.BytesIO(b"x\n" * (BATCH + 1)))
    assert [len(found.batch()) for _ in range(3)] == [BATCH, 1, 0]
