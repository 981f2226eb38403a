"""The process on every node: watches, calculates, programs the kernel, serves CNI, looks after BIRD.

In reading order: options (what it is told), parameter_types, parameters, parameter_table and settings (Calico's parameters, and
which are in force), guard (one agent a node, no live Felix), start (waiting for the datastore), autodetect, node and addresses
(this node's resource, its addresses, sysctls), garbage (the collector does not hold the loop), endpoint_rescue
(living pods that an older datastore has forgotten), pipeline (datastore to intent),
applier (intent to kernel, and who waits for it), overlays (VXLAN and its like), wireguard_keys (its own, for others),
tunnel_addresses (this node's own inside them), mtu (how large packets of pods may be), gate (when a pod may begin),
notifications (what others do to the kernel), pod_upkeep (endpoints true to their pods), secrets (passwords), bird (BIRD's
life), bird_peers (how its sessions are, and why), bird_keeper (BIRD after the newest intent),
bird_farewell (its end), node_reports (CalicoNodeStatus,
for who asks), packet_log (lines for the Log action); then what it says of itself: status (its file), census (how much of what),
route_report (how it reaches everything), health and prometheus (its pages) over http, endpoint_status (a file for each
endpoint), reports (in the datastore), operator (all of these together); wiring (all of it in one visible table). Beside the
agent, for operators: checkup (is this machine fit) with checkup_host (its sysctls, ports, sizes), checkup_tunnels (checksums)
and checkup_firewall (rules of others) and checkup_pods (pods without endpoint) and checkup_pairs (ways to other nodes), leaving
(ending the agent and BIRD, and removing what is ours).
"""
