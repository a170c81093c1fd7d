"""Quality summaries: what a node measured of an offer, signed for others (NIP-85, kind 30384).

| tag | what |
|---|---|
| d, a | the offer's address |
| p | the provider |
| rank | 0 to 100 (NIP-85): at least so many in 100 calls succeed, with 97.5 % confidence |
| expiration | KEPT_S after it was made (NIP-40) |
| auth, type, v, alt | the node's operator, `quality-summary`, the format's version, a line |

content: `{"capabilities": [{"name", "major", "calls", "voices", "success_rate", "latencies"}]}`.
`calls` is what the figures are worth, as the node weighs voices; `latencies` are [bucket, count] of
settled calls, bucket i up to 1.04^i ms. It is that node's word: who reads it believes it as far as
they trust the node's operator, within WORD_MAX calls of one node and WORDS_MAX of all, and not at
all of an offer of that operator's own.
"""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from hanse.errors import Invalid
from hanse.protocol import kinds
from hanse.protocol.canonical import read_json
from hanse.protocol.event import Event, Tags, field_error, sign_event
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.protocol.principal import identify
from hanse.registry.chance import wilson
from hanse.registry.model import CAPABILITIES_MAX, NAME_MAX
from hanse.registry.observed import Observed
from hanse.registry.quality import DAY_S, Quality, Word
from hanse.registry.store import Standing

VERSION = "1.0.0"
KIND_OF_SUMMARY = "quality-summary"
CONTENT_BYTES_MAX = 64 * 1024
BUCKET_MAX = 400
CALLS_MAX = 1_000_000_000
KEPT_S = 30 * DAY_S

CALLS_MIN = 10.0
"""What the figures must be worth before a node says anything."""

WORD_MAX = 50.0
WORDS_MAX = 100.0
"""Calls that other nodes' words count as: one node's that is wholly trusted, and all nodes'."""

HEARD_MAX = 100_000
"""Summaries of trusted nodes that are remembered; more are not heard."""

Worth = Annotated[float, Meta(ge=0, le=CALLS_MAX)]
Count = Annotated[float, Meta(gt=0, le=CALLS_MAX)]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One capability in one major version."""

    name: Annotated[str, Meta(min_length=1, max_length=NAME_MAX)]
    major: Annotated[int, Meta(ge=0, le=1_000_000_000)]
    calls: Worth
    voices: Worth
    success_rate: Annotated[float, Meta(ge=0, le=1)]
    latencies: Annotated[
        tuple[tuple[Annotated[int, Meta(ge=0, le=BUCKET_MAX)], Count], ...],
        Meta(max_length=BUCKET_MAX),
    ] = ()


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """A summary's content."""

    capabilities: Annotated[tuple[Row, ...], Meta(max_length=CAPABILITIES_MAX)]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A summary as it was read, with who signed it and who answers for them."""

    address: str
    node: PublicKey
    operator: PublicKey
    created_at: int
    rows: tuple[Row, ...]

    @property
    def provider(self) -> str:
        """The key that the offer is of."""
        return self.address.split(":", 2)[1]


# --- writing ----------------------------------------------------------------------------------


def rows_of(found: Iterable[tuple[str, int, Quality]]) -> tuple[Row, ...]:
    """What is worth saying of an offer's capabilities, by name."""
    rows = []
    for name, major, quality in found:
        measured, latencies = quality.weighed()
        if measured.weight < CALLS_MIN or measured.success_rate is None:
            continue
        rows.append(
            Row(
                name=name,
                major=major,
                calls=round(measured.weight, 1),
                voices=round(measured.voices, 2),
                success_rate=round(measured.success_rate, 4),
                latencies=tuple(
                    (bucket, round(count, 2))
                    for bucket, count in sorted(latencies.items())
                    if count >= 0.01
                ),
            )
        )
    return tuple(sorted(rows, key=lambda row: (row.name, row.major))[:CAPABILITIES_MAX])


