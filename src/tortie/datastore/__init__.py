"""Where resources are kept: the protocol, the embedded backend, and what callers build on top.

In reading order: client (the protocol), errors, layout (paths), ipam_model and codec (stored bytes), sqlite (the embedded
backend, a package), config (which backend), initialize (what always exists), operations (apply, delete), syncer (list, then
watch, for those who follow the whole state).
"""
