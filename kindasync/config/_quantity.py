"""Quantities: numbers as Kubernetes writes them.

Source: kubernetes.io, "Quantity" (k8s.io/apimachinery/pkg/api/resource).
"""

from __future__ import annotations

import re
from fractions import Fraction

_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:[eE]([+-]?\d{1,2})|(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]))?", re.ASCII)
_SUFFIXES = {suffix: Fraction(10) ** power for suffix, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)} | {
    f"{letter}i": Fraction(1024) ** power for power, letter in enumerate("KMGTPE", 1)
}


def quantity(text: str) -> Fraction:
    """The value of `1.5`, `500m`, `2Gi`, `1e3`. Raises: ValueError, also for negative ones."""
    match = _QUANTITY.fullmatch(text)
    if not match:
        raise ValueError(f'"{text}" is not a quantity, such as 1.5, 500m or 2Gi')
    number, exponent, suffix = match.groups()
    return Fraction(number) * Fraction(10) ** int(exponent or 0) * _SUFFIXES.get(suffix, 1)
