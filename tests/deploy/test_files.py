"""What a team's administrator deploys: schemas, pinned versions, no secrets, no rights that are not needed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
MANIFESTS = sorted(file for file in KUBERNETES.glob("*.yaml") if file.name != "kustomization.yaml")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


def documents() -> Iterator[dict[str, Any]]:
    for file in MANIFESTS:
        yield from yaml.safe_load_all(file.read_text(encoding="utf-8"))


def pods() -> Iterator[dict[str, Any]]:
    for document in documents():
        if "template" in document.get("spec", {}):
            yield document["spec"]["template"]["spec"]


def check(module: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_yaml_is_clean() -> None:
    check("yamllint", "--strict", "--config-file", str(DEPLOY.parent / ".yamllint.yaml"), str(DEPLOY))


def test_compose_keeps_to_the_compose_specification() -> None:
    check("check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml"))


def test_manifests_keep_to_the_schemas_of_kubernetes() -> None:
    check("kubernetes_validate", "--strict", *map(str, MANIFESTS))
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert sorted(listed) == [file.name for file in MANIFESTS]


def test_every_image_has_the_same_exact_version_everywhere() -> None:
    images = {service["image"] for service in COMPOSE["services"].values()}
    images |= {container["image"] for pod in pods() for container in pod["containers"]}
    assert all(re.search(r":v?\d+\.\d+", image) for image in images)
    assert len({image.partition(":")[0] for image in images}) == len(images)
    kustomized = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))["images"]
    assert {f"{image['name']}:{image['newTag']}" for image in kustomized} <= images


def test_vllm_is_started_with_the_same_options_everywhere() -> None:
    (in_pod,) = (pod["containers"][0]["args"] for pod in pods() if "--enable-prefix-caching" in str(pod))
    in_compose = [re.sub(r"\$\{\w+:-(.+)\}", r"\1", one) for one in COMPOSE["services"]["vllm"]["command"]]
    assert in_pod == in_compose
    assert {"--enable-prefix-caching", "--enable-chunked-prefill"} <= set(in_pod)


def test_nothing_runs_as_root_or_writes_to_its_image() -> None:
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        for container in pod["containers"]:
            rights = container["securityContext"]
            assert rights["readOnlyRootFilesystem"]
            assert not rights["allowPrivilegeEscalation"]
            assert rights["capabilities"] == {"drop": ["ALL"]}
            assert {"requests", "limits"} <= container["resources"].keys()
    serving = {name: service for name, service in COMPOSE["services"].items() if service.get("profiles") != ["setup"]}
    for service in serving.values():
        assert not service["user"].startswith(("0", "root"))
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]


def test_only_the_proxy_is_reached_from_outside() -> None:
    reached = {name: service.get("ports") for name, service in COMPOSE["services"].items() if service.get("ports")}
    assert set(reached) == {"proxy", "prometheus"}
    assert all(port.startswith("127.0.0.1:") for port in reached["prometheus"])
    assert COMPOSE["services"]["vllm"]["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"]["internal"]
    policies = {one["metadata"]["name"]: one["spec"] for one in documents() if one["kind"] == "NetworkPolicy"}
    assert policies["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert "egress" not in policies["vllm"]
    assert [one["metadata"]["name"] for one in documents() if one.get("spec", {}).get("type") == "LoadBalancer"] == [
        "proxy"
    ]


def test_both_ways_have_the_same_proxy() -> None:
    ours, copied = DEPLOY / "nginx" / "nginx.conf", KUBERNETES / "nginx.conf"
    assert ours.read_text(encoding="utf-8") == copied.read_text(encoding="utf-8")


def test_no_file_holds_a_secret_and_all_variables_are_in_the_example() -> None:
    texts = {file: file.read_text(encoding="utf-8") for file in DEPLOY.rglob("*") if file.is_file()}
    assert not [file for file, text in texts.items() if re.search(r"PRIVATE KEY|Bearer [0-9a-f]{16}|hf_\w{20}", text)]
    assert not [one for one in documents() if one["kind"] == "Secret"]
    used = set(re.findall(r"\$\{(\w+)", texts[DEPLOY / "compose.yaml"]))
    assert used == set(re.findall(r"^(\w+)=", texts[DEPLOY / "example.env"], re.MULTILINE))
    ignored = (DEPLOY / ".gitignore").read_text(encoding="utf-8").split()
    assert {".env", "secrets/"} <= set(ignored)


@pytest.mark.parametrize("file", [DEPLOY / "nginx" / "upstream.conf", KUBERNETES / "upstream.conf"])
def test_each_developer_stays_at_one_card(file: Path) -> None:
    assert "hash $developer consistent;" in file.read_text(encoding="utf-8")
