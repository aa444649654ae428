"""The image contract: how nodes of an image boot, said by its label, and kind's line that says when they have."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from kindasync.errors import ImageUnusable
from kindasync.node._contract import Contract, contract_of, kind_booted


@pytest.mark.parametrize(
    ("labels", "pauses"),
    [
        ({"kindasync.contract": "1"}, True),
        ({"kindasync.contract": "1", "other": "label"}, True),
        ({}, False),  # kind's
        ({"maintainer": "somebody"}, False),
    ],
)
def test_the_contract_of_an_image(labels: Mapping[str, str], pauses: bool) -> None:
    """By its label alone; without it, it boots at once, as kind's do."""
    assert contract_of("node:1", labels) == Contract(pauses=pauses)


@pytest.mark.parametrize("version", ["0", "2", "99", "", "v1", "1.0", "-1"])
def test_a_contract_that_is_not_known(version: str) -> None:
    """It is refused before anything starts: nobody knows what its nodes would wait for."""
    with pytest.raises(ImageUnusable, match='cannot use the node image "node:1"') as unusable:
        contract_of("node:1", {"kindasync.contract": version})

    assert f"version {version} " in unusable.value.why
    assert "update kindasync" in unusable.value.hint


@pytest.mark.parametrize(
    ("line", "booted"),
    [
        ("[  OK  ] Reached target \x1b[0;1;39mmulti-user.target\x1b[0m - Multi-User System.", True),  # systemd of Debian 12 on
        ("[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mMulti-User System\x1b[0m.", True),  # of Debian 11
        ("INFO: detected cgroup v1", True),
        ("INFO: detected cgroup v2", False),
        ("[  OK  ] Reached target basic.target - Basic System.", False),
        ("Starting Multi-User System", False),
        ("", False),
    ],
)
def test_a_node_of_a_kind_image_has_booted(line: str, booted: bool) -> None:
    """By one of the two lines that kind itself waits for, with a terminal's colours in them."""
    assert kind_booted(line) is booted
