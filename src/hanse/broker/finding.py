"""The arguments of find_services, one for every constraint of `registry.search`, and the search
they mean."""

from typing import Annotated, Any, Literal

import msgspec

from hanse.errors import HanseError, Invalid
from hanse.protocol.amount import AMOUNT_MAX_MSAT, Amount
from hanse.protocol.keys import PublicKey
from hanse.registry.model import LATENCY_MAX_MS, NAME_MAX, THROUGHPUT_MAX_PER_S
from hanse.registry.search import (
    LEVEL_MAX,
    LIMIT_MAX,
    OFFSET_MAX,
    QUERY_MAX,
    VALUES_MAX,
    WEIGHT_MAX,
    Constraints,
    Search,
    Weights,
)

Msat = Annotated[int, msgspec.Meta(ge=0, le=AMOUNT_MAX_MSAT)]
Milliseconds = Annotated[int, msgspec.Meta(ge=1, le=LATENCY_MAX_MS)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Rate = Annotated[float, msgspec.Meta(gt=0, le=THROUGHPUT_MAX_PER_S)]
Weight = Annotated[float, msgspec.Meta(ge=0, le=WEIGHT_MAX)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_MAX)]
HexKey = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Names = Annotated[tuple[Name, ...], msgspec.Meta(max_length=VALUES_MAX)]
PARTS = Weights.__struct_fields__
SideEffect = Literal["none", "reads", "writes", "irreversible"]


def _says(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


class FindServices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of find_services."""

    words: Annotated[
        str,
        msgspec.Meta(
            max_length=QUERY_MAX,
            description="What you need done, in plain words, e.g. 'convert time between zones'.",
        ),
    ] = ""
    max_price_msat: Annotated[
        Msat | None,
        _says("Most you will pay for one call, in millisatoshi (1 sat = 1000)."),
    ] = None
    latency_p95_ms: Annotated[
        Milliseconds | None, _says("95 % of answers must be expected within this many ms.")
    ] = None
    success_rate: Annotated[
        Share | None, _says("Least expected share of successful calls, 0 to 1.")
    ] = None
    limit: Annotated[
        int,
        msgspec.Meta(ge=1, le=LIMIT_MAX, description="How many services to list at most."),
    ] = 5
    offset: Annotated[
        int, msgspec.Meta(ge=0, le=OFFSET_MAX, description="How many to pass over: the next page.")
    ] = 0
    capability: Annotated[Name | None, _says("The exact name of a capability.")] = None
    takes: Annotated[
        dict[str, Any] | None,
        _says(
            "What you can give, as JSON Schema properties, e.g. {'to': {'type': 'string'}}: only "
            "capabilities that need no more are found."
        ),
    ] = None
    returns: Annotated[
        dict[str, Any] | None,
        _says("What you need back, as JSON Schema properties: at least these are returned."),
    ] = None
    availability: Annotated[Share | None, _says("Least availability, 0 to 1.")] = None
    throughput_per_s: Annotated[
        Rate | None, _says("Least calls a second that it must be expected to take, over a minute.")
    ] = None
    level: Annotated[
        Annotated[int, msgspec.Meta(ge=0, le=LEVEL_MAX)] | None,
        _says("Least level of trust in its operator, 0 to 4, as your operator sees it."),
    ] = None
    regions: Annotated[Names, _says("Serves from each of these, e.g. US.")] = ()
    data_residence: Annotated[Names, _says("Keeps data in each of these, e.g. EU.")] = ()
    certifications: Annotated[Names, _says("Has each of these certifications.")] = ()
    payment_methods: Annotated[Names, _says("Accepts each of these, e.g. lightning.")] = ()
    version: Annotated[Name | None, _says("A range its version must lie in, e.g. '^2'.")] = None
    topics: Annotated[Names, _says("Has each of these topics.")] = ()
    provider: Annotated[HexKey | None, _says("Of this provider only: its public key.")] = None
    operator: Annotated[HexKey | None, _says("Of this operator only: its public key.")] = None
    online: Annotated[bool | None, _says("Whether its provider must be connected now.")] = None
    imported: Annotated[
        bool | None,
        _says("false: only offers by providers themselves; true: only those from elsewhere."),
    ] = None
    side_effects: Annotated[
        Annotated[tuple[SideEffect, ...], msgspec.Meta(max_length=4)],
        _says("What a call may do to the world: only services that say one of these."),
    ] = ()
    weights: Annotated[
        dict[str, Weight],
        _says(
            f"How much each part of the score counts, 0 to 10: {', '.join(PARTS)}. Those left out "
            "count as usual."
        ),
    ] = {}
    facets: Annotated[bool, _says("Also count the matches by region, price and so on.")] = False

    def search(self, viewer: PublicKey | None) -> Search:
        """The search that is meant, for an operator. Raises Invalid naming the argument."""
        constraints = {
            name: getattr(self, name)
            for name in Constraints.__struct_fields__
            if name != "max_price"
        }
        price = self.max_price_msat
        for name in set(self.weights) - set(PARTS):
            raise Invalid.at(f"weights.{name[:64]}", f"is not one of {', '.join(PARTS)}")
        try:
            return Search(
                words=self.words,
                capability=self.capability,
                takes=self.takes,
                returns=self.returns,
                constraints=Constraints(
                    max_price=Amount(price) if price is not None else None, **constraints
                ),
                weights=Weights(**self.weights),
                limit=self.limit,
                offset=self.offset,
                facets=self.facets,
                viewer=viewer,
            )
        except HanseError as exc:  # the arguments are flat: their names are the last part
            if exc.field is not None:
                exc.field = exc.field.removeprefix("constraints.")
            raise
