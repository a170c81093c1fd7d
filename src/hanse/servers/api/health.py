"""Is it alive, is it ready, how is it doing: /health, /ready and /metrics.

A node without the API door answers the first two as well (bare.py).
"""

from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from hanse.counters import Family
from hanse.servers.api import reply
from hanse.servers.api.reply import Callers, answers, json

Networks = Sequence[IPv4Network | IPv6Network]
METRICS_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class HealthRoutes:
    """/health, /ready and /metrics. Metrics are for the named networks, and for the operator from
    anywhere."""

    def __init__(
        self,
        *,
        reasons: Callable[[], Awaitable[list[str]]],
        families: Callable[[], Awaitable[list[Family]]],
        callers: Callers,
        networks: Networks,
    ) -> None:
        self._reasons = reasons
        self._families = families
        self._callers = callers
        self._networks = networks
        self._render: Callable[[list[Family]], bytes] | None = None

    def add_to(self, app: Any) -> None:
        """See `Routes`."""
        add = app.add_api_route
        add("/health", self._health, methods=["GET"], summary="Whether the process lives")
        add("/ready", self._ready, methods=["GET"], summary="Whether it should get work")
        for path, found in (("/health", self._health), ("/ready", self._ready)):
            add(path, found, methods=["HEAD"], include_in_schema=False)
        add(
            "/metrics",
            self._metrics,
            methods=["GET"],
            summary="Figures for Prometheus",
            response_class=Response,
            responses=answers({METRICS_TEXT: {"type": "string"}}, "Every figure, as text"),
        )

    async def _health(self) -> Response:
        return json({"alive": True})  # whoever can answer lives

    async def _ready(self) -> Response:
        reasons = await self._reasons()
        return json({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def _metrics(self, request: Request) -> Response:
        if not self._is_near(request):
            await self._callers.operator_only(request, b"")
        if self._render is None:
            # Imported with the first request for it: who is never scraped does not pay for it.
            from hanse.servers.api.metrics import Renderer

            self._render = Renderer().render
        return Response(self._render(await self._families()), media_type=METRICS_TEXT)

    def _is_near(self, request: Request) -> bool:
        try:
            address = ip_address(reply.address_of(request))
        except ValueError:
            return False  # no address that can be compared is no pass
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._networks)
