"""Files are completed as an API server would, then converted."""

from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.kubernetes import KubernetesNetworkPolicy, Namespace, Pod, PodSpec
from tortie.api.profile import Profile
from tortie.api.resource import Key, Metadata
from tortie.convert.offline import convert_offline


def test_a_lone_pod_gets_its_namespace_and_service_account() -> None:
    updates = dict(convert_offline([Pod(metadata=Metadata(name="p"), spec=PodSpec(node_name="n"))]))
    endpoint = updates[Key("WorkloadEndpoint", "default", "n-k8s-p-eth0")]
    assert isinstance(endpoint, WorkloadEndpoint)
    assert endpoint.spec.profiles == ("kns.default", "ksa.default.default")
    assert set(updates) == {
        endpoint.key,
        Key("Profile", "", "kns.default"),
        Key("Profile", "", "ksa.default.default"),
    }


def test_a_given_namespace_is_kept_and_carries_its_name_as_a_label() -> None:
    namespace = Namespace(metadata=Metadata(name="shop", labels={"team": "a"}))
    policy = KubernetesNetworkPolicy(metadata=Metadata(name="p", namespace="shop"))
    updates = convert_offline([policy, namespace])
    assert [key.kind for key, _ in updates] == ["KubernetesNetworkPolicy", "Profile"]
    profile = updates[1].value
    assert isinstance(profile, Profile)
    assert profile.spec.labels_to_apply == {
        "pcns.team": "a",
        "pcns.kubernetes.io/metadata.name": "shop",
        "pcns.projectcalico.org/name": "shop",
    }


def test_pods_without_network_of_their_own_are_left_out() -> None:
    pods = [
        Pod(metadata=Metadata(name="a", namespace="x"), spec=PodSpec(node_name="n", host_network=True)),
        Pod(metadata=Metadata(name="b", namespace="x")),
    ]
    assert not [key for key, _ in convert_offline(pods) if key.kind == "WorkloadEndpoint"]
