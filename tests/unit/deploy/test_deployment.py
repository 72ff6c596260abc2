"""Files of ``deploy/`` agree with the code, with each other, and with programs that judge them."""

from __future__ import annotations

import ast
import copy
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from agents.catalog.kinds import all_kinds
from agents.catalog.registry import read_entries
from app.celeryconfig import celery_config
from app.database_url import read_database_url
from app.environment import variable_of
from app.settings import Settings
from celery_agents.redis_url import read_redis_url
from deploy import flowerconfig, make_secrets
from deploy.local import procfile
from deploy.local.state import ROOT
from tests.docs.commands import check
from tests.support.keda import ScaledObject
from tests.support.validators import found_by, needs

DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
MANIFESTS = sorted((DEPLOY / "kubernetes").rglob("*.yaml"))
OVERLAYS = sorted((DEPLOY / "kubernetes" / "overlays").iterdir())
VARIABLES = {variable_of(name) for name in Settings.model_fields}
#: Variables of compose.yaml's reader, which are none of the service.
OF_COMPOSE = {"AGENTS_VERSION", "AGENTS_PROJECT"}
SERVICE = "celery_agents.service"


def documents() -> Iterator[dict[str, Any]]:
    for path in MANIFESTS:
        yield from yaml.safe_load_all(path.read_text())


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [d for d in documents() if d["kind"] in kinds]


def container(document: dict[str, Any]) -> dict[str, Any]:
    (found,) = document["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


PODS = {d["metadata"]["name"]: d for d in of_kind("Deployment", "Job")}
COMMANDS: dict[str, list[str]] = {
    "image": json.loads(re.findall(r"^CMD (.*)$", CONTAINERFILE, re.MULTILINE)[0]),
    **{
        f"compose {n}": s["command"]
        for n, s in COMPOSE["services"].items()
        if s["image"].startswith("celery-agents")
    },
    **{f"kubernetes {name}": container(d)["command"] for name, d in PODS.items()},
    **{
        f"systemd {unit.name}": shlex.split(line.replace("/opt/celery-agents/bin/", ""))
        for unit in UNITS
        for line in re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
    },
}


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_are_those_of_the_service(name: str) -> None:
    """In exec form, with options that the programs have, and no others than the Procfile's."""
    words = COMMANDS[name]
    assert words[0] in {"celery", "python"}  # no shell, which would keep SIGTERM to itself
    line = shlex.join(words).replace(f"-A {SERVICE}", "-A app")
    check(line)
    role = next(w for w in ("upgrade", "worker", "beat", "flower", f"{SERVICE}.api") if w in words)
    ours = procfile.read(ROOT / "Procfile")
    known = {"upgrade": "release", f"{SERVICE}.api": "web"}.get(role, role)
    theirs = shlex.split(ours[known].replace("-m api", f"-m {SERVICE}.api"))
    options = [w.partition("=")[0] for w in theirs if w.startswith("-")]
    assert {w.partition("=")[0] for w in words if w.startswith("-")} <= {*options, "--hostname"}
    queues = [words[i + 1] for i, w in enumerate(words) if w == "-Q"]
    served = ",".join(q.name for q in celery_config(Settings())["task_queues"])
    assert queues == ([served] if role == "worker" else [])


def test_every_role_is_everywhere() -> None:
    roles = {"release", "worker", "beat", "web", "flower"}
    assert {n.split()[1] for n in COMMANDS if n.startswith("compose")} == roles
    assert {n.rpartition("-")[2] for n in PODS} == roles
    assert {re.split(r"[-@.]", u.name)[2] for u in UNITS} == roles


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(DEPLOY.rglob("*")) if p.is_file() and p.suffix not in {".py", ".pyc"}],
    ids=lambda p: str(p.relative_to(DEPLOY)),
)
def test_variables_are_settings(path: Path) -> None:
    named = set(re.findall(r"\bAGENTS_[A-Z_0-9]+\b", path.read_text(errors="replace")))
    assert named <= VARIABLES | OF_COMPOSE


