"""Where resources are kept: the protocol, the embedded backend, etcd, Kubernetes, and what callers build on top.

In reading order: unreadable (values that are broken), client (the protocol), errors, layout (paths), ipam_model and codec
(stored bytes), requests (rules that all backends share), sqlite (the embedded backend, a package), etcd and kubernetes
(packages), config (which backend), initialize (what always exists), operations (apply, delete), identity (whether it is still
the same cluster's), syncer (list, then watch, for those who follow the whole state).
"""
