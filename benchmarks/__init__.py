"""Benchmarks: kindasync beside the kind program, on the same node image, in one run."""
