"""The graph: updates in, intent out. Pure, synchronous, no clock, no I/O.

In reading order: graph (the wiring, with a picture), problems, multimap, protocols, selectors (v3 selectors to labels as the
graph sees them), label_index (which selectors select what), labelled, local_endpoints, local_host_endpoints, active_policies,
active_profiles, rule_text, rule_parser, rule_scanner, ip_sets, services (sets of services' endpoints), policy_sorter,
endpoint_resolver, pools_hosts, service_nets, balancers, config, prefix_index, pod_cidrs, routing_facts, routing_settings,
tunnels, wireguard_peers, routing_ways, route_owners, routes (how this node reaches everything), bgp, bgp_workloads, bgp_peers,
bgp_filters, bgp_settings, bgp_services, bgp_problems, sequencer.
"""
