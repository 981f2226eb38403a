"""The evaluator: intent and a packet in, the decision and the full reason out. Pure; imports only intent and base.net.

In reading order: packet (what is judged), judgement (what comes out), match (one rule against one packet), evaluate (tiers,
policies, profiles: `judge`).
"""
