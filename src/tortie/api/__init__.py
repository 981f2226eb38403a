"""v3 resources: values, keys, defaults, validation, selectors. Data only, pure.

In reading order: resource (what all share), policy, tier, profile, networkset, endpoint, hostendpoint, conditions, node,
ippool, ipam, bgp, bgp_filter, controllers, node_status, felix, cluster, kubernetes, services, staged, cluster_policy, agent
(the kinds), felix_params (the agent's parameters), selector_syntax and selector (the language), errors, formats and names
(single fields), columns and kinds (the registry), shape, yaml_text and documents (YAML and JSON in and out), patching
(changes of documents), defaults (what silence means), validation (the entrance), findings, validation_metadata,
validation_policy, validation_network, validation_endpoint, validation_bgp, validation_bgp_filter, validation_felix,
validation_cluster, validation_kubernetes, validation_cluster_policy (its parts); schema (types to structural schemas),
schema_facts (what types do not say), field_docs and field_docs_cluster (what fields mean), cel, schema_rules and
schema_rules_policy (rules between fields), crd (whole CustomResourceDefinitions).
"""
