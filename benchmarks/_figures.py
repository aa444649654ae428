"""The figures of a run: each by its name, None where the run does not have it."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks._records import Record

Figure = Callable[[Record], float | None]


def usable(record: Record) -> float | None:
    """Seconds until all nodes were Ready, the default ServiceAccount was there and a pod was scheduled; of all clusters."""
    return record.get("usable_s")


def ready(record: Record) -> float | None:
    """Seconds until all nodes were Ready."""
    return _last(record, "ready")


def ready_and_account(record: Record) -> float | None:
    """Seconds until all nodes were Ready and the default ServiceAccount was there."""
    return _last(record, "ready", "account")


def dns(record: Record) -> float | None:
    """Seconds until the DNS pods were Ready."""
    return record.get("dns_s")


def api(record: Record) -> float | None:
    """Seconds of a claim until an object was written to the API server and read."""
    return record.get("api_s")


def account(record: Record) -> float | None:
    """Seconds of a claim until a new namespace had its default ServiceAccount."""
    return record.get("account_s")


def delete(record: Record) -> float | None:
    """Seconds that the delete took."""
    return record.get("delete_s")


def taken(record: Record) -> float | None:
    """Seconds that a load took."""
    return record.get("taken_s")


def node_cpu(record: Record) -> float | None:
    """Core-seconds of all nodes, until usable."""
    return _scaled(record, "nodes", "cpu_s", 1)


def client_cpu(record: Record) -> float | None:
    """Core-seconds of the clients and their children, until usable."""
    return _scaled(record, "client", "cpu_s", 1)


def client_memory(record: Record) -> float | None:
    """MB that the clients and their children held at most, until usable."""
    return _scaled(record, "client", "memory_peak_bytes", 1e6)


def memory_peak(record: Record) -> float | None:
    """GiB that the nodes held at most, page cache and all."""
    return _scaled(record, "nodes", "memory_peak_bytes", 2**30)


def memory_own(record: Record) -> float | None:
    """GiB of the nodes' processes when all was usable, without page cache."""
    return _scaled(record, "nodes", "memory_own_bytes", 2**30)


def over_need(record: Record) -> float | None:
    """The seconds until usable, to those that all cores together would take for what nodes and clients used."""
    seconds, nodes_s, clients_s = usable(record), node_cpu(record), client_cpu(record)
    if seconds is None or nodes_s is None or clients_s is None:
        return None
    needed: float = (nodes_s + clients_s) / record["machine"]["cores"]
    return seconds / needed


def _last(record: Record, *names: str) -> float | None:
    marks = record.get("marks", {}).values()
    return max((each[name] for each in marks for name in names if name in each), default=None)


def _scaled(record: Record, of: str, name: str, unit: float) -> float | None:
    value = record.get(of, {}).get(name)
    return None if value is None else value / unit
