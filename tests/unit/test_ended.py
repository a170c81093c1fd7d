"""Before it is read whose keys ended, evidence waits; a call's answer cannot."""

from collections.abc import Callable

import pytest
from tests.fakes.admission import FAR, NOW, Door, an_event

from hanse.errors import HanseError, Unavailable
from hanse.protocol import kinds
from hanse.protocol.keys import PublicKey
from hanse.servers.relay.policies.ended import EVIDENCE, refuse_ended

Spoke = Callable[[PublicKey, int], bool]


def reading(_key: PublicKey, _at_s: int) -> bool:
    """As it is right after a start."""
    raise Unavailable("the evidence is being read")


def gone(_key: PublicKey, at_s: int) -> bool:
    """A key that ended a minute ago."""
    return at_s < NOW - 60


def refused(spoke: Spoke, kind: int, created_at: int = NOW) -> str:
    """The word it is refused with."""
    door = Door()
    context = door.context(FAR)
    try:
        refuse_ended(spoke)(an_event(kind=kind, created_at=created_at), context)
    except HanseError as exc:
        return exc.word
    return ""


@pytest.mark.parametrize("kind", sorted(EVIDENCE))
def test_evidence_is_refused_while_it_is_not_known(kind: int) -> None:
    assert refused(reading, kind) == "error"


@pytest.mark.parametrize("kind", [kinds.NOTE, kinds.PROFILE, kinds.RPC, kinds.OFFER, kinds.VANISH])
def test_all_else_is_taken_meanwhile(kind: int) -> None:
    assert refused(reading, kind) == ""


@pytest.mark.parametrize(
    ("kind", "word"), [(kinds.NOTE, ""), (kinds.PROFILE, "restricted"), (kinds.RPC, "restricted")]
)
def test_once_it_is_known_only_what_is_old_and_replaces_nothing_comes(kind: int, word: str) -> None:
    assert refused(gone, kind) == "restricted"
    assert refused(gone, kind, NOW - 90) == word
