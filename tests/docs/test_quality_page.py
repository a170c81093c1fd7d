"""The quality page and the schema beside it say what the code does."""

from pathlib import Path

import msgspec

from hanse.registry.summary import document_schema

DOCS = Path(__file__).parents[2] / "docs"


def test_the_published_schema_is_the_one_that_summaries_are_read_by() -> None:
    kept = (DOCS / "reference" / "quality-summary.schema.json").read_bytes()
    assert msgspec.json.decode(kept) == msgspec.json.decode(msgspec.json.encode(document_schema()))


def test_the_page_names_every_figure_and_every_tag() -> None:
    page = (DOCS / "quality.md").read_text()
    for word in (*document_schema()["$defs"]["Row"]["properties"], "rank", "expiration", "30384"):
        assert f"`{word}`" in page or word in page, word
