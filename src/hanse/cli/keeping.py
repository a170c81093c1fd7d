"""What `hanse up` keeps, and for how long: its options, and the settings they make."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hanse.engines.storage.upkeep import Keeping
    from hanse.registry.liveness import Bounds

Retain = Annotated[
    list[str] | None,
    typer.Option("--retain", help="KIND=AGE: remove events of a kind when so old, e.g. 7=30d."),
]
LogMax = Annotated[
    str | None,
    typer.Option("--log-max", help="Keep the log below: 10GB, or 5000000events. Oldest go first."),
]
KeepOutputs = Annotated[
    str, typer.Option("--keep-outputs", help="How long what a call returned can be read again.")
]
TombstonesMax = Annotated[
    int,
    typer.Option("--tombstones-max", help="Targets of deletions that left the log to remember."),
]
VanishedMax = Annotated[
    int, typer.Option("--vanished-max", help="Requests to vanish that left the log to remember.")
]
QualityMax = Annotated[
    int, typer.Option("--quality-max", help="Capabilities whose measured calls are remembered.")
]
Stale = Annotated[
    str, typer.Option("--stale", help="An offer sinks when nobody was behind it for so long.")
]
Gone = Annotated[str, typer.Option("--gone", help="... and leaves searches after so long.")]
Probes = Annotated[
    int, typer.Option("--probes", help="Free example calls a minute, where offers allow them.")
]
Summaries = Annotated[
    bool, typer.Option(help="Publish what was measured of offers, signed by the node.")
]
Telemetry = Annotated[
    bool, typer.Option(help="Tell who listens what changes in the registry (kind 21402).")
]


def liveness(stale: str, gone: str, probes: int, summaries: bool, telemetry: bool) -> "Bounds":
    """The settings. Raises Invalid."""
    from hanse.cli.quantities import age_s
    from hanse.registry.liveness import Bounds

    return Bounds(
        stale_s=age_s(stale, "stale"),
        gone_s=age_s(gone, "gone"),
        probes_a_minute=probes,
        summaries=summaries,
        telemetry=telemetry,
    )


def keeping(
    retain: list[str] | None,
    log_max: str | None,
    outputs: str,
    tombstones_max: int,
    vanished_max: int,
) -> "Keeping":
    """The settings. Raises Invalid."""
    from hanse.cli.quantities import age_s, kind_age_s, log_bound
    from hanse.engines.storage.upkeep import Keeping

    none = (None, None)
    events_max, bytes_max = none if log_max is None else log_bound(log_max, "log-max")
    return Keeping(
        ages_s=tuple(kind_age_s(found, "retain") for found in retain or ()),
        events_max=events_max,
        bytes_max=bytes_max,
        outputs_s=age_s(outputs, "keep-outputs"),
        tombstones_max=tombstones_max,
        vanished_max=vanished_max,
    )
