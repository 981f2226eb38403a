"""What the driver is told of host endpoints when what they ask comes and goes."""

import asyncio
from typing import cast

from tortie.dataplane.host_manager import HostManager
from tortie.intent.endpoint import HostEndpoint
from tortie.intent.keys import HostEndpointId, ProfileId
from tortie.intent.messages import HostEndpointUpdate, Message, ProfileUpdate
from tortie.intent.policy import Profile
from tortie.kernel.nft.objects import Chain, Jump, SetSpec
from tortie.kernel.nft.table import NftTable

HOST, OPEN = HostEndpointId("n1", "h"), ProfileId("open")


class Recorder:
    """Stands in for the driver: the chains."""

    def __init__(self) -> None:
        self.chains: dict[str, Chain] = {}

    def put_set(self, spec: SetSpec, members: object) -> None:
        pass

    def put_chain(self, chain: Chain) -> None:
        self.chains[chain.name] = chain

    def jumps(self, word: str) -> int:
        """How many jumps lead to chains with this word in their names."""
        statements = (each for chain in self.chains.values() for rule in chain.rules for each in rule.statements)
        return sum(isinstance(each, Jump) and word in each.chain for each in statements)


def test_a_host_endpoint_follows_a_profile_that_comes_and_goes() -> None:
    table = Recorder()
    manager = HostManager(cast(NftTable, table))

    def jumps_after(message: Message) -> int:
        manager.on_update(message)
        asyncio.run(manager.apply())
        return table.jumps("open")

    assert jumps_after(HostEndpointUpdate(HOST, HostEndpoint(HOST, "eth0", profiles=(OPEN,)))) == 0
    assert jumps_after(ProfileUpdate(OPEN, Profile(OPEN, (), ()))) > 0
    assert jumps_after(ProfileUpdate(OPEN, None)) == 0
