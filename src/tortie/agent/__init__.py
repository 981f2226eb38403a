"""The process on every node: watches, calculates, programs the kernel, serves CNI, looks after BIRD.

In reading order: options (what it is told), guard (one agent a node, no live Felix), node (this node's resource and sysctls),
pipeline (datastore to intent), applier (intent to kernel, and who waits for it), notifications (what others do to the kernel),
bird (BIRD's life), bird_keeper (BIRD after the newest intent), packet_log (lines for the Log action), status (what it says of
itself), wiring (all of it in one visible table).
"""
