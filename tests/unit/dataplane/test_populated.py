"""Rules do without sets that nobody is in, and only as long as nobody is."""

from tortie.base.net import Family
from tortie.dataplane.populated import Populated
from tortie.kernel.nft import objects as nft

WANTED = nft.Rule((nft.NfProto(Family.V6), nft.NetIn("source", Family.V6, "empty"), nft.DROP))
UNWANTED = nft.Rule((nft.NfProto(Family.V6), nft.NetIn("source", Family.V6, "empty", "!="), nft.DROP))
PORT = nft.Rule((nft.AddressPortIn("destination", Family.V6, "empty"), nft.DROP))
OTHER = nft.Rule((nft.NetIn("source", Family.V4, "full"), nft.DROP))
CHAIN = nft.Chain("chain", (WANTED, UNWANTED, PORT, OTHER))


def test_a_rule_that_wants_an_address_of_an_empty_set_goes_and_one_that_does_not_want_it_asks_no_more() -> None:
    populated = Populated()
    populated.leave_out("empty")
    chain, missing = populated.prune(CHAIN)
    assert chain.rules == (nft.Rule((nft.NfProto(Family.V6), nft.DROP)), OTHER)
    assert missing == {"empty"}


def test_rules_about_sets_that_are_made_stay_as_they_are() -> None:
    populated = Populated()
    assert populated.prune(CHAIN) == (CHAIN, frozenset())


def test_a_set_that_is_made_after_all_is_told_once() -> None:
    populated = Populated()
    populated.leave_out("empty")
    populated.bring_in("empty")
    populated.bring_in("full")
    assert populated.take_appeared() == {"empty"}
    assert not populated.take_appeared()
    assert populated.prune(CHAIN) == (CHAIN, frozenset())
