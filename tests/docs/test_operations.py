"""What docs/operations.md tells an operator to watch is there, and what is there it tells."""

import re
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from hanse.node import Node

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/operations.md").read_text()


async def figures(node: Node) -> set[str]:
    """The names of a node's figures, as its scrape gives them."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{node.http_url}/metrics") as found,
    ):
        text = await found.text()
    suffix = {"counter": "_total"}
    return {
        family.name.removesuffix("_total") + suffix.get(family.type, "")
        for family in text_string_to_metric_families(text)
    }


async def test_every_figure_the_page_names_exists_and_every_own_figure_is_named(
    node: Node,
) -> None:
    there = await figures(node)
    named = set(re.findall(r"`((?:hanse|process)_[a-z_]+)`", PAGE))
    assert named - there == set()
    assert {name for name in there if name.startswith("hanse_")} - named == set()


def test_every_line_of_the_log_that_the_page_names_is_written_somewhere() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    names = re.findall(r"`((?:node|http|call|sweep|offers|drain)\.[a-z_]+)`", PAGE)
    assert names
    assert [name for name in names if f'"{name}"' not in sources] == []
