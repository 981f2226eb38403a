"""v3 resources: values, keys, defaults, validation, selectors. Data only, pure.

In reading order: resource (what all share), policy, tier, profile, networkset, endpoint, node, ippool, ipam, bgp, felix,
cluster, kubernetes (the kinds), selector_syntax and selector (the language), kinds (the registry), documents (YAML and JSON
in and out), validation, defaults, errors.
"""
