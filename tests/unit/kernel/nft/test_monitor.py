"""Which announcements count as somebody else's change of our table."""

from tortie.kernel.netlink import Message, text
from tortie.kernel.nft.monitor import foreign_change
from tortie.kernel.nft.uapi import INET, IPV4, Msg, header, message_type

OWN, OTHER = 100, 200


def told(*messages: Message) -> str:
    return foreign_change(messages, table="tortie", own_ports=frozenset([OWN]))


def announcement(kind: int, *, table: str = "tortie", port: int = OTHER, family: int = INET, name: str = "c") -> Message:
    return Message(message_type(kind), 0, 1, port, header(family) + text(1, table) + text(2, name) + text(3, name))


def generation(process: str, port: int = OTHER) -> Message:
    return Message(message_type(Msg.NEWGEN), 0, 1, port, header() + text(3, process))


def test_a_change_by_another_is_told_with_the_process() -> None:
    assert told(announcement(Msg.NEWRULE), announcement(Msg.NEWRULE, name="d"), generation("nft")) == (
        "rule added in chain c by nft"
    )


def test_a_change_whose_end_is_not_read_yet_is_told_without_it() -> None:
    assert told(announcement(Msg.DELSETELEM, name="s")) == "element deleted in set s"


def test_own_changes_other_tables_and_other_families_are_silent() -> None:
    assert told(announcement(Msg.NEWRULE, port=OWN), generation("tortie", OWN)) == ""
    assert told(announcement(Msg.NEWRULE, table="filter"), generation("nft")) == ""
    assert told(announcement(Msg.NEWRULE, family=IPV4), generation("nft")) == ""
    assert told() == ""


def test_a_change_behind_own_ones_is_still_seen() -> None:
    own = [announcement(Msg.NEWRULE, port=OWN), generation("tortie", OWN)]
    assert told(*own, announcement(Msg.DELTABLE), generation("nft")) == "table deleted by nft"
