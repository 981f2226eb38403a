"""Paths and stored bytes are Calico's: tests/golden/datastore holds one stored object of every kind."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.api.ipam import BlockAffinity, BlockAffinitySpec, IPAMBlock, IPAMBlockSpec, affinity_name, block_name
from tortie.api.kinds import KINDS
from tortie.api.policy import NetworkPolicy
from tortie.api.resource import Key, Metadata
from tortie.datastore.codec import decode, encode
from tortie.datastore.errors import Incompatible, InvalidRequest
from tortie.datastore.layout import KUBERNETES_ROOT, V3_ROOT, check_key, key_of, path_of, path_of_key, prefixes_of

GOLDEN = Path("tests/golden/datastore")
FILES = sorted(GOLDEN.glob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_calico_stores_is_read_and_written_back_the_same(file: Path) -> None:
    stored = json.loads(file.read_text())
    path, value = stored["path"], json.dumps(stored["value"]).encode()
    key = key_of(path)
    assert key is not None
    assert key.kind == file.stem.partition("-")[0]
    resource = decode(key, path, value, revision="7")
    assert resource.key == key
    assert resource.metadata.resource_version == "7"
    assert json.loads(encode(resource)) == stored["value"]
    assert path_of(resource) == path
    assert path.startswith(prefixes_of(key.kind))
    assert path_of_key(key) == (None if key.kind == "BlockAffinity" else path)


def test_every_kind_has_a_golden_object() -> None:
    assert {file.stem.partition("-")[0] for file in FILES} == set(KINDS)


def test_the_annotation_that_repeats_the_name_is_never_seen() -> None:
    policy = NetworkPolicy(metadata=Metadata(name="default.a", namespace="default", annotations={"mine": "kept"}))
    stored = encode(policy)
    assert json.loads(stored)["metadata"]["annotations"]["projectcalico.org/metadata"] == '{"name":"default.a"}'
    assert decode(policy.key, path_of(policy), stored, revision="").metadata.annotations == {"mine": "kept"}


def test_neither_revision_nor_managed_fields_are_stored() -> None:
    policy = NetworkPolicy(
        metadata=Metadata(name="a", namespace="b", resource_version="9", managed_fields=[{"x": 1}], self_link="/y")
    )
    assert set(json.loads(encode(policy))["metadata"]) == {"name", "namespace", "annotations"}


def test_nulls_where_go_writes_them_are_read_as_empty() -> None:
    path = "/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-30"
    key = Key("IPAMBlock", "", "10-0-0-0-30")
    block = decode(
        key,
        path,
        b'{"cidr":"10.0.0.0/30","allocations":null,"unallocated":null,"attributes":[{"handle_id":null,"secondary":null}],'
        b'"hostAffinity":"old","sequenceNumberForAllocation":null}',
        revision="1",
    )
    assert isinstance(block, IPAMBlock)
    assert block.spec.affinity == "host:old"
    assert block.spec.attributes[0].handle_id == ""
    affinity_path = "/calico/ipam/v2/host/n/ipv4/block/10.0.0.0-30"
    empty = decode(Key("BlockAffinity", "", "n-10-0-0-0-30"), affinity_path, b"", revision="1")
    assert isinstance(empty, BlockAffinity)
    assert empty.spec.state == "confirmed"


@pytest.mark.parametrize("cidr", ["", "x", "10.0.0.1/30", "10.0.0.0/33"])
def test_a_block_without_a_range_cannot_be_read(cidr: str) -> None:
    path = "/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-30"
    with pytest.raises(Incompatible, match="cannot be read"):
        decode(Key("IPAMBlock", "", "10-0-0-0-30"), path, json.dumps({"cidr": cidr}).encode(), revision="1")


def test_a_missing_flag_of_a_stored_ipam_configuration_is_false() -> None:
    config = decode(Key("IPAMConfiguration", "", "default"), "/calico/ipam/v2/config", b"{}", revision="1")
    assert msgspec.to_builtins(config)["spec"] == {"autoAllocateBlocks": False}


@pytest.mark.parametrize("data", [b"", b"[]", b'{"spec": {"order": "x"}}', b"\xff"])
def test_bytes_of_another_shape_name_the_key(data: bytes) -> None:
    with pytest.raises(Incompatible, match=r"stored Tier\(a\) cannot be read"):
        decode(Key("Tier", "", "a"), V3_ROOT + "tiers/a", data, revision="1")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        V3_ROOT,
        V3_ROOT + "tiers",
        V3_ROOT + "tiers/",
        V3_ROOT + "tiers/a/b",
        V3_ROOT + "networkpolicies/a",
        V3_ROOT + "tiersx/a",
        V3_ROOT + "unheard/a",
        V3_ROOT + "namespaces/a",
        KUBERNETES_ROOT + "tiers/a",
        "/calico/ipam/v2/handle/",
        "/calico/ipam/v2/host/node-1",
        "/calico/ipam/v2/host/node-1/ipv6/block/10.0.0.0-26",
        "/calico/ipam/v2/other/node-1/ipv4/block/10.0.0.0-26",
        "/calico/ipam/v2/assignment/ipv6/block/10.0.0.0-26",
        "/calico/ipam/v2/assignment/ipv4/block/nonsense",
        "/calico/felix/v1/host/a/endpoint/b",
    ],
)
def test_foreign_paths_have_no_key(path: str) -> None:
    assert key_of(path) is None


names = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,20}[a-z0-9])?", fullmatch=True)


@given(
    kind=st.sampled_from(sorted(set(KINDS) - {"IPAMBlock", "BlockAffinity", "IPAMConfiguration"})), name=names, namespace=names
)
def test_key_to_path_and_back_is_the_same_key(kind: str, name: str, namespace: str) -> None:
    key = Key(kind, namespace if KINDS[kind].namespaced else "", name)
    check_key(key)
    path = path_of_key(key)
    assert path is not None
    assert path.startswith(prefixes_of(kind))
    assert key_of(path) == key


@given(network=st.ip_addresses(v=4) | st.ip_addresses(v=6), node=names)
def test_blocks_and_affinities_go_to_their_path_and_back(network: object, node: str) -> None:
    cidr = f"{network}/{32 if ':' not in str(network) else 128}"
    block = IPAMBlock(metadata=Metadata(name=block_name(cidr)), spec=IPAMBlockSpec(cidr=cidr))
    affinity = BlockAffinity(
        metadata=Metadata(name=affinity_name(node, cidr)), spec=BlockAffinitySpec(state="pending", node=node, cidr=cidr)
    )
    assert key_of(path_of(block)) == block.key
    assert path_of_key(block.key) == path_of(block)
    assert key_of(path_of(affinity)) == affinity.key
    assert decode(affinity.key, path_of(affinity), encode(affinity), revision="") == affinity


def test_a_block_name_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"IPAMBlock\(nonsense\)"):
        path_of_key(Key("IPAMBlock", "", "nonsense"))
