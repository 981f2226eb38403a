"""Tortie: Calico's job with a control plane in Python and the packet path in the kernel. docs/architecture.md is the map."""

__version__ = "0.1.0"
