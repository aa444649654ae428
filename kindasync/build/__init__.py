"""Build: the node image, made from `node-image/` by this machine's tools or inside containers."""
