"""What one node must enforce, as frozen values: all that calc, verdict, dataplane and bgp share. Pure.

In reading order: keys, policy, sets, endpoint, host_endpoints (which interface is whose), route_filter, routing, routes (how
the cluster is reached, and who programs it), messages (the hand-over), state (messages applied).
"""