def summary_event(
    node: SecretKey, address: str, rows: tuple[Row, ...], rank: int, now_s: int, auth: Tags = ()
) -> Event:
    """A node's summary of an offer."""
    return sign_event(
        node,
        kind=kinds.QUALITY,
        created_at=now_s,
        content=msgspec.json.encode(Content(capabilities=rows)).decode(),
        tags=(
            ("d", address),
            ("a", address),
            ("p", address.split(":", 2)[1]),
            ("rank", str(rank)),
            ("expiration", str(now_s + KEPT_S)),
            ("type", KIND_OF_SUMMARY),
            ("v", VERSION),
            ("alt", f"Measured quality of {address[:200]}"),
            *auth,
        ),
    )


# --- reading ----------------------------------------------------------------------------------


def is_summary(event: Event) -> bool:
    """Whether an assertion is one of these: others use the kind for other things."""
    return event.kind == kinds.QUALITY and event.tag("type") == KIND_OF_SUMMARY


def read_summary(event: Event) -> Summary:
    """A checked event as a summary. Raises Invalid."""
    if not is_summary(event):
        raise Invalid.at("tags.type", f"must be {KIND_OF_SUMMARY}")
    if (event.tag("v") or "").split(".")[0] != VERSION.split(".")[0]:
        raise Invalid.at("tags.v", "is not spoken here", "speak 1.x")
    address = event.tag("d") or ""
    if len(address) > 512 or not address.startswith(f"{kinds.OFFER}:") or address.count(":") < 2:
        raise Invalid.at("tags.d", "must be an offer's address")
    value: Any = read_json(event.content, "content", bytes_max=CONTENT_BYTES_MAX, depth_max=6)
    try:
        content = msgspec.convert(value, Content)
    except msgspec.ValidationError as exc:
        raise field_error(exc, "content") from exc
    return Summary(
        address=address,
        node=event.pubkey,
        operator=identify(event).operator,
        created_at=event.created_at,
        rows=content.capabilities,
    )


class Heard:
    """What trusted nodes say, and how far each is believed."""

    def __init__(self, viewer: PublicKey, node: PublicKey, standing: Standing) -> None:
        self._viewer = viewer
        self._node = node
        self.standing = standing
        self._said: dict[str, dict[PublicKey, Summary]] = {}
        self._count = 0
        self._changed: set[str] = set()

    def saw(self, event: Event) -> None:
        """An event of the log. Whatever cannot be used, or comes from nobody trusted, is left."""
        if event.pubkey == self._node or not is_summary(event):
            return
        try:
            found = read_summary(event)
        except Invalid:
            return
        if self._believed(found) <= 0:
            return
        of_offer = self._said.setdefault(found.address, {})
        known = of_offer.get(found.node)
        if known is None:
            if self._count >= HEARD_MAX:
                return
            self._count += 1
        elif known.created_at > found.created_at:
            return
        of_offer[found.node] = found
        self._changed.add(found.address)

    def apply(self, observed: Observed, now_s: int, *, everything: bool = False) -> None:
        """Tell the registry: of what is new, or of everything, since trust and age change too."""
        for address in list(self._said) if everything else self._changed:
            said = self._said.get(address, {})
            for node in [key for key, one in said.items() if one.created_at < now_s - KEPT_S]:
                del said[node]
                self._count -= 1
            keys = {(row.name, row.major) for one in said.values() for row in one.rows}
            for name, major in keys | observed.said_of(address):
                words = self._words(said.values(), name, major)
                observed.said((address, name, major), words)
            if not said:
                self._said.pop(address, None)
        self._changed.clear()

    def _words(self, said: Iterable[Summary], name: str, major: int) -> list[Word]:
        found: list[Word] = []
        for one in said:
            share = self._believed(one)
            for row in one.rows:
                if (row.name, row.major) == (name, major) and share > 0 and row.calls > 0:
                    found.append(_word(row, WORD_MAX * share))
        total = sum(word.weight for word in found)
        if total > WORDS_MAX:
            return [_scaled(word, WORDS_MAX / total) for word in found]
        return found

    def _believed(self, found: Summary) -> float:
        """How far, 0 to 1. Nobody's word counts for what is their own."""
        provider = PublicKey(found.provider)
        if provider in (found.operator, found.node):
            return 0.0
        if found.operator == self._viewer:
            return 1.0
        if self.standing.level(self._viewer, found.operator) < 1:
            return 0.0
        return min(1.0, max(0.0, self.standing.score(self._viewer, found.operator)))


