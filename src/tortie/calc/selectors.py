"""v3 selectors become selectors over labels as the graph sees them (selectors.md, section 7).

Parts are put together as text. Each part is parsed by itself first, so that no part can close another's parenthesis.
"""

from tortie.api.policy import EntityRule, GlobalNetworkPolicy, NetworkPolicy, ServiceAccountMatch
from tortie.api.selector import Selector, SelectorError, parse_selector

NAMESPACE = "projectcalico.org/namespace"
ORCHESTRATOR = "projectcalico.org/orchestrator"
SERVICE_ACCOUNT = "projectcalico.org/serviceaccount"
NAMESPACE_PREFIX = "pcns."
SERVICE_ACCOUNT_PREFIX = "pcsa."


def policy_selector(policy: NetworkPolicy | GlobalNetworkPolicy) -> Selector:
    """Which endpoints a policy applies to. Raises SelectorError."""
    spec = policy.spec
    parse_selector(spec.selector)
    if isinstance(policy, NetworkPolicy):
        text = in_namespace(policy.metadata.namespace)
        if spec.selector:
            text = f"({spec.selector}) && {text}"
        if spec.service_account_selector:
            text = f"({text}) && {_prefixed(spec.service_account_selector, SERVICE_ACCOUNT_PREFIX)}"
        return parse_selector(text)
    text = spec.selector
    if policy.spec.namespace_selector:
        text = _both(text, _prefixed(policy.spec.namespace_selector, NAMESPACE_PREFIX))
        text = text.replace("all()", f"has({NAMESPACE})")
    if spec.service_account_selector:
        text = _both(text, _prefixed(spec.service_account_selector, SERVICE_ACCOUNT_PREFIX))
        text = text.replace("all()", f"has({SERVICE_ACCOUNT})")
    return parse_selector(text)


def scope_selector(policy: NetworkPolicy | GlobalNetworkPolicy) -> Selector:
    """All endpoints that a policy could apply to, whatever its selectors say. Never fails."""
    try:
        return parse_selector(in_namespace(policy.metadata.namespace) if isinstance(policy, NetworkPolicy) else "all()")
    except SelectorError:
        return parse_selector("all()")


def in_namespace(namespace: str) -> str:
    """Text that selects what lies in a namespace."""
    return f"{NAMESPACE} == '{namespace}'"


def rule_selectors(side: EntityRule, namespace: str) -> tuple[Selector | None, Selector | None]:
    """What one side of a rule demands and excludes: (positive, negative), at most one of them if either is there.

    A negative selector is folded into a positive one; alone it stays alone, so that it also passes addresses which belong to
    no endpoint. `namespace` is the policy's, "" for global policies and profiles. Raises SelectorError.
    """
    positive = _positive(side, namespace)
    if not side.not_selector:
        return (parse_selector(positive) if positive else None), None
    negative = parse_selector(side.not_selector)
    if not positive:
        return None, negative
    return parse_selector(f"({positive}) && (!({side.not_selector}))"), None


def _positive(side: EntityRule, namespace: str) -> str:
    ns = ""
    if side.namespace_selector:
        ns = _prefixed(side.namespace_selector, NAMESPACE_PREFIX)
        ns = ns.replace("all()", f"has({NAMESPACE})").replace("global()", f"!has({NAMESPACE})")
    elif namespace:
        ns = in_namespace(namespace)
    accounts = _service_accounts(side.service_accounts)
    if side.selector:
        parse_selector(side.selector)
    own = f"({accounts}) && ({side.selector})" if accounts and side.selector else accounts or side.selector
    if ns and (own or side.not_selector or side.namespace_selector):
        return f"({ns}) && ({own})" if own else ns
    return own


def _service_accounts(match: ServiceAccountMatch | None) -> str:
    if match is None:
        return ""
    names = ""
    if match.names:
        listed = ", ".join(f'"{name}"' for name in match.names)
        names = parse_selector(f"{SERVICE_ACCOUNT} in {{{listed}}}").text
    if not match.selector:
        return names
    prefixed = _prefixed(match.selector, SERVICE_ACCOUNT_PREFIX)
    return f"({prefixed}) && ({names})" if names else prefixed


def _prefixed(text: str, prefix: str) -> str:
    return parse_selector(text).prefixed(prefix).text


def _both(first: str, second: str) -> str:
    return f"({first}) && {second}" if first else second
