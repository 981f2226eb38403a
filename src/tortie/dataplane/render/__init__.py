"""Intent to nft values. Pure: no kernel, no clock, no order but the one given.

In reading order: config (what configuration changes), names (chains, sets, comments), policy (one rule, one policy), tiers
(policies in their order, profiles), endpoint (one workload), qos (its limits, and DSCP), hooks (base chains), host (host
endpoints), nat (masquerading, floating addresses), tunnels (what the node sends into them), static (dispatch, anti-spoofing),
arp (its own table), text (as nft reads it).
"""
