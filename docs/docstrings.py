"""Docstrings, as the site shows them: their paragraphs apart, and for fields of configurations what the JSON Schema says of them."""

from __future__ import annotations

import re
from typing import Any

import griffe

from kindasync.config._schema import descriptions

FIELDS = {kind.__name__: fields for kind, fields in descriptions().items()}


def paragraphs(text: str) -> str:
    """What begins with a word of ours and a colon stands for itself."""
    return re.sub(r"(?m)\n*^(Shape|Source|Raises|Emits|Cancellation|Try): ", r"\n\n**\1:** ", text)


class Docstrings(griffe.Extension):
    """Changes what griffe has read."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = paragraphs(obj.docstring.value)

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """A field of a configuration; and of what is said of any, only what tells something."""
        attr.labels -= {"class-attribute", "instance-attribute", "module-attribute"}
        text = FIELDS.get(attr.parent.name, {}).get(attr.name) if attr.parent else None
        if text and not attr.docstring and attr.path.startswith("kindasync.config."):
            attr.docstring = griffe.Docstring(text, parent=attr)
