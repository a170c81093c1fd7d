"""`hanse up`: run the node."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hanse.cli.about import About, words
from hanse.cli.keeping import (
    Gone,
    KeepOutputs,
    LogMax,
    Probes,
    QualityMax,
    Retain,
    Stale,
    Summaries,
    Telemetry,
    TombstonesMax,
    VanishedMax,
    keeping,
    liveness,
)
from hanse.cli.limits import Limit, limited
from hanse.cli.terminal import Json, answer, out, run, told

if TYPE_CHECKING:
    from hanse.config import Config
    from hanse.engines.peers.mirror import Pace
    from hanse.keyring import Keyring
    from hanse.protocol.keys import PublicKey
    from hanse.servers.relay.rules import Rules
    from hanse.trust.permissions import Levels


Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(help="Port for everything; 0 picks a free one.")]
Name = Annotated[str, typer.Option(help="What the node calls itself.")]
FeePpm = Annotated[int, typer.Option(help="Your fee, parts per million of a price.")]
Doors = Annotated[str, typer.Option(help="Doors beside the relay, by comma.")]
DataFolder = Annotated[
    Path | None, typer.Option(help="Folder of the database (default: HOME/data).")
]
PublicUrl = Annotated[
    str | None, typer.Option("--url", help="Public ws:// or wss:// URL, behind a proxy.")
]
Grant = Annotated[str, typer.Option(help="Test credits for each of your own agents, once.")]
Rebuild = Annotated[
    bool, typer.Option("--rebuild", help="First build the registry anew from the log.")
]
MetricsFrom = Annotated[
    str, typer.Option(help="Networks that may read /metrics, by comma; you always may.")
]
LogLevel = Annotated[str, typer.Option(help="What is logged: debug, info, warning or error.")]
LogJson = Annotated[
    bool, typer.Option("--log-json/--log-text", help="One JSON object a line, or words.")
]
MembersOnly = Annotated[
    bool, typer.Option("--members-only", help="Take events of members and their agents only.")
]
Member = Annotated[
    list[str] | None, typer.Option(help="A key known here, npub or hex; may be repeated.")
]
WorkBits = Annotated[
    int, typer.Option(min=0, max=256, help="Bits of work that strangers' events need.")
]
PolicyName = Annotated[
    list[str] | None, typer.Option(help="MODULE:FUNCTION, a policy of yours; may be repeated.")
]
Admin = Annotated[
    list[str] | None, typer.Option(help="A key that may manage the relay; may be repeated.")
]
OnlyKind = Annotated[
    list[int] | None, typer.Option("--kind", help="Take others' events of this kind; repeat it.")
]
DenyKind = Annotated[
    list[int] | None, typer.Option(help="Take no others' events of this kind; repeat it.")
]
AddressRate = Annotated[str, typer.Option(help="Events of an address: a second, at once.")]
KeyRate = Annotated[str, typer.Option(help="Events of a key: a second, at once.")]
OperatorRate = Annotated[str, typer.Option(help="Events of all agents of an operator.")]
LevelsFile = Annotated[
    Path | None,
    typer.Option(help="TOML that changes what levels permit.", dir_okay=False),
]
ByLevel = Annotated[
    bool, typer.Option("--by-level", help="Strangers do what their level permits, or work for it.")
]
PeerRate = Annotated[str, typer.Option(help="Events taken of a peer: a second, at once.")]
Trusted = Annotated[str, typer.Option(help="Networks without limits on events, by comma.")]
DatabaseUrl = Annotated[
    str | None, typer.Option(help="postgresql:// URL instead of SQLite (or $HANSE_DATABASE).")
]
BusUrl = Annotated[
    str | None, typer.Option(help="nats:// URLs that join many nodes (or $HANSE_BUS).")
]
Instance = Annotated[
    str, typer.Option(help="This node among those on one database (default: HOST:PORT).")
]
PeerUrl = Annotated[
    list[str] | None, typer.Option("--peer", help="Mirror this relay; may be repeated.")
]
OpenHandles = Annotated[
    bool, typer.Option("--open-handles", help="Let agents that are not yours claim names here.")
]
HandleWork = Annotated[
    int, typer.Option(min=0, max=28, help="Bits of work a claimed name needs below level 2.")
]
Near = Annotated[
    list[str] | None,
    typer.Option(help="HOST:PORT of your own networks that handles may name; may be repeated."),
]
Proxies = Annotated[str, typer.Option(help="Networks whose X-Forwarded-For is believed, by comma.")]


def up(
    json: Json = False,
    host: Host = "127.0.0.1",
    port: Port = 7447,
    data: DataFolder = None,
    url: PublicUrl = None,
    name: Name = "hanse",
    about: About = None,
    fee_ppm: FeePpm = 10_000,
    grant: Grant = "10000sat",
    rebuild: Rebuild = False,
    doors: Doors = "api,mcp",
    members_only: MembersOnly = False,
    member: Member = None,
    work: WorkBits = 0,
    policy: PolicyName = None,
    levels: LevelsFile = None,
    by_level: ByLevel = False,
    kind: OnlyKind = None,
    deny_kind: DenyKind = None,
    admin: Admin = None,
    rate_address: AddressRate = "200/2000",
    rate_key: KeyRate = "50/500",
    rate_operator: OperatorRate = "500/5000",
    rate_peer: PeerRate = "1000/10000",
    trust_address: Trusted = "127.0.0.0/8,::1/128",
    proxy: Proxies = "127.0.0.0/8,::1/128",
    metrics_from: MetricsFrom = "127.0.0.0/8,::1/128",
    database: DatabaseUrl = None,
    bus: BusUrl = None,
    instance: Instance = "",
    log_level: LogLevel = "warning",
    log_json: LogJson = True,
    peer: PeerUrl = None,
    open_handles: OpenHandles = False,
    handle_work: HandleWork = 20,
    near: Near = None,
    retain: Retain = None,
    log_max: LogMax = None,
    keep_outputs: KeepOutputs = "30d",
    tombstones_max: TombstonesMax = 1_000_000,
    vanished_max: VanishedMax = 1_000_000,
    quality_max: QualityMax = 100_000,
    limit: Limit = None,
    stale: Stale = "7d",
    gone: Gone = "30d",
    probes: Probes = 30,
    summaries: Summaries = True,
    telemetry: Telemetry = True,
) -> None:
    """Run your node: relay (WebSocket), HTTP API (/docs) and MCP (/mcp) on one port.

    Data is in SQLite inside this process; nothing else to install or start. Your own agents get a
    starting grant of test credits, once. Stop it with Ctrl-C: calls under way end first. With
    HANSE_DATABASE and HANSE_BUS in the environment it is one node of many: docs/deployment.md.

    Example:  hanse up --port 7447
    """
    flags = locals()  # each by its name
    with told(json):
        from hanse.cli.home import keyring
        from hanse.cli.logs import start_logs

        ring = keyring()
        config = limited(_config(ring, flags), limit)
        start_logs(log_level, log_json)
        run(_up(ring, config, rebuild, json))


def _config(ring: "Keyring", flags: dict[str, Any]) -> "Config":
    """The settings that the flags say. Raises Invalid."""
    from hanse.config import Config, embeddings, server_url
    from hanse.identity.model import Terms
    from hanse.payments.model import Fee
    from hanse.protocol.amount import Amount
    from hanse.protocol.peer import read_peer

    return Config(
        data=flags["data"] or ring.data,
        host=flags["host"],
        port=flags["port"],
        public_url=flags["url"],
        name=flags["name"],
        words=words(flags["about"]),
        fee=Fee(flags["fee_ppm"]),
        starting_grant=Amount.parse(flags["grant"], "grant"),
        doors=frozenset(door for door in flags["doors"].split(",") if door),
        metrics_from=_parts(flags["metrics_from"]),
        rules=_rules(flags),
        policies=tuple(flags["policy"] or ()),
        levels=_levels(flags["levels"]),
        by_level=flags["by_level"],
        admins=_keys(flags["admin"], "admin"),
        keeping=keeping(
            flags["retain"],
            flags["log_max"],
            flags["keep_outputs"],
            flags["tombstones_max"],
            flags["vanished_max"],
        ),
        quality_max=flags["quality_max"],
        liveness=liveness(
            flags["stale"],
            flags["gone"],
            flags["probes"],
            flags["summaries"],
            flags["telemetry"],
        ),
        database=server_url(flags["database"], "HANSE_DATABASE"),
        bus=server_url(flags["bus"], "HANSE_BUS"),
        instance=flags["instance"],
        handle_terms=Terms(open=flags["open_handles"], bits=flags["handle_work"]),
        near=tuple(flags["near"] or ()),
        peer_pace=_pace(flags["rate_peer"]),
        peers=tuple(read_peer(url, "both", ()) for url in flags["peer"] or ()),
        embeddings=embeddings(),
    )


def _levels(path: Path | None) -> "Levels":
    from hanse.errors import Invalid
    from hanse.trust.permissions import DEFAULT_LEVELS, read_levels

    if path is None:
        return DEFAULT_LEVELS
    try:
        return read_levels(path.read_text("utf-8"))
    except (OSError, UnicodeError) as exc:
        raise Invalid.at("levels", f"cannot be read: {exc}") from exc


def _pace(text: str) -> "Pace":
    from hanse.cli.quantities import event_rate
    from hanse.engines.peers.mirror import Pace

    rate = event_rate(text, "rate-peer")
    return Pace(events_per_s=rate.per_s, events_burst=rate.burst)


def _rules(flags: dict[str, Any]) -> "Rules":
    from hanse.cli.quantities import event_rate
    from hanse.servers.relay.rules import Kinds, Members, Rates, Rules, Work

    return Rules(
        kinds=Kinds(allow=frozenset(flags["kind"] or ()), deny=frozenset(flags["deny_kind"] or ())),
        work=Work(bits=flags["work"]),
        members=Members(keys=_keys(flags["member"], "member"), only=flags["members_only"]),
        rates=Rates(
            address=event_rate(flags["rate_address"], "rate-address"),
            key=event_rate(flags["rate_key"], "rate-key"),
            operator=event_rate(flags["rate_operator"], "rate-operator"),
            trusted=_parts(flags["trust_address"]),
            proxies=_parts(flags["proxy"]),
        ),
    )


def _keys(texts: list[str] | None, field: str) -> "frozenset[PublicKey]":
    from hanse.protocol.address import read_public_key

    return frozenset(read_public_key(text, field) for text in texts or ())


def _parts(text: str) -> tuple[str, ...]:
    return tuple(found for found in text.split(",") if found)


async def _up(ring: "Keyring", config: "Config", rebuild: bool, json: bool) -> None:
    from hanse.keyring import NodeAddress
    from hanse.node import Node
    from hanse.protocol.keys import public_key
    from hanse.running import run_node

    secret, auth = ring.node()
    operator = public_key(auth[1], "node.auth")
    agents = {name: ring.agent(name)[0].public for name in ring.agents()}
    node = Node(config, secret, operator, rebuild=rebuild, agents=agents, auth=auth)

    def started() -> None:
        ring.remember_node(NodeAddress(node.url, node.pubkey))
        found = {
            "url": node.url,
            "http": node.http_url,
            "mcp": f"{node.http_url}/mcp",
            "node": node.pubkey,
            "operator": node.operator,
            "data": str(config.data),
            "database": str(config.database or config.data / "hanse.db"),
            "refunded_on_start": node.recovered,
        }
        answer(json, found, lambda: _show(config.name, found))

    await run_node(node, list(agents.values()), started)


def _show(name: str, found: dict[str, Any]) -> None:
    out(f"Node {name} is up.")
    out(f"  relay  {found['url']}")
    out(f"  API    {found['http']}/docs")
    out(f"  MCP    {found['mcp']}")
    out(f"  data   {found['database']}")
    if found["refunded_on_start"]:
        out(f"  {found['refunded_on_start']} calls left open by the last run were refunded.")
    out("Stop it with Ctrl-C.")
