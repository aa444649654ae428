"""Build: the node image, made from `node-image/` by this machine's tools or inside containers."""

from kindasync.build._build import Options, build, dry_run_text

__all__ = ["Options", "build", "dry_run_text"]
