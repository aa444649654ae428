"""Versions: Kubernetes versions, parsed and ordered, and what depends on them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Self

from kindasync.errors import KindasyncError

_PATTERN = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?")


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class KubernetesVersion:
    """A version such as v1.37.2, v1.37.0-rc.1 or v1.38.0-alpha.2.17+abc.

    Source: Semantic Versioning 2.0.0, section 11: a pre-release comes before its release; build metadata does not count
    for order or equality.
    """

    major: int
    minor: int
    patch: int
    pre_release: str = ""
    build: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The version that `text` (with or without "v") names. Raises: KindasyncError."""
        found = _PATTERN.fullmatch(text.strip())
        if not found:
            raise KindasyncError(f'"{text}" is not a Kubernetes version', hint="versions look like v1.37.2")
        major, minor, patch, pre_release, build = found.groups(default="")
        return cls(int(major), int(minor), int(patch), pre_release, build)

    def __str__(self) -> str:
        text = f"v{self.major}.{self.minor}.{self.patch}"
        return text + (f"-{self.pre_release}" if self.pre_release else "") + (f"+{self.build}" if self.build else "")

    @property
    def release(self) -> tuple[int, int]:
        """(major, minor): what gates features, pre-releases included."""
        return self.major, self.minor

    @property
    def kubeadm_api(self) -> str:
        """The newest version of kubeadm's configuration that this kubeadm reads and is not alone with: v1beta4 from 1.31 on, v1beta3 before."""
        return "v1beta4" if self.release >= (1, 31) else "v1beta3"

    def _key(self) -> tuple[object, ...]:
        # A release is greater than all its pre-releases; numbers are less than words.
        parts = self.pre_release.split(".") if self.pre_release else ()
        identifiers = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts)
        return self.major, self.minor, self.patch, not self.pre_release, identifiers

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, KubernetesVersion) else NotImplemented

    def __lt__(self, other: object) -> bool:
        return self._key() < other._key() if isinstance(other, KubernetesVersion) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())
