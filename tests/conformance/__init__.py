"""Conformance: Kubernetes' own end-to-end tests, run against a cluster of this project: `nox -s conformance`."""
