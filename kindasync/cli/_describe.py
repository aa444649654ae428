"""Descriptions: each event as a short line for people."""

from __future__ import annotations

from kindasync import events

_KIBI = 1024


def describe(event: events.Event) -> str | None:
    """What happened, in words; None for events that are of no interest to somebody who waits."""
    match event:
        case events.ImagePulled():
            return f"pulled the node image {event.image}"
        case events.NetworkCreated():
            return f"made the network {event.network} ({', '.join(event.subnets)})"
        case events.NetworkRemoved():
            return f"removed the network {event.network}"
        case events.RegistryStarted():
            takes = [f"takes images as {event.host}/NAME"] if event.host else []
            return "; ".join([*takes, *([f"caches {', '.join(event.mirrors)}"] if event.mirrors else [])])
        case events.ContainerCreated():
            return f"container created from {event.image}" + (f", address {event.address}" if event.address else "")
        case events.NodeStarted():
            return "container started"
        case events.NodePaused():
            return "paused before its boot"
        case events.HookEnded():
            return f"hook {event.hook} has run"
        case events.PreloadProgress() if event.current == event.total:
            return f"preloaded {event.subject} ({bytes_text(event.current)})"
        case events.FilesPut():
            return "configuration, certificates and manifests are in place"
        case events.BootSignalled() if event.attempt == 1:
            return "boot signalled"
        case events.NodeBooted():
            return "booting"
        case events.RuntimeReady():
            return "containerd is ready"
        case events.ApiServerUp():
            return f"the API server answers at {event.server}"
        case events.NodeJoined():
            return "joined the cluster"
        case events.KubeadmPhase():
            return f"kubeadm: {event.phase}"
        case events.ControlPlaneUp():
            return "control plane initialised"
        case events.ManifestApplied():
            return f"created the objects of {event.manifest}"
        case events.ReadinessObserved():
            return f"{event.subject}: {event.state}"
        case events.NodeRegistered():
            return "registered"
        case events.NodeReady():
            return "Ready"
        case events.ClusterReady():
            return f'cluster "{event.cluster}" is ready after {event.duration_s:.1f} s'
        case events.NodeStopped():
            return "stopped"
        case events.ClusterStopped():
            return f'stopped cluster "{event.cluster}" in {event.duration_s:.1f} s'
        case events.ClusterRestored():
            return f'cluster "{event.cluster}" is as in snapshot "{event.snapshot}" again, after {event.duration_s:.1f} s'
        case events.ClusterParked():
            return f'parked in pool "{event.pool}"'
        case events.ClusterClaimed():
            return f'claimed cluster "{event.cluster}" in {event.duration_s:.1f} s'
        case events.StepFailed():
            return f"failed to {event.step}"
        case events.Interrupted():
            return "interrupted"
        case events.RolledBack():
            left = f"; left behind: {', '.join(event.left_behind)}" if event.left_behind else ""
            return f"took back what was made{left}"
        case events.NodeLoaded():
            what = ", ".join(event.images)
            return f"has {what} already" if event.skipped else f"loaded {what}"
        case events.LogsExported():
            return "its logs are there"
        case events.NodeCordoned():
            return "cordoned: no new pods"
        case events.PodEvicted():
            return f"evicted pod {event.pod}"
        case events.NodeDrained():
            return "drained"
        case events.EtcdMemberRemoved():
            return "left etcd"
        case events.BalancerReloaded():
            return f"the balancer has {', '.join(event.control_planes)}"
        case events.NodeRemoved():
            return "removed"
        case events.ClusterDeleted(existed=False):
            return f'there was no cluster "{event.cluster}"'
        case events.ClusterDeleted():
            return f'deleted cluster "{event.cluster}" in {event.duration_s:.1f} s'
        case events.Warned():
            return f"warning: {event.message}"
        case events.BuildStepStarted():
            return f"{event.step} …"
        case events.BuildStepEnded():
            return f"{event.step}: " + ("as before (cached)" if event.cached else f"done in {event.duration_s:.0f} s")
    return None


def bytes_text(count: int) -> str:
    """1536 -> 1.5 KiB."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < _KIBI or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _KIBI
    raise AssertionError("the last unit returns")