def test_ports_agree() -> None:
    settings = Settings()
    exposed = re.findall(r"^EXPOSE (.*)$", CONTAINERFILE, re.MULTILINE)[0].split()
    health, api, flower = exposed
    assert int(api) == settings.api_port
    services = COMPOSE["services"]
    assert services["worker"]["environment"]["AGENTS_HEALTH_PORT"] == health
    for name, port in {"worker": health, "web": api, "flower": flower}.items():
        assert f":{port}/" in services[name]["healthcheck"]["test"][-1]
        ports = container(PODS[f"celery-agents-{name}"])["ports"]
        assert [p["containerPort"] for p in ports] == [int(port)]
    for name, port in {"web": api, "flower": flower}.items():
        assert services[name]["ports"] == [f"127.0.0.1:{port}:{port}"]
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "compose.yml").read_text())["scrape_configs"]
    assert scraped[0]["dns_sd_configs"][0]["port"] == int(health)
    assert scraped[1]["static_configs"][0]["targets"] == [f"web:{api}"]
    base = yaml.safe_load((DEPLOY / "kubernetes/base/kustomization.yaml").read_text())
    assert f"AGENTS_HEALTH_PORT={health}" in base["configMapGenerator"][0]["literals"]
    policies = json.dumps(of_kind("NetworkPolicy"))
    assert f'"port": {health}' in policies
    assert f'"port": {api}' in policies


def test_all_is_published_on_this_machine_alone() -> None:
    for service in COMPOSE["services"].values():
        assert all(p.startswith("127.0.0.1:") for p in service.get("ports", ()))
    assert COMPOSE["networks"]["inside"]["internal"]
    for name in ("valkey", "postgres"):
        assert COMPOSE["services"][name]["networks"] == ["inside"]


def test_the_image_has_a_python_of_ours() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    tested = {c.rpartition(" ")[2] for c in project["classifiers"] if "Python :: 3." in c}
    images = re.findall(r"^FROM python:([\d.]+)-", CONTAINERFILE, re.MULTILINE)
    assert len(set(images)) == 1
    assert set(images) <= tested
    extras = re.findall(r'^ARG EXTRAS="(.*)"$', CONTAINERFILE, re.MULTILINE)[0].split()
    assert {"worker", "api"} <= set(extras) <= project["optional-dependencies"].keys()


def test_the_image_has_all_that_the_wheel_is_built_from() -> None:
    lines = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert {p.lstrip("/") for p in hatch["targets"]["sdist"]["include"]} <= kept
    assert "deploy/secrets" in lines


def test_nothing_runs_as_root_or_writes() -> None:
    user = re.findall(r"^USER (\d+):\d+$", CONTAINERFILE, re.MULTILINE)
    assert user == ["10001"]
    for document in PODS.values():
        pod, one = document["spec"]["template"]["spec"], container(document)
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == int(user[0])
        assert not pod["automountServiceAccountToken"]
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert one["resources"]["limits"].keys() == {"memory"}  # throttled, heartbeats are late
    role = COMPOSE["x-role"]
    assert (role["user"], role["read_only"], role["cap_drop"]) == ("10001:10001", True, ["ALL"])


def test_nothing_is_killed_before_it_has_given_back() -> None:
    least = Settings().drain_grace_s * 2
    worker = PODS["celery-agents-worker"]["spec"]["template"]["spec"]
    assert worker["terminationGracePeriodSeconds"] >= least
    assert int(COMPOSE["x-role"]["stop_grace_period"].removesuffix("s")) >= least
    unit = (DEPLOY / "systemd" / "celery-agents-worker@.service").read_text()
    assert int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[0]) >= least
    assert "KillMode=mixed" in unit


