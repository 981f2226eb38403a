"""The evaluator: intent and a packet in, the decision and the full reason out. Pure; imports only intent, base.net and the
table of parameters.

In reading order: packet (what is judged), judgement (what comes out), settings (a node's configuration, as far as it decides),
match (one rule against one packet), tiers (tiers, policies, profiles), evaluate (`judge`: a workload's endpoint), host
(`judge_host`: a node's), staged (what would be, were staged policies enforced), quick (the same decisions, many at a time,
without the reasons), journey (the whole way of a packet through the nodes).
"""
