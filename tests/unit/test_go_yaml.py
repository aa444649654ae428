"""YAML that Go programs read as it was meant."""

from __future__ import annotations

import pytest
import yaml

from kindasync.go_yaml import dump, dump_all


@pytest.mark.parametrize(
    "text", ["y", "N", "yes", "on", "Off", "true", "null", "~", "1", "1e3", "0o7", "0x1", "1_0", ".inf", "", "1:30", "-", "a: b", "é"]
)
def test_text_that_could_be_something_else_is_quoted(text: str) -> None:
    """For some reader it is a truth, a number or nothing; as a key, too."""
    dumped = dump({text: text})

    assert dumped.strip() in (f"'{text}': '{text}'", f"? '{text}'\n: '{text}'")
    assert yaml.safe_load(dumped) == {text: text}


@pytest.mark.parametrize(
    "text", ["demo", "kindasync/node:v1.37.0", "/etc/kubernetes", "https://demo-control-plane:6443", "127.0.0.1", "LS0tLS1CRUdJTg=="]
)
def test_plain_words_stay_plain(text: str) -> None:
    """For people to read."""
    assert dump({"key": text}) == f"key: {text}\n"


def test_other_values_are_what_they_are() -> None:
    """And so is the order of keys."""
    document = {"b": 1, "a": True, "c": None, "d": [1.5, "x\ny"]}

    assert dump(document).startswith("b: 1\na: true\nc: null\n")
    assert yaml.safe_load(dump(document)) == document


def test_several_documents() -> None:
    """As kubectl and kubeadm take them."""
    assert dump_all([{"a": "b"}, {"c": "d"}]) == "a: b\n---\nc: d\n"