def _word(row: Row, most: float) -> Word:
    total = sum(count for _, count in row.latencies)
    weight = min(row.calls, most)
    part = weight * row.success_rate / total if total else 0.0
    return Word(weight, row.success_rate, {bucket: count * part for bucket, count in row.latencies})


def _scaled(word: Word, share: float) -> Word:
    latencies = {bucket: count * share for bucket, count in word.latencies.items()}
    return Word(word.weight * share, word.success_rate, latencies)


# --- when to say what -------------------------------------------------------------------------

EVERY_S = 6 * 3600
"""A summary of one offer is made at most so often."""

RUN_MAX = 20
"""Summaries made at once; the rest waits for the next time."""

LOOK_MAX = 500
"""Offers looked at in one run."""


class Summaries:
    """Makes this node's summaries: each offer's when it changed, not too often, not too many."""

    def __init__(self, node: SecretKey, auth: tuple[str, ...] = ()) -> None:
        self._node = node
        self._auth: Tags = (auth,) if auth else ()
        self._last: dict[str, tuple[int, tuple[Row, ...]]] = {}
        self._since = 0
        self._waiting: dict[str, None] = {}

    def published(self, event: Event) -> None:
        """One of this node's own, from before: it is not said again until it changed."""
        if event.pubkey == self._node.public and is_summary(event):
            try:
                found = read_summary(event)
            except Invalid:  # by another version of ours: it is said again
                return
            self._last[found.address] = (found.created_at, found.rows)

    def due(self, observed: Observed, now_s: int) -> list[Event]:
        """What should be published now."""
        offers: dict[str, list[tuple[str, int, Quality]]] = {}
        for (address, name, major), quality in observed.each():
            if quality.latest_s >= self._since:
                self._waiting[address] = None
            offers.setdefault(address, []).append((name, major, quality))
        self._since = now_s - 1  # a second may still go on
        found: list[Event] = []
        for address in list(self._waiting)[:LOOK_MAX]:
            if len(found) >= RUN_MAX:
                break
            del self._waiting[address]
            if now_s - self._last.get(address, (0, ()))[0] < EVERY_S:
                self._waiting[address] = None  # again, at the end of the line
            elif (event := self._summary(address, offers.get(address, []), now_s)) is not None:
                found.append(event)
        return found

    def _summary(
        self, address: str, qualities: list[tuple[str, int, Quality]], now_s: int
    ) -> Event | None:
        rows = rows_of(qualities)
        if not rows or rows == self._last.get(address, (0, ()))[1]:
            return None
        self._last[address] = (now_s, rows)
        bounds = [
            wilson(row.calls * row.success_rate, row.calls)[0] * row.calls / _calls(rows)
            for row in rows
        ]
        rank = round(100 * min(1.0, sum(bounds)))
        return summary_event(self._node, address, rows, rank, now_s, self._auth)


def _calls(rows: Iterable[Row]) -> float:
    return sum(row.calls for row in rows)


def document_schema() -> dict[str, Any]:
    """The JSON Schema of a summary's content: docs/reference/quality-summary.schema.json."""
    found = msgspec.json.schema(Content, ref_template="#/$defs/{name}")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Quality summary"}
    return head | found