def test_references_lead_somewhere() -> None:
    """Of what no program here checks: names between manifests, and between services."""
    names = {(d["kind"], d["metadata"]["name"]) for d in documents() if d.get("metadata")}
    for scaled in of_kind("HorizontalPodAutoscaler", "ScaledObject"):
        assert ("Deployment", scaled["spec"]["scaleTargetRef"]["name"]) in names
    components = {d["metadata"]["labels"]["app.kubernetes.io/component"] for d in PODS.values()}
    for chosen in of_kind("Service"):
        assert chosen["spec"]["selector"]["app.kubernetes.io/component"] in components
    for chosen in of_kind("PodDisruptionBudget"):
        assert (
            chosen["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"] in components
        )
    for document in PODS.values():
        one = container(document)
        declared = {p["name"] for p in one.get("ports", ())}
        probes = [one[k] for k in one if k.endswith("Probe")]
        assert {p["httpGet"]["port"] for p in probes} <= declared
        volumes = {v["name"] for v in document["spec"]["template"]["spec"]["volumes"]}
        assert {m["name"] for m in one["volumeMounts"]} == volumes
    services = COMPOSE["services"]
    for service in services.values():
        assert service.get("depends_on", {}).keys() <= services.keys()
        assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys()
        for volume in service.get("volumes", ()):
            source = re.sub(r"^\$\{\w+:-(.*?)\}", r"\1", volume).split(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).exists(), volume


@pytest.mark.parametrize("probe", ["/healthz", "/readyz"])
def test_workers_are_asked_what_they_answer(probe: str) -> None:
    asked = container(PODS["celery-agents-worker"])
    paths = {k: asked[k]["httpGet"]["path"] for k in asked if k.endswith("Probe")}
    # A broker that is away would otherwise have all workers restarted, amid their steps.
    assert paths == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    source = (ROOT / "app" / "maintenance" / "endpoint.py").read_text()
    assert f'"{probe}"' in source


def test_workers_are_scaled_by_rows_that_are_told() -> None:
    """Ready and running: with ready ones alone, workers are ended amid their steps."""
    (scaled,) = of_kind("ScaledObject")
    trigger = scaled["spec"]["triggers"][0]["metadata"]
    query, each = trigger["query"], float(trigger["threshold"])
    (name,) = set(re.findall(r"agents_\w+", query))
    told = ast.parse((ROOT / "app" / "telemetry" / "gauges.py").read_text())
    assert name in {n.value for n in ast.walk(told) if isinstance(n, ast.Constant)}
    assert re.findall(r'state=~"([\w|]+)"', query) == ["ready|running"]
    assert each == 0.75 * Settings().concurrency
    (hpa,) = [d for d in of_kind("HorizontalPodAutoscaler") if "worker" in d["metadata"]["name"]]
    external = hpa["spec"]["metrics"][0]["external"]
    assert external["metric"]["name"] == name
    (chosen,) = external["metric"]["selector"]["matchExpressions"]
    assert (chosen["key"], chosen["values"]) == ("state", ["ready", "running"])
    assert float(external["target"]["averageValue"]) == each


def test_keda_takes_them() -> None:
    """By the fields that its documentation has: see tests/support/keda.py."""
    (scaled,) = of_kind("ScaledObject")
    ScaledObject.model_validate(scaled)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("spec", "fallbak"), {"failureThreshold": 1, "replicas": 1}),
        (("spec", "minReplicaCount"), "2"),
        (("spec", "minReplicaCount"), 21),
        (("spec", "fallback", "replicas"), -1),
        (("spec", "triggers"), []),
        (("spec", "triggers", 0, "metadata", "threshold"), 150),
        (("spec", "triggers", 0, "metadata", "query"), None),
        (("spec", "scaleTargetRef"), {}),
        (("apiVersion",), "keda.sh/v1"),
    ],
)
def test_what_keda_does_not_take_is_found(place: tuple[Any, ...], value: Any) -> None:
    (scaled,) = of_kind("ScaledObject")
    wrong = copy.deepcopy(scaled)
    at: Any = wrong
    for part in place[:-1]:
        at = at[part]
    at[place[-1]] = value
    with pytest.raises(ValidationError):
        ScaledObject.model_validate(wrong)


def test_secrets_that_are_made_are_those_that_are_used(tmp_path: Path) -> None:
    assert set(make_secrets.make(tmp_path / "secrets")) == set(make_secrets.FILES)
    assert make_secrets.FILES.keys() == COMPOSE["secrets"].keys()
    folder = tmp_path / "secrets"
    assert folder.stat().st_mode & 0o777 == 0o700
    redis = read_redis_url((folder / "REDIS_URL").read_text())
    database = read_database_url((folder / "DATABASE_URL").read_text())
    assert redis.where == "valkey:6379"
    assert database.host == "postgres"
    assert database.password == (folder / "POSTGRES_PASSWORD").read_text()
    assert {"valkey", "postgres"} <= COMPOSE["services"].keys()
    before = {p.name: p.read_text() for p in folder.iterdir()}
    assert make_secrets.make(folder) == []
    assert {p.name: p.read_text() for p in folder.iterdir()} == before
    (folder / "POSTGRES_PASSWORD").unlink()
    with pytest.raises(SystemExit, match="have one password"):
        make_secrets.make(folder)


