"""All that lint can find. The page in docs/ is generated from here."""

from tortie.insight.lint.findings import Check, Severity

_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO

_ALL = (
    Check(
        "TL001", _E, "the document is not valid",
        "A datastore would refuse it, so it has no effect at all.",
        "Correct the field.",
    ),
    Check(
        "TL002", _E, "the resource is defined twice",
        "Only one of two resources with the same kind, namespace and name can exist.",
        "Remove or rename one of them.",
    ),
    Check(
        "TL003", _E, "ports without a protocol",
        "Port numbers mean nothing without TCP, UDP or SCTP; such a rule is refused.",
        "Add `protocol: TCP` (or UDP, SCTP) to the rule.",
    ),
    Check(
        "TL004", _E, "preDNAT or doNotTrack without applyOnForward",
        "Both kinds of policy also see forwarded packets, and must say so.",
        "Add `applyOnForward: true`.",
    ),
    Check(
        "TL010", _W, "the rule can never match",
        "Its criteria contradict each other: no packet has all of these properties.",
        "Correct the criterion that is wrong, or remove the rule.",
    ),
    Check(
        "TL011", _W, "an earlier rule of the same policy takes every packet",
        "The first rule that matches decides, so a rule after a wider one is never asked.",
        "Move the narrower rule before the wider one, or remove it.",
    ),
    Check(
        "TL012", _W, "earlier policies take every packet of the rule",
        "On every endpoint where the policy applies, a rule that is asked earlier matches all that this rule matches.",
        "Give the policy a lower order, narrow the earlier rule, or remove this one.",
    ),
    Check(
        "TL013", _W, "no rule of the policy ever decides",
        "Earlier rules take all packets that its rules match.",
        "Give the policy a lower order, or remove it.",
    ),
    Check(
        "TL014", _W, "a selector of the rule selects nothing",
        "No endpoint and no network set has such labels now, so the rule matches no packet.",
        "Correct the selector; it sees labels of pods, host endpoints and network sets.",
    ),
    Check(
        "TL015", _W, "the rule misses the endpoints that the policy is for",
        "The destination of an ingress rule, and the source of an egress rule, is an endpoint that the policy selects.",
        "Move the criterion to the other side of the rule, or to the policy's selector.",
    ),
    Check(
        "TL016", _W, "the rule cannot be enforced",
        "A rule that this dataplane cannot enforce allows nothing; as Deny it denies everything.",
        "Take out what is not supported.",
    ),
    Check(
        "TL017", _I, "notSelector alone also matches everybody outside",
        "Addresses that belong to no endpoint carry no labels: without a selector beside it, notSelector lets them match.",
        "Add `selector: all()` if only endpoints are meant.",
    ),
    Check(
        "TL018", _I, "a named port without a protocol",
        "The rule matches the port under every protocol that endpoints declare it for.",
        "Add `protocol:` if only one is meant.",
    ),
    Check(
        "TL020", _W, "the policy selects nothing",
        "No endpoint has such labels now, so the policy has no effect.",
        "Correct the selectors; namespaceSelector and serviceAccountSelector count too.",
    ),
    Check(
        "TL021", _W, "rules of a direction that the policy does not govern",
        "`types` leaves the direction out, so its rules have no effect.",
        "Add the direction to `types`, or remove the rules.",
    ),
    Check(
        "TL022", _W, "a direction without rules denies everything",
        "The policy governs the direction and nothing on these endpoints allows anything in it.",
        "Leave the direction out of `types`, or add rules for it.",
    ),
    Check(
        "TL023", _W, "the policy only logs",
        "Log decides nothing: what was logged goes on, and meets the tier's default action.",
        "Add an Allow, Deny or Pass rule after the Log rules.",
    ),
    Check(
        "TL024", _W, "names cannot be resolved",
        "Egress is governed, and UDP port 53 is allowed to nobody: the pods cannot ask for names.",
        "Allow UDP and TCP port 53 to the cluster's DNS.",
    ),
    Check(
        "TL030", _W, "the tier does not exist",
        "Policies of a tier that is not there are asked last of all, and it denies what they do not decide.",
        "Create the tier, or correct the name.",
    ),
    Check(
        "TL031", _W, "the tier lets nothing on to later tiers",
        "Its default action is Deny and no rule of it says Pass: later policies are never asked.",
        "End the tier's policies with a Pass rule, or set its `defaultAction: Pass`.",
    ),
    Check(
        "TL032", _W, "the tier denies everything",
        "Its default action is Deny and on these endpoints it has neither an Allow nor a Pass rule.",
        "Add Allow or Pass rules, or set the tier's `defaultAction: Pass`.",
    ),
    Check(
        "TL033", _I, "the tier is empty",
        "No policy is in it.",
        "Remove the tier, or correct the policies that should be in it.",
    ),
    Check(
        "TL040", _W, "the service does not exist",
        "A rule for the endpoints of a service that is not there matches nothing.",
        "Correct name and namespace, or create the service.",
    ),
    Check(
        "TL041", _W, "nobody has a port of that name",
        "No endpoint that the rule selects declares such a port for the rule's protocol.",
        "Correct the name or the protocol, or name the container's port.",
    ),
    Check(
        "TL042", _W, "the namespaceSelector selects no namespace",
        "No namespace has such labels now.",
        "Correct the selector, or label the namespace.",
    ),
    Check(
        "TL043", _W, "the service account does not exist",
        "No such account is there in the namespaces that the rule speaks of.",
        "Correct the name, or create the account.",
    ),
    Check(
        "TL050", _W, "untracked traffic without a rule for replies",
        "doNotTrack skips connection tracking, so answers are packets like any other and need a rule in the other direction.",
        "Add an Allow rule for the replies, with source and destination ports swapped.",
    ),
    Check(
        "TL051", _W, "a policy for hosts selects no host endpoint",
        "doNotTrack, preDNAT and applyOnForward concern host endpoints only; on pods they have no effect.",
        "Correct the selector, or create host endpoints.",
    ),
    Check(
        "TL060", _W, "a part of the Kubernetes policy is left out",
        "It cannot be expressed, so it allows nothing.",
        "Correct the field.",
    ),
    Check(
        "TL061", _W, "the staged policy would take away what is not there",
        "`stagedAction: Delete` speaks of a policy of the same name, and there is none.",
        "Correct the name, or remove the staged policy.",
    ),
)  # fmt: skip

CHECKS = {check.id: check for check in _ALL}
"""By id, in order."""
