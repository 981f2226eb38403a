"""Intent to nft values. Pure: no kernel, no clock, no order but the one given.

In reading order: config (what configuration changes), names (chains, sets, comments), policy (one rule, one policy),
endpoint (tiers, profiles, one workload), qos (its limits, and DSCP), static (base chains, dispatch, anti-spoofing,
masquerading), text (as nft reads it).
"""
