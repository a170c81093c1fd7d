"""What docs/import.md says of sources and doors is so."""

import re
from pathlib import Path

from tests.system.test_directories import DIRECTORY_ROUTES

from hanse.operations.imports import ard, sources
from hanse.protocol import kinds
from hanse.registry.elsewhere import EXTENSION, META
from hanse.servers.api.catalog import NEWEST
from hanse.servers.api.shown import MAX_AGE_S

PAGE = (Path(__file__).resolve().parents[2] / "docs/import.md").read_text()


def test_every_kind_of_source_is_on_the_page_and_no_other() -> None:
    table = re.findall(r"^\| `([a-z0-9]+)` \|", PAGE, re.MULTILINE)
    assert sorted(table) == sorted(sources.KINDS)


def test_every_place_that_is_tried_at_a_host_is_named() -> None:
    for place in sources._AT_A_HOST:
        assert f"`{place}`" in PAGE


def test_every_door_for_other_directories_is_named() -> None:
    for _, path in DIRECTORY_ROUTES:
        first = path.split("{")[0].rstrip("/")
        assert first in PAGE, path


def test_the_figures_and_names_of_the_page_are_the_codes() -> None:
    assert f"newest {NEWEST} offers" in PAGE
    assert f"to {ard.DEPTH_MAX} levels" in PAGE
    assert MAX_AGE_S == 60
    assert "kept for a minute" in PAGE
    assert f"`{META}`" in PAGE
    assert f"`{EXTENSION}`" in PAGE
    numbers = {str(kind) for kind in kinds.SERVER_ANNOUNCEMENTS}
    assert {min(numbers), max(numbers)} <= set(re.findall(r"\b\d{5}\b", PAGE))
