"""The etcd v3 backend, for clusters of many machines and for data that Calico shares.

In reading order: settings (variables and calicoctl.cfg), wire (protocol buffers), messages (etcd's API), errors (what etcd's
refusals mean), connection (members, TLS, users, trying again), reads, writes (compare and set whose outcome may be unknown),
watch (one stream, resumed), client (the protocol).
"""