def test_the_agents_of_kubernetes_are_agents() -> None:
    assert read_entries(DEPLOY / "kubernetes" / "base" / "agents.toml", all_kinds())


def test_flower_is_found_by_its_link() -> None:
    assert "/opt/agents/flowerconfig.py" in CONTAINERFILE
    assert "deploy.flowerconfig)" in CONTAINERFILE
    assert Path(flowerconfig.__file__).name == "flowerconfig.py"


# -- programs that judge


@needs("yamllint")
def test_yamllint_finds_nothing() -> None:
    config = str(DEPLOY / ".yamllint.yaml")
    assert not found_by("yamllint", "--strict", "-c", config, str(DEPLOY))


@needs("hadolint")
def test_hadolint_finds_nothing() -> None:
    assert not found_by("hadolint", str(DEPLOY / "Containerfile"))


@needs("check-jsonschema")
def test_compose_is_of_its_schema() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    found_by("check-jsonschema", *schema, str(DEPLOY / "compose.yaml"))


@needs("kubectl")
@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda p: p.name)
def test_overlays_are_built(overlay: Path) -> None:
    built = list(yaml.safe_load_all(found_by("kubectl", "kustomize", str(overlay))))
    kinds = {d["kind"] for d in built}
    assert {"Deployment", "Job", "Service", "NetworkPolicy", "ConfigMap"} <= kinds
    assert ("ScaledObject" in kinds) is (overlay.name == "production")
    for document in built:
        if document["kind"] == "NetworkPolicy":  # of our pods, and nobody else's
            assert document["spec"]["podSelector"]["matchLabels"]


@needs("kubectl")
@needs("kubernetes-validate")
@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda p: p.name)
def test_kubernetes_takes_them(overlay: Path, tmp_path: Path) -> None:
    """A kind without a schema is a warning there, and success: KEDA's is, whose fields we know."""
    file = tmp_path / "built.yaml"
    file.write_text(found_by("kubectl", "kustomize", str(overlay)))
    told = found_by("kubernetes-validate", "--strict", str(file))
    warned = [line for line in told.splitlines() if line.startswith(("WARN", "ERROR"))]
    assert [w for w in warned if "kind ScaledObject" not in w] == []
    for document in yaml.safe_load_all(file.read_text()):
        if document["kind"] == "ScaledObject":
            ScaledObject.model_validate(document)


@needs("kubernetes-validate")
@pytest.mark.parametrize("version", ["1.29.0", "1.37.0"])
def test_what_is_not_patched_is_of_its_schema(version: str) -> None:
    """The same without kubectl, for the oldest and the newest version that it is tried with."""
    base = DEPLOY / "kubernetes" / "base"
    files = [str(p) for p in sorted(base.glob("*.yaml")) if p.name != "kustomization.yaml"]
    told = found_by("kubernetes-validate", "--strict", "--kubernetes-version", version, *files)
    assert [line for line in told.splitlines() if line.startswith(("WARN", "ERROR"))] == []


@needs("systemd-analyze")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    programs = Path(sys.executable).parent
    for source in (DEPLOY / "systemd").glob("celery-agents*"):
        text = source.read_text().replace("/opt/celery-agents/bin", str(programs))
        (tmp_path / source.name).write_text(text)
    (tmp_path / "celery-agents-worker@1.service").symlink_to("celery-agents-worker@.service")
    units = sorted(str(p) for p in tmp_path.iterdir() if "@." not in p.name)
    assert not found_by("systemd-analyze", "verify", *units)
    for unit in units:
        if unit.endswith(".service"):  # 10 is no protection at all
            found_by("systemd-analyze", "security", "--offline=yes", "--threshold=20", unit)
