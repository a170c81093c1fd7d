"""`hanse up --limit`: each bound by its name, as docs/settings.md has them."""

import re
from pathlib import Path
from typing import Any

import pytest

from hanse.cli.limits import LIMITS, limited
from hanse.config import Config
from hanse.errors import Invalid

CONFIG = Config(data=Path("data"))
SETTINGS = Path(__file__).parents[2] / "docs" / "settings.md"


def value(config: Config, name: str) -> Any:
    found: Any = config
    for part in LIMITS[name]:
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_sets_its_bound_and_no_other(name: str) -> None:
    config = limited(CONFIG, [f"{name}=7"])
    assert value(config, name) == 7
    others = [other for other in LIMITS if other != name]
    assert [value(config, other) for other in others] == [value(CONFIG, other) for other in others]


def test_every_limit_is_in_the_settings_page_with_its_default() -> None:
    rows = re.findall(r"^\| ([a-z][a-z-]*) \| ([0-9]+|none) \| ", SETTINGS.read_text(), re.M)
    defaults = {name: value(CONFIG, name) for name in LIMITS}
    assert dict(rows) == {
        name: "none" if found is None else f"{found:g}" if isinstance(found, float) else str(found)
        for name, found in defaults.items()
    }


@pytest.mark.parametrize("text", ["connections", "connections=0", "connections=-1", "x=1", "=1"])
def test_what_is_no_limit_is_named(text: str) -> None:
    with pytest.raises(Invalid, match="limit: "):
        limited(CONFIG, [text])
