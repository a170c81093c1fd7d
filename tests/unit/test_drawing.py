"""The picture of a circle: the same each time, bounded, and nobody's name breaks out of it."""

import xml.etree.ElementTree as ElementTree
from typing import Any

from hanse.cli.drawing import draw
from hanse.protocol.address import encode_npub
from hanse.protocol.keys import PublicKey, SecretKey
from hanse.trust.graph import Graph
from hanse.trust.model import Level
from hanse.trust.picture import Picture, picture

ME, *OTHERS = (SecretKey(bytes([number]) * 32).public for number in range(1, 41))
FRIENDS, FAR = OTHERS[:3], OTHERS[3:30]
EDGES = [
    *((ME, one, 7) for one in FRIENDS),
    *((FRIENDS[place % 3], one, 1 + place % 9) for place, one in enumerate(FAR)),
    (FAR[0], OTHERS[35], 3),
    (OTHERS[36], OTHERS[37], 9),
]


def seen(limit: int = 60, edges: list[tuple[PublicKey, PublicKey, int]] = EDGES) -> Picture:
    graph = Graph.build(edges)
    return picture(
        graph,
        graph.view(FRIENDS),
        viewer=ME,
        circle=FRIENDS,
        grades=graph.given(ME),
        level=lambda key: Level.CIRCLE if key in (ME, *FRIENDS) else Level.STRANGER,
        domain="sms",
        limit=limit,
    )


def shown(found: Picture) -> dict[str, Any]:
    nodes = [
        {
            "key": node.key,
            "npub": encode_npub(PublicKey(node.key)),
            "distance": node.distance,
            "level": int(node.level),
            "reach": node.reach,
        }
        for node in found.nodes
    ]
    edges = [{"by": edge.by, "of": edge.of, "grade": edge.grade} for edge in found.edges]
    return {"domain": "sms", "nodes": nodes, "edges": edges, "left_out": found.left_out}


def test_all_that_is_shown_is_reached_by_a_path_that_is_shown() -> None:
    found = seen()
    distance = {node.key: node.distance for node in found.nodes}
    assert distance[OTHERS[35]] == 3
    assert OTHERS[37] not in distance
    ended = {edge.of for edge in found.edges}
    assert ended == distance.keys() - {ME}
    assert all(distance[edge.of] == distance[edge.by] + 1 for edge in found.edges)


def test_a_crowd_is_cut_to_the_most_reached() -> None:
    few = seen(limit=10)
    assert len(few.nodes) == 10
    assert few.left_out == len(FAR) - 6
    reach = [node.reach for node in few.nodes if node.distance == 2]
    assert reach == sorted(reach, reverse=True)


def test_the_same_circle_gives_the_same_bytes_in_whatever_order_it_was_told() -> None:
    assert draw(shown(seen()), {}) == draw(shown(seen(edges=EDGES[::-1])), {})


def test_a_name_is_text_and_nothing_else() -> None:
    names: dict[str, str] = {
        FRIENDS[0]: '</text><script>alert("1")</script>',
        FRIENDS[1]: "a\nb\u202ec",
    }
    text = draw(shown(seen()), names)
    assert "<script" not in text
    assert "\u202e" not in text
    root = ElementTree.fromstring(text)  # our own bytes, not a stranger's
    labels = [found.text or "" for found in root.iter() if found.tag.endswith("}text")]
    assert any(label.startswith("</text><script>") for label in labels)
    assert any(label.startswith("me (npub1") for label in labels)
    assert all(len(label) <= 40 for label in labels)


def test_nobody_alone_has_a_picture_of_one() -> None:
    graph = Graph.build([])
    found = picture(
        graph,
        graph.view([ME]),
        viewer=ME,
        circle=[],
        grades={},
        level=lambda _: Level.CIRCLE,
        domain="",
    )
    assert [node.key for node in found.nodes] == [ME]
    assert draw(shown(found), {}).count("<circle") == 6
