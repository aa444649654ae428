"""Versions of Kubernetes: read, ordered, and what depends on them. Source: Semantic Versioning 2.0.0, section 11."""

from __future__ import annotations

from itertools import pairwise

import pytest

from kindasync.errors import KindasyncError
from kindasync.versions import KubernetesVersion

# Each is older than the next.
ORDERED = [
    "v1.30.14",
    "v1.31.0-alpha.1",
    "v1.31.0-alpha.1.17",
    "v1.31.0-alpha.2",
    "v1.31.0-alpha.10",
    "v1.31.0-alpha.beta",
    "v1.31.0-beta.0",
    "v1.31.0-rc.1",
    "v1.31.0",
    "v1.31.2",
    "v1.31.10",
    "v1.37.0",
    "v2.0.0",
]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v1.37.2", KubernetesVersion(1, 37, 2)),
        ("1.37.2", KubernetesVersion(1, 37, 2)),
        (" v1.37.2\n", KubernetesVersion(1, 37, 2)),  # as it stands in /kind/version
        ("v1.37.0-rc.1", KubernetesVersion(1, 37, 0, "rc.1")),
        ("v1.38.0-alpha.2.17+0a1b2c3d4e5f60", KubernetesVersion(1, 38, 0, "alpha.2.17", "0a1b2c3d4e5f60")),
        ("v1.37.0+k3s1", KubernetesVersion(1, 37, 0, "", "k3s1")),
    ],
)
def test_a_version_is_read(text: str, version: KubernetesVersion) -> None:
    """With all its parts, and said again with a "v"."""
    parsed = KubernetesVersion.parse(text)

    assert (parsed.major, parsed.minor, parsed.patch) == (version.major, version.minor, version.patch)
    assert (parsed.pre_release, parsed.build) == (version.pre_release, version.build)
    assert str(parsed) == "v" + text.strip().removeprefix("v")


@pytest.mark.parametrize("text", ["", "v1.37", "latest", "v1.37.x", "1.37.0-", "v1.37.0 or so", "vv1.37.0"])
def test_what_is_no_version_is_refused(text: str) -> None:
    """Never guessed at."""
    with pytest.raises(KindasyncError, match="is not a Kubernetes version"):
        KubernetesVersion.parse(text)


@pytest.mark.parametrize(("older", "newer"), [*pairwise(ORDERED)])
def test_the_order(older: str, newer: str) -> None:
    """By numbers, not by text; a pre-release comes before its release."""
    first, second = KubernetesVersion.parse(older), KubernetesVersion.parse(newer)

    assert first < second
    assert second > first
    assert first != second
    assert max(first, second) is second


@pytest.mark.parametrize(("one", "other"), [("v1.37.0+abc", "v1.37.0+def"), ("v1.37.0", "1.37.0"), ("v1.37.0-rc.1", "v1.37.0-rc.01")])
def test_equal_versions(one: str, other: str) -> None:
    """Build metadata does not count; what is equal has the same hash."""
    first, second = KubernetesVersion.parse(one), KubernetesVersion.parse(other)

    assert first == second
    assert not first < second
    assert len({first, second}) == 1


def test_a_version_is_nothing_else() -> None:
    """A text is not equal to it, and cannot be compared."""
    version = KubernetesVersion.parse("v1.37.0")

    assert version != "v1.37.0"
    with pytest.raises(TypeError):
        _ = version < "v1.38.0"


@pytest.mark.parametrize(
    ("text", "api"),
    [("v1.30.14", "v1beta3"), ("v1.31.0-alpha.0", "v1beta4"), ("v1.31.0", "v1beta4"), ("v1.37.2", "v1beta4"), ("v2.0.0", "v1beta4")],
)
def test_the_version_of_kubeadms_configuration(text: str, api: str) -> None:
    """v1beta4 from 1.31 on, pre-releases included; before, v1beta3."""
    assert KubernetesVersion.parse(text).kubeadm_api == api


@pytest.mark.parametrize(
    ("text", "driver", "may_fail_cgroup_v1"),
    [("v1.23.17", "cgroupfs", False), ("v1.24.0", "systemd", False), ("v1.31.0-alpha.0", "systemd", True), ("v2.0.0", "systemd", True)],
)
def test_what_a_kubelet_is_told(text: str, driver: str, may_fail_cgroup_v1: bool) -> None:
    """As kind's images of its minor have containerd; and only what it knows."""
    traits = KubernetesVersion.parse(text).traits

    assert (traits.cgroup_driver, traits.may_fail_cgroup_v1) == (driver, may_fail_cgroup_v1)


@pytest.mark.parametrize(
    ("text", "caveat"),
    [
        ("v1.34.9", "Kubernetes v1.34.9 is older than kindasync supports (1.35 to 1.37); trying"),
        ("v1.35.0-alpha.0", ""),
        ("v1.35.4", ""),
        ("v1.37.99", ""),
        ("v1.38.0-alpha.2.17+abc", "Kubernetes v1.38.0-alpha.2.17+abc is newer than kindasync knows (1.35 to 1.37); trying"),
        ("v2.0.0", "Kubernetes v2.0.0 is newer than kindasync knows (1.35 to 1.37); trying"),
    ],
)
def test_an_unsupported_minor_has_a_caveat(text: str, caveat: str) -> None:
    """No more: what kubeadm can do with it is seen by trying."""
    assert KubernetesVersion.parse(text).caveat == caveat
