"""What a cluster says of who is connected where, against a plain model, while words get lost."""

from hypothesis import given
from hypothesis import strategies as st

from hanse.engines.bus.cluster import KEYS_MAX, SILENT_S, ClusterPresence, Word
from hanse.protocol.keys import PublicKey

KEYS = [PublicKey(f"{digit:064x}") for digit in range(4)]
NAMES = ["a", "b", "c"]


class Net:
    """Nodes that hear each other, unless words are being lost."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.losing = False
        self.words: list[Word] = []
        self.nodes = {name: ClusterPresence(name, self._tell) for name in NAMES}
        self.gone: dict[str, list[PublicKey]] = {name: [] for name in NAMES}
        for name, node in self.nodes.items():
            node.when_gone(self.gone[name].append)

    def _tell(self, word: Word) -> None:
        if not self.losing:
            self.words.append(word)

    def deliver(self) -> None:
        """Until nobody says anything more."""
        while self.words:
            word = self.words.pop(0)
            for node in self.nodes.values():
                node.hear(word, self.now_s)

    def pass_time(self, seconds: float) -> None:
        """With a beat of everybody at its end."""
        self.now_s += seconds
        for node in self.nodes.values():
            node.beat(self.now_s)
        self.deliver()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.sampled_from(NAMES), st.sampled_from(KEYS)),
        st.tuples(st.just("leave"), st.sampled_from(NAMES), st.sampled_from(KEYS)),
        st.tuples(st.just("lose"), st.booleans(), st.none()),
        st.tuples(st.just("wait"), st.floats(0, 3), st.none()),
    ),
    max_size=40,
)


@given(steps)
def test_once_words_arrive_again_every_node_knows_who_is_where(found: list[tuple]) -> None:  # type: ignore[type-arg]
    net = Net()
    here: dict[str, list[PublicKey]] = {name: [] for name in NAMES}
    told: dict[tuple[str, int], set[PublicKey]] = {}
    for verb, what, key in found:
        if verb == "lose":
            net.losing = what
        elif verb == "wait":
            net.pass_time(what)
        elif verb == "arrive":
            net.nodes[what].arrive(key)
            here[what].append(key)
        elif key in here[what]:
            net.nodes[what].leave(key)
            here[what].remove(key)
        net.deliver()
        for name, node in net.nodes.items():
            keys = set(node.keys())
            assert told.setdefault((name, node.turn), keys) == keys
    net.losing = False
    for _ in range(3):  # a beat shows what is missing, the asking, the telling
        net.pass_time(1)
    for name, node in net.nodes.items():
        assert node.others == len(NAMES) - 1
        assert len(node) == len(set(here[name]))
        for key in KEYS:
            elsewhere = any(key in here[other] for other in NAMES if other != name)
            assert node.is_elsewhere(key) == elsewhere
            assert node.is_present(key) == (elsewhere or key in here[name])


def test_a_node_that_falls_silent_is_gone_with_its_keys() -> None:
    net = Net()
    net.nodes["a"].arrive(KEYS[0])
    for _ in range(2):
        net.pass_time(1)
    silent = net.nodes.pop("a")
    for _ in range(int(SILENT_S) + 1):
        assert net.nodes["b"].is_present(KEYS[0]) == (net.gone["b"] == [])
        net.pass_time(1)
    assert net.gone["b"] == [KEYS[0]]
    assert net.nodes["b"].others == 1
    assert silent.is_present(KEYS[0])


def test_a_node_that_says_goodbye_is_gone_at_once() -> None:
    net = Net()
    net.nodes["a"].arrive(KEYS[0])
    net.pass_time(1)
    net.nodes["a"].end()
    net.deliver()
    assert net.gone["b"] == net.gone["c"] == [KEYS[0]]


def test_a_key_at_two_nodes_is_gone_when_it_has_left_both() -> None:
    net = Net()
    for name in ("a", "b"):
        net.nodes[name].arrive(KEYS[0])
    net.pass_time(1)
    net.pass_time(1)
    net.nodes["a"].leave(KEYS[0])
    net.deliver()
    assert net.gone == {"a": [], "b": [], "c": []}
    net.nodes["b"].leave(KEYS[0])
    net.deliver()
    assert net.gone == {"a": [KEYS[0]], "b": [KEYS[0]], "c": [KEYS[0]]}


def test_more_keys_than_one_word_holds_are_told_in_several() -> None:
    net = Net()
    net.losing = True
    for number in range(2 * KEYS_MAX + 5):
        net.nodes["a"].arrive(PublicKey(f"{number:064x}"))
    net.losing = False
    net.nodes["b"].begin(net.now_s)
    assert len(net.words) == 2
    net.deliver()
    assert all(net.nodes["b"].is_present(PublicKey(f"{n:064x}")) for n in range(2 * KEYS_MAX + 5))


def test_a_word_of_many_keys_fits_a_message_of_nats() -> None:
    import msgspec

    word = Word(node="a" * 150, n=1, came=[KEYS[0]] * KEYS_MAX, all=True)
    assert len(msgspec.json.encode(word)) < 1 << 20
