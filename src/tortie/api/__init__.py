"""v3 resources: values, keys, defaults, validation, selectors. Data only, pure.

In reading order: resource (what all share), policy, tier, profile, networkset, endpoint, hostendpoint, node, ippool, ipam, bgp,
felix, cluster, kubernetes, services, staged, cluster_policy, agent (the kinds), felix_params (the agent's parameters),
selector_syntax and selector (the language), errors, formats and names (single fields), columns and kinds (the registry), shape,
yaml_text and documents (YAML and JSON in and out), defaults (what silence means), validation (the entrance), findings,
validation_metadata, validation_policy, validation_network, validation_endpoint, validation_bgp, validation_felix,
validation_kubernetes, validation_cluster_policy (its parts).
"""
