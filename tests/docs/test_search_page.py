"""The search page says what the code does: its example is a search, its figures are the code's."""

import re
from pathlib import Path

import msgspec

from hanse.registry import lessons, quality, rank
from hanse.registry.search import Search, Weights

PAGE = (Path(__file__).parents[2] / "docs" / "search.md").read_text()


def test_the_example_is_a_search() -> None:
    found = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert found
    search = msgspec.convert(msgspec.json.decode(found[1]), Search)
    assert (search.constraints.level, search.weights.price, search.facets) == (2, 2.0, True)


def test_the_page_has_the_figures_of_the_code() -> None:
    assert f"fit = {rank.WORDS:g} × words × w + vectors × v + {rank.LESSONS:g} × lessons" in PAGE
    assert f"/ {rank.SOFTNESS:g})" in PAGE
    assert f"{rank.OFFLINE_FACTOR:g} if not;" in PAGE
    assert f"halve every {lessons.HALF_LIFE_S // 86_400} days" in PAGE
    assert f"its quality as {quality.UNKNOWN:.2g} until" in PAGE
    assert rank.PAGE_SHARE == 3
    assert set(msgspec.to_builtins(Weights()).values()) == {1.0}
    for name in Weights.__struct_fields__:
        assert f"| {name} |" in PAGE
