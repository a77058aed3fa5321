"""The clusters that ship with nnray are valid, safe by default, and install what the package needs."""

from __future__ import annotations

import copy
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
FOR_RAY_UP = {"aws": "cluster.yaml", "local": "cluster/on_premises.yaml", "gcp": "cluster/gcp.yaml"}
# What Ray reads of a provider, and what its schema leaves open.
PROVIDER = {
    "aws": {"type", "region", "availability_zone", "cache_stopped_nodes"},
    "gcp": {"type", "region", "availability_zone", "project_id", "cache_stopped_nodes"},
    "local": {"type", "head_ip", "worker_ips"},
}
# https://cloud.google.com/compute/docs/reference/rest/v1/instances/insert, as far as it is used here
GCP_INSTANCE = {
    "machineType": None,
    "disks": {
        "boot": None,
        "autoDelete": None,
        "type": None,
        "initializeParams": {"diskSizeGb": None, "sourceImage": None},
    },
    "scheduling": {"provisioningModel": None, "automaticRestart": None, "onHostMaintenance": None},
}


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text())


@pytest.fixture(params=list(FOR_RAY_UP.values()), ids=list(FOR_RAY_UP))
def cluster(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A configuration for ``ray up``."""
    return read(request.param)


def node_configs(cluster: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: kind["node_config"] for name, kind in cluster["available_node_types"].items()}


def test_ray_takes_it(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    assert set(cluster["provider"]) <= PROVIDER[cluster["provider"]["type"]]
    for command in prepared["head_start_ray_commands"][-1:]:
        assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in command


def test_mistakes_would_be_seen(cluster: dict[str, Any]) -> None:
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(ValidationError, match="max_worker"):
        validate_config(prepare_config({**copy.deepcopy(cluster), "max_worker": 2}))


def test_only_who_has_the_token_gets_in(cluster: dict[str, Any]) -> None:
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert cluster["setup_commands"][0] == "chmod 600 ~/.ray/auth_token"
    starts = [*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]]
    starts = [command for command in starts if "ray start" in command]
    assert len(starts) == 2
    stores = {re.search(r"NNRAY_STORE=(\S+)", command)[1] for command in starts}
    assert len(stores) == 1
    assert all("RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert f"NNRAY_STORE={stores.pop()} >> ~/.bashrc" in cluster["setup_commands"][-1]


def test_what_the_package_is_built_from_is_copied(cluster: dict[str, Any]) -> None:
    """Each source exists, and nothing that the build needs is missing."""
    sources = {target.removeprefix("~/nnray/"): source for target, source in cluster["file_mounts"].items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {"pyproject.toml", "constraints.txt", project["project"]["readme"], *project["project"]["license-files"]}
    needed |= {pattern.removesuffix("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert needed <= set(sources)
    assert all((ROOT / source).exists() for source in sources.values() if not source.startswith("~"))
    install = next(command for command in cluster["setup_commands"] if "~/nnray[cluster]" in command)
    assert "--constraint ~/nnray/constraints.txt" in install
    assert "cluster" in project["project"]["optional-dependencies"]


def test_shell_commands_are_well_formed(cluster: dict[str, Any]) -> None:
    for key, commands in cluster.items():
        for command in commands if key.endswith("commands") else ():
            done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
            assert done.returncode == 0, f"{command}: {done.stderr}"


def test_the_machines_on_aws_are_what_aws_knows() -> None:
    from botocore.loaders import Loader
    from botocore.model import ServiceModel
    from botocore.validate import ParamValidator

    shape = ServiceModel(Loader().load_service_model("ec2", "service-2")).operation_model("RunInstances").input_shape
    for name, config in node_configs(read("cluster.yaml")).items():
        whole = {**config, "MinCount": 1, "MaxCount": 1}  # as Ray adds them
        assert not ParamValidator().validate(whole, shape).has_errors(), name
        assert _unknown_members(whole, shape) == [], name
    wrong = {"InstanceType": "m6i.xlarge", "InstanceMarketOption": {}, "BlockDeviceMappings": [{"Ebs": {"Size": 1}}]}
    assert _unknown_members(wrong, shape) == ["InstanceMarketOption", "BlockDeviceMappings.Ebs.Size"]


def _unknown_members(value: Any, shape: Any) -> list[str]:
    if shape.type_name == "list":
        return [name for each in value for name in _unknown_members(each, shape.member)]
    if shape.type_name != "structure":
        enum = getattr(shape, "enum", None)
        return [f"={value}"] if enum and value not in enum else []
    unknown = []
    for name, inner in value.items():
        if name not in shape.members:
            unknown.append(name)
        else:
            unknown += [f"{name}.{below}" for below in _unknown_members(inner, shape.members[name])]
    return unknown


def test_the_machines_on_gcp_have_known_keys_alone() -> None:
    def unknown(value: Any, known: Any) -> list[str]:
        if isinstance(value, list):
            return [name for each in value for name in unknown(each, known)]
        if known is None:
            return []
        return [name for name in value if name not in known] + [
            below for name in value if name in known for below in unknown(value[name], known[name])
        ]

    for name, config in node_configs(read("cluster/gcp.yaml")).items():
        assert unknown(config, GCP_INSTANCE) == [], name


@pytest.mark.parametrize("name", ["cluster.yaml", "cluster/gcp.yaml"])
def test_trials_run_on_spot_workers_that_come_and_go(name: str) -> None:
    cluster = read(name)
    kinds = cluster["available_node_types"]
    assert kinds[cluster["head_node_type"]]["resources"] == {"CPU": 0}
    worker = kinds["gpu"]
    assert (worker["min_workers"], worker["max_workers"]) == (0, cluster["max_workers"])
    config = worker["node_config"]
    spot = config.get("InstanceMarketOptions", {}).get("MarketType") or config["scheduling"]["provisioningModel"]
    assert spot.lower() == "spot"


def test_kubernetes() -> None:
    """The structure that KubeRay's RayCluster asks for; names within it fit together."""
    claim, cluster = yaml.safe_load_all((ROOT / "cluster/kubernetes.yaml").read_text())
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    spec = cluster["spec"]
    assert set(spec) == {
        "rayVersion",
        "authOptions",
        "enableInTreeAutoscaling",
        "autoscalerOptions",
        "headGroupSpec",
        "workerGroupSpecs",
    }
    assert spec["authOptions"] == {"mode": "token"}
    assert f"ray=={spec['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()
    assert f"rayproject/ray:{spec['rayVersion']}-" in (ROOT / "cluster/Dockerfile").read_text()
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": claim["metadata"]["name"]}
        assert {"name": "NNRAY_STORE", "value": "/mnt/nnray/store"} in container["env"]
        assert container["volumeMounts"][0]["mountPath"] == "/mnt/nnray"
        assert container["resources"]["limits"] == container["resources"]["requests"]
    assert len({group["template"]["spec"]["containers"][0]["image"] for group in groups}) == 1
    assert groups[0]["rayStartParams"]["num-cpus"] == "0"
    assert groups[1]["minReplicas"] <= groups[1]["replicas"] <= groups[1]["maxReplicas"]
