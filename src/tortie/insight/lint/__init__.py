"""Rules and policies that do not do what they seem to. Pure; what it claims is certain for the world that it is asked about.

In reading order: findings (what is found), catalogue (all that can be), subject (a world laid out for the checks), covering
(rules against rules), reading (files with mistakes in them), rule_checks, order_checks (what never comes to be asked),
policy_checks, reference_checks (names that nobody bears), run (`lint`).
"""
