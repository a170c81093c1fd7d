"""Counters: what a monitor is told is what was added."""

from prometheus_client.parser import text_string_to_metric_families

from hanse.counters import Family, Histogram, Tally
from hanse.servers.api.metrics import Renderer


def test_a_value_is_counted_under_every_bound_it_does_not_exceed() -> None:
    found = Histogram((1.0, 2.0, 5.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        found.add(value)
    assert found.buckets() == [("1.0", 2), ("2.0", 3), ("5.0", 3), ("+Inf", 4)]
    assert found.total == 12.0


def test_words_never_counted_before_start_at_their_first_count() -> None:
    found = Tally("accepted")
    found.add("pow")
    found.add("pow", 2)
    assert found.counts == {"accepted": 0, "pow": 3}


def test_the_text_of_a_scrape_reads_back_as_what_was_counted() -> None:
    sizes = Histogram((1.0, 2.0))
    sizes.add(2.0)
    families = [
        Family("counter", "hanse_events", "Events", {"accepted": 3, "pow": 1}, "outcome"),
        Family("gauge", "hanse_connections", "Connections", {"": 7}),
        Family("histogram", "hanse_commit_writes", "Writes", {"": sizes}),
    ]
    text = Renderer().render(families).decode()
    read = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert read["hanse_events_total", ("accepted",)] == 3
    assert read["hanse_events_total", ("pow",)] == 1
    assert read["hanse_connections", ()] == 7
    assert read["hanse_commit_writes_bucket", ("1.0",)] == 0
    assert read["hanse_commit_writes_bucket", ("+Inf",)] == 1
    assert read["hanse_commit_writes_sum", ()] == 2.0
    assert read["process_resident_memory_bytes", ()] > 0


def test_two_nodes_in_one_process_share_no_figures() -> None:
    first, second = Renderer(), Renderer()
    assert b"hanse_x 1.0" in first.render([Family("gauge", "hanse_x", "X", {"": 1})])
    assert b"hanse_x" not in second.render([])
