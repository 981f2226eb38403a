"""Pod wiring: what a container runtime asks, answered by the agent behind a unix socket.

In reading order: errors (CNI's codes), config_keys (every key and what becomes of it), config (what is asked), result (what is
answered), protocol (frames of the socket), wiring (the steps of a pod's cable), inspection (CHECK of them), addressing (which
addresses), sources (who assigns them), gates (what must be ready), endpoints (the datastore's side), subjects (pods, and
containers without one), leftovers (what GC finds), plugin (ADD, DEL, CHECK ...), spare (a descriptor in
reserve), server (the socket). What a runtime executes:
shim/tortie-cni.c, or client in its place; build puts one of them where it belongs, under all its names. `10-tortie.conflist` is
the network configuration that an operator installs.
"""
