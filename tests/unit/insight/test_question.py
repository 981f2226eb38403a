"""Questions as a person writes them."""

import pytest

from tortie.base.net import Family
from tortie.insight.errors import InsightError
from tortie.insight.question import Question, parse_question


def test_icmp_is_of_either_family_and_icmpv6_of_one() -> None:
    assert parse_question("icmp/8") == Question(protocol=1, port=8)
    assert parse_question("icmp", family=Family.V6) == Question(protocol=1, family=Family.V6)
    for text in ("icmpv6/128", "ICMPv6/128", "58/128"):
        assert parse_question(text) == Question(protocol=58, port=128, family=Family.V6)


@pytest.mark.parametrize(
    ("text", "family", "problem"),
    [
        ("icmpv6", Family.V4, "not sent over IPv4; write icmp"),
        ("icmp/8/0/1", None, "write icmp, icmp/TYPE or icmp/TYPE/CODE"),
        ("icmp/256", None, "from 0 to 255"),
        ("tcp", None, "Write tcp/80"),
        ("udplite/7", None, "has no ports; write udplite"),
        ("tpc/80", None, "is unknown: use icmp, tcp"),
        ("icmp/²", None, "from 0 to 255"),
        ("tcp/٣", None, "from 0 to 65535"),
        ("²", None, "is unknown: use icmp, tcp"),
        pytest.param("tcp/" + "9" * 5000, None, "from 0 to 65535", id="a long number"),
        pytest.param("9" * 5000, None, "is unknown: use icmp, tcp", id="a long protocol"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_to_write(text: str, family: Family | None, problem: str) -> None:
    with pytest.raises(InsightError, match=problem):
        parse_question(text, family=family)
