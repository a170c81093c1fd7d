"""The work that a stranger's event needs follows the load of the minutes before."""

from tests.fakes.admission import Door, an_event

from hanse.errors import WorkNeeded
from hanse.protocol import kinds
from hanse.protocol.keys import PublicKey
from hanse.servers.relay.policies.levels import ByLevel
from hanse.trust.model import Level
from hanse.trust.permissions import read_levels

TABLE = read_levels("[actions.write]\nlevel = 2\nwork = 8\n")


def strangers(_key: PublicKey) -> Level:
    return Level.STRANGER


def test_a_flood_makes_work_dearer_at_once_and_calm_makes_it_cheaper_slowly() -> None:
    policy = ByLevel(TABLE, strangers)
    context = Door().context()
    assert policy.bits == 8
    for number in range(2401):
        try:
            policy(an_event(content=str(number)), context)
        except WorkNeeded:
            continue
    assert policy.minute() == 11  # 2,401 in a minute are four times 600 and more
    assert [policy.minute() for _ in range(4)] == [10, 9, 8, 8]


def test_a_request_to_vanish_and_a_key_statement_are_always_heard() -> None:
    policy = ByLevel(TABLE, lambda _key: Level.BARRED)
    for kind in (kinds.VANISH, kinds.KEY_STATEMENT):
        policy(an_event(kind=kind), Door().context())
