"""What paid calls teach: like words, by voices, refunds against, bounded, the same again."""

from collections.abc import Iterable, Mapping

import msgspec
import pytest
from tests.fakes.offers import NOW, Stall, key, offer

from hanse.protocol.words import query_words
from hanse.registry import lessons as module
from hanse.registry.entry import key_of
from hanse.registry.lessons import HALF_LIFE_S, Lesson, Lessons
from hanse.registry.search import Search


class Everybody:
    """Implements `lessons.Voices`: all have a voice, but at their own."""

    def weights(self, payers: Iterable[str], provider: str) -> Mapping[str, float]:
        """See `Voices`."""
        return {payer: 0.0 if payer == provider else 1.0 for payer in payers}


def lesson(number: int, words: str, name: str = "a", *, payer: int = 50, **more: object) -> Lesson:
    """A settled call of the offer `name` by provider 1."""
    found = Lesson(
        id=number.to_bytes(32),
        address=f"31402:{key(1)}:{name}",
        capability=name,
        words=words,
        payer=key(payer),
        payee=key(1),
        settled=True,
        at_s=NOW,
    )
    return msgspec.structs.replace(found, **more)


def told(*found: Lesson, words: str, now_s: int = NOW, name: str = "a") -> float:
    """What these lessons say of the offer `name` for words."""
    lessons = Lessons(Everybody(), 0)
    lessons.add(found, None)
    return lessons.telling(query_words(words), None, now_s).get(
        key_of(f"31402:{key(1)}:{name}", name), 0.0
    )


OTHERS = [lesson(900 + n, f"thing{n} gadget", f"b{n}", payer=60 + n) for n in range(8)]


def test_like_words_are_answered_by_what_was_paid_for() -> None:
    mine = lesson(1, "ring my granny")
    assert told(mine, *OTHERS, words="ring granny please") > 0.05
    assert told(mine, *OTHERS, words="weather tomorrow") == 0


def test_more_customers_tell_more_than_more_calls_of_one() -> None:
    one = [lesson(n, "ring granny") for n in range(10)]
    many = [lesson(n, "ring granny", payer=50 + n) for n in range(10)]
    single = told(lesson(1, "ring granny"), *OTHERS, words="ring granny")
    assert single < told(*one, *OTHERS, words="ring granny")
    assert told(*one, *OTHERS, words="ring granny") < told(*many, *OTHERS, words="ring granny")


def test_who_pays_itself_teaches_nothing() -> None:
    own = [lesson(n, "ring granny", payer=1) for n in range(100)]
    assert told(*own, *OTHERS, words="ring granny") == 0


def test_a_refund_counts_against() -> None:
    good = [lesson(n, "ring granny", payer=50 + n) for n in range(4)]
    bad = [lesson(10 + n, "ring granny", payer=70 + n, settled=False) for n in range(4)]
    assert told(*bad, *OTHERS, words="ring granny") < 0
    assert told(*good, *bad[:2], *OTHERS, words="ring granny") < told(
        *good, *OTHERS, words="ring granny"
    )


def test_lessons_fade() -> None:
    mine = [lesson(n, "ring granny", payer=50 + n) for n in range(3)]
    fresh = told(*mine, *OTHERS, words="ring granny")
    old = told(*mine, *OTHERS, words="ring granny", now_s=NOW + 2 * HALF_LIFE_S)
    assert 0 < old < 0.6 * fresh


def test_each_call_teaches_once_and_in_any_order() -> None:
    found = [lesson(n, f"ring granny {n % 3}", payer=50 + n % 4) for n in range(30)]
    forward, backward = Lessons(Everybody(), 0), Lessons(Everybody(), 0)
    for one in found:
        forward.add([one], None)
        forward.telling(["ring"], None, NOW)
    backward.add([*reversed(found), *found], None)
    asked = query_words("ring granny 1")
    assert forward.telling(asked, None, NOW) == backward.telling(asked, None, NOW) != {}
    assert len(forward) == len(backward) == 30


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CAPABILITIES_MAX", 5)
    lessons = Lessons(Everybody(), 0)
    for n in range(300):
        lessons.add([lesson(n, "ring", payer=50 + n % 3, at_s=NOW + n)], None)
    assert len(lessons) == module.LESSONS_OF_ONE_MAX
    for n in range(20):
        lessons.add([lesson(1000 + n, "ring", f"x{n}", at_s=NOW + 1000 + n)], None)
    assert len(lessons) == 5
    telling = lessons.telling(["ring"], None, NOW)
    assert key_of(f"31402:{key(1)}:a", "a") not in telling


async def test_what_others_paid_for_is_found_without_a_word_of_its_own() -> None:
    stall = Stall()
    stall.put(offer("a", "Place voice calls"), *(offer(f"b{n}", "x", by=2) for n in range(8)))
    assert await stall.names(Search(words="ring granny")) == []
    stall.observed.voices.brought(key(50), 100_000)
    stall.finder.teach([lesson(1, "ring my granny"), *OTHERS])
    hit = await stall.hit(Search(words="ring granny"))
    assert hit.offer.identifier == "a"
    assert "others paid for it after like words" in hit.reasons
    assert hit.figures["lessons"] > 0
