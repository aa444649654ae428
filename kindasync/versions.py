"""Versions: Kubernetes versions, parsed and ordered, and what depends on them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Self

from kindasync.errors import KindasyncError

SUPPORTED = ((1, 35), (1, 36), (1, 37))  # (major, minor), oldest first: upstream's current ones, which `nox -s versions` runs
_PATTERN = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What differs between minors, and matters here.

    `kubeadm_api`: the newest version of kubeadm's configuration that its kubeadm reads and is not alone with. `cgroup_driver`: what
    kind's images tell containerd, so the kubelet has to say the same. `may_fail_cgroup_v1`: the kubelet knows `failCgroupV1`, which
    is true by default from 1.35 on.
    """

    kubeadm_api: str
    cgroup_driver: str
    may_fail_cgroup_v1: bool


# From which minor on. What is newer than all that is known is taken to be as the newest.
_TRAITS = {
    (1, 31): Traits(kubeadm_api="v1beta4", cgroup_driver="systemd", may_fail_cgroup_v1=True),
    (1, 24): Traits(kubeadm_api="v1beta3", cgroup_driver="systemd", may_fail_cgroup_v1=False),
    (0, 0): Traits(kubeadm_api="v1beta3", cgroup_driver="cgroupfs", may_fail_cgroup_v1=False),
}


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class KubernetesVersion:
    """A version such as v1.37.2, v1.37.0-rc.1 or v1.38.0-alpha.2.17+abc: `major`, `minor`, `patch`, `pre_release` ("rc.1"), `build` ("abc").

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
    def traits(self) -> Traits:
        """What is to be known of this minor, pre-releases included."""
        return next(traits for since, traits in _TRAITS.items() if self.release >= since)

    @property
    def kubeadm_api(self) -> str:
        """The version of kubeadm's configuration: v1beta4 from 1.31 on, v1beta3 before."""
        return self.traits.kubeadm_api

    @property
    def caveat(self) -> str:
        """Why this version may not work; empty for a minor that is supported."""
        known = " to ".join(f"{major}.{minor}" for major, minor in (SUPPORTED[0], SUPPORTED[-1]))
        if self.release > SUPPORTED[-1]:
            return f"Kubernetes {self} is newer than kindasync knows ({known}); trying"
        if self.release < SUPPORTED[0]:
            return f"Kubernetes {self} is older than kindasync supports ({known}); trying"
        return ""

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
