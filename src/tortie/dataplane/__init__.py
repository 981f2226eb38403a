"""Intent into kernel objects, and the kernel kept that way.

In reading order: marks (packet mark bits), mtu (how large packets may be), render/ (intent to nft values, pure), manager (what
a manager promises), quarantine (what the kernel refuses), static_manager (the frame), populated (which sets exist), set_manager
(IP sets), references (who asks which policy), policy_manager (policies and profiles), endpoint_manager (endpoints and
dispatch), host_manager (host endpoints), nat_manager (pools), floating_manager (floating addresses), dscp_manager (what packets
carry out of the cluster), device_manager (workloads' devices), bandwidth_manager (their limits), peering_manager (the node's
address on those that speak BGP to it), arp_manager (what they may be told), overlay (what a manager of tunnels promises),
vxlan_device and vxlan_manager (VXLAN), path_mtus (what the network takes on the way to others) and ipip_manager (IPIP),
wireguard_device, wireguard_routes, wireguard_status and wireguard_manager (WireGuard), cluster_routes (what the kernel is to
have for the rest of the cluster), hand_over (of routes between us and BIRD), route_manager (all of that, and workloads here),
reachability_manager (who is answered for), linux (messages in, one transaction out), enforcement (which fields of the api this
release acts on).
"""
