#!/usr/bin/env python3
"""Checks that everything that deploy/ refers to exists in the program: check.py FOLDER. RUNLOG is the path of the binary.
Settings and commands are looked up in its help, routes in its list of routes, and metrics with their labels in the output
of a service that has stored, collected and delivered something."""

import json
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import yaml
from compose_spec import ComposeSpecification

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
sys.path.insert(0, str(ROOT / "tests/endurance"))
import harness  # noqa: E402

problems: list[str] = []


def expect(condition: bool, problem: str) -> None:
    if not condition:
        problems.append(problem)


def documents(folder: Path) -> list[dict]:
    files = sorted(folder.glob("*.yaml"))
    return [document for file in files for document in yaml.safe_load_all(file.read_text()) if document]


# --- settings -------------------------------------------------------------------------------------------------------

def settings_of_program() -> set[str]:
    """The variables that the commands read, according to their help."""
    names = set()
    for command in ("serve", "collect", "doctor"):
        names.update(re.findall(r"\[env: (RUNLOG_[A-Z_]+)", help_of(command)))
    return names


def help_of(*command: str) -> str:
    """The help of a command; empty if there is no such command."""
    return subprocess.run([os.environ["RUNLOG"], *command, "--help"], capture_output=True, text=True).stdout


def settings_of_deploy() -> dict[str, set[str]]:
    """The RUNLOG_ variables that each file sets."""
    found = {}
    for file in DEPLOY.rglob("*"):
        if file.is_file() and file.suffix not in (".json", ".md"):
            names = re.findall(r"\bRUNLOG_[A-Z_]+(?=\s*[=:])|(?<=name: )RUNLOG_[A-Z_]+", file.read_text())
            found[str(file.relative_to(ROOT))] = set(names)
    return found


def check_settings() -> None:
    known = settings_of_program()
    assert "RUNLOG_LISTEN" in known
    for file, names in settings_of_deploy().items():
        for name in sorted(names - known):
            expect(False, f"{file} sets {name}, which no command reads")


# --- Kubernetes and compose -----------------------------------------------------------------------------------------

def check_upstreams(folder: Path, found: list[dict]) -> None:
    """The program accepts the settings of the collectors."""
    maps = [it for it in found if it["kind"] == "ConfigMap" and "runlog.toml" in it["data"]]
    assert maps
    for it in maps:
        file = folder / "runlog.toml"
        file.write_text(it["data"]["runlog.toml"])
        command = [os.environ["RUNLOG"], "status", "--settings", str(file), "--data", str(folder / "data")]
        tried = subprocess.run(command, env={**os.environ, "TALEND_TOKEN": "x"}, capture_output=True, text=True)
        expect(tried.returncode == 0, f"the settings of {it['metadata']['name']} are not accepted: {tried.stderr}")


def check_kubernetes(found: list[dict], routes: set[str]) -> None:
    """What the chart makes of values: the documents refer to each other, and to what the program has."""
    known = settings_of_program()
    named = {(it["kind"], it["metadata"]["name"]): it for it in found}
    deployments = [it for it in found if it["kind"] == "Deployment"]
    expect(len(deployments) == 2, f"there are {len(deployments)} Deployments")
    expect(not any(it["kind"] == "Secret" for it in found), "the chart makes a Secret")
    labels, named_ports = [], []
    for deployment in deployments:
        name, pod = deployment["metadata"]["name"], deployment["spec"]["template"]
        labels.append(pod["metadata"]["labels"])
        expect(selects(deployment["spec"]["selector"], labels[-1:]), f"{name} does not select its own pods")
        scaled = [it["spec"] for it in found if it["kind"] == "HorizontalPodAutoscaler" and it["spec"]["scaleTargetRef"]["name"] == name]
        expect(bool(scaled) != ("replicas" in deployment["spec"]), f"the replicas of {name} are set by two, or by nobody")
        least = scaled[0]["minReplicas"] if scaled else deployment["spec"].get("replicas", 0)
        expect(least >= 2, f"{name} has fewer than two replicas")
        expect(("PodDisruptionBudget", name) in named, f"{name} has no PodDisruptionBudget")
        expect(("ServiceAccount", pod["spec"]["serviceAccountName"]) in named, f"{name} has no service account")
        expect(pod["spec"]["securityContext"]["runAsNonRoot"], f"{name} runs as root")
        for container in pod["spec"]["containers"]:
            expect(container["securityContext"]["readOnlyRootFilesystem"], f"{name} writes to its image")
            if container["args"] == ["serve"]:
                mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
                bounds = {volume["name"]: volume.get("emptyDir", {}).get("sizeLimit") for volume in pod["spec"]["volumes"]}
                expect(bool(bounds.get(mounted.get("/tmp"))), f"{name} has no bounded folder for temporary files")
            ports = {port["name"] for port in container.get("ports", [])}
            named_ports.append(ports)
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
            expect(mounted == volumes.keys(), f"{name} mounts other volumes than it defines")
            for volume in volumes.values():
                settings = volume.get("configMap", {}).get("name")
                expect(settings is None or ("ConfigMap", settings) in named, f"{name} mounts a ConfigMap that does not exist")
            check_syslog(name, container, settings_mounted(volumes, named))
            set_here = {variable["name"] for variable in container["env"]}
            for source in container.get("envFrom", []):
                if "configMapRef" in source:
                    settings = named.get(("ConfigMap", source["configMapRef"]["name"]))
                    expect(settings is not None, f"{name} refers to a ConfigMap that does not exist")
                    set_here |= (settings or {"data": {}})["data"].keys()
            for variable in set_here:
                expect(not variable.startswith("RUNLOG_") or variable in known, f"{name} sets {variable}, which no command reads")
            expect({"RUNLOG_CATALOG", "RUNLOG_OBJECTS"} <= set_here, f"{name} does not know the archive")
            command = container["args"][0]
            for variable in set_here & {"RUNLOG_ICEBERG"}:
                expect(f"env: {variable}" in help_of(command), f"{name} sets {variable}, which `runlog {command}` does not read")
            for probe in (container[key]["httpGet"] for key in container if key.endswith("Probe") and "httpGet" in container[key]):
                expect(f"GET {probe['path']}" in routes, f"{name} probes {probe['path']}, which is not a route")
                expect(probe["port"] in ports, f"{name} probes a port that it does not define")
    services = {it["metadata"]["name"]: it for it in found if it["kind"] == "Service"}
    for it in found:
        place = f"{it['kind']} {it['metadata']['name']}"
        if it["kind"] in ("Service", "PodDisruptionBudget"):
            expect(selects(it["spec"]["selector"], labels), f"{place} selects nothing")
            for port in it["spec"].get("ports", []):
                expect(port["targetPort"] in {name for ports in named_ports for name in ports}, f"{place} leads to no port")
        elif it["kind"] == "NetworkPolicy":
            of_all = all(selects(it["spec"]["podSelector"], [pod]) for pod in labels)
            expect(of_all, f"{place} does not select all pods")
            containers = [one for deployment in deployments for one in deployment["spec"]["template"]["spec"]["containers"]]
            ports = {(port["containerPort"], port.get("protocol", "TCP")) for one in containers for port in one.get("ports", [])}
            opened = {(port["port"], port["protocol"]) for rule in it["spec"]["ingress"] for port in rule["ports"]}
            expect(opened == ports, f"{place} opens other ports")
        elif it["kind"] == "Ingress":
            backends = [path["backend"]["service"] for rule in it["spec"]["rules"] for path in rule["http"]["paths"]]
            for backend in backends:
                ports = services[backend["name"]]["spec"]["ports"]
                expect(backend["port"]["name"] in {port["name"] for port in ports}, f"{place} leads to no port")
        elif it["kind"] == "ServiceMonitor":
            of_services = [service["metadata"]["labels"] for service in services.values()]
            expect(selects(it["spec"]["selector"], of_services), f"{place} selects no service")
            # The rules and the dashboard expect this name of the job.
            jobs = {service.get(it["spec"]["jobLabel"]) for service in of_services}
            expect(jobs == {"runlog"}, f"{place} makes jobs named {jobs}")
            for endpoint in it["spec"]["endpoints"]:
                expect(f"GET {endpoint['path']}" in routes, f"{place} scrapes {endpoint['path']}, which is not a route")


def settings_mounted(volumes: dict[str, dict], named: dict) -> dict:
    """The settings file of a pod; empty if it has none."""
    maps = [volume["configMap"]["name"] for volume in volumes.values() if "configMap" in volume]
    texts = [named["ConfigMap", it]["data"].get("runlog.toml", "") for it in maps if ("ConfigMap", it) in named]
    return tomllib.loads("\n".join(texts))


def check_syslog(name: str, container: dict, settings: dict) -> None:
    """The ports of a container are those on which its settings receive syslog."""
    table = settings.get("syslog", {})
    listened = {(int(table[kind].rsplit(":", 1)[1]), "UDP" if kind == "udp" else "TCP") for kind in ("tcp", "tls", "udp") if kind in table}
    ports = {(port["containerPort"], port.get("protocol", "TCP")) for port in container.get("ports", []) if port["name"].startswith("syslog-")}
    expect(listened == ports, f"{name} has the ports {ports} for syslog, and its settings {listened}")


def selects(selector: dict, labels: list[dict]) -> bool:
    """True if a selector matches one of these sets of labels."""
    wanted = selector.get("matchLabels", selector)
    return bool(wanted) and any(wanted.items() <= one.items() for one in labels)


def check_chart(folder: Path, routes: set[str]) -> None:
    """The chart with each set of values in its folder ci, rendered into a folder of the same name."""
    sets = sorted((DEPLOY / "helm/runlog/ci").glob("*-values.yaml"))
    assert sets
    kinds = set()
    for values in sets:
        found = documents(folder / values.name.removesuffix("-values.yaml") / "runlog/templates")
        kinds |= {it["kind"] for it in found}
        # All pods seal logs in the same way.
        maps = [it["data"] for it in found if it["kind"] == "ConfigMap" and "RUNLOG_OBJECTS" in it["data"]]
        wanted = yaml.safe_load(values.read_text()).get("iceberg", {}).get("enabled", False)
        expect([it.get("RUNLOG_ICEBERG") for it in maps] == ["true" if wanted else None], f"{values.name}: iceberg.enabled has no effect")
        check_kubernetes(found, routes)
        check_upstreams(folder, found)
    expect({"HorizontalPodAutoscaler", "Ingress", "NetworkPolicy", "ServiceMonitor"} <= kinds, f"the sets of values cover only {sorted(kinds)}")
    chart = yaml.safe_load((DEPLOY / "helm/runlog/Chart.yaml").read_text())
    version = subprocess.run([os.environ["RUNLOG"], "--version"], capture_output=True, text=True).stdout.split()[-1]
    expect(chart["appVersion"] == version, f"appVersion of the chart is {chart['appVersion']}, and the program is {version}")


def check_compose() -> None:
    file = DEPLOY / "container/compose.yaml"
    content = yaml.safe_load(file.read_text())
    services = ComposeSpecification.model_validate(content).model_dump()["services"]
    assert len(services) == len(content["services"])
    variables = set(re.findall(r"\$\{([A-Z_]+)", file.read_text()))
    example = (DEPLOY / "container/example.env").read_text()
    for variable in variables:
        expect(re.search(rf"^#?{variable}=", example, re.M) is not None, f"example.env does not contain {variable}")
    for name, service in content["services"].items():
        if service.get("read_only"):
            writable = [volume.split(":")[1] for volume in service.get("volumes", [])]
            expect("/tmp" in writable, f"{name} has no folder for temporary files")
        for other in service.get("depends_on", {}):
            expect(other in services, f"{name} depends on {other}, which does not exist")


# --- metrics --------------------------------------------------------------------------------------------------------

SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? [-+0-9.eInfNa]+$", re.M)


def metrics_of_program(service: harness.Service) -> dict[str, set[str]]:
    """Each metric with the names of its labels, from a service that has stored a run, and from one that has collected it."""
    token, task = harness.make_task(service)

    def call(method: str, path: str, body: str = "") -> str:
        status, answer = harness.ask(service.port, method, path, body, {"Authorization": f"Bearer {token}"})
        assert 200 <= status < 300, f"{method} {path}: {status} {answer!r}"
        return answer.decode()

    run = "00000000-0000-4000-8000-000000000001"
    call("PUT", f"/runlog/v1/runs/{run}", json.dumps({"taskId": task}))
    call("POST", f"/runlog/v1/runs/{run}/records", '{"logTimestamp":1,"logMessage":"hello"}\n')
    call("POST", f"/runlog/v1/runs/{run}/finish", '{"status":"execution_successful"}')
    call("POST", f"/monitoring/executions/{run}/logs")
    return {**metrics_in(call("GET", "/metrics")), **metrics_of_collector(service, token)}


def metrics_in(text: str) -> dict[str, set[str]]:
    return {name: set(re.findall(r'(\w+)="', labels)) for name, labels in SAMPLE.findall(text)}


def metrics_of_collector(upstream: harness.Service, token: str) -> dict[str, set[str]]:
    """The same from another service, which collects from the first and delivers to files."""
    folder = upstream.data.parent
    settings = folder / "runlog.toml"
    settings.write_text(f'''
[[upstream]]
name = "first"
url = "http://127.0.0.1:{upstream.port}"
token = {{ env = "UPSTREAM_TOKEN" }}
pace = "8,600"
settle = "0s"
[[sink]]
name = "files"
kind = "files"
folder = "{folder}/delivered"
''')
    service = harness.Service(folder / "second", ["--settings", str(settings)], {"UPSTREAM_TOKEN": token})
    try:
        assert service.wait(), service.log.read_text()
        token = (service.data / "admin.token").read_text().strip()
        until = time.monotonic() + 60
        while time.monotonic() < until:
            _, text = harness.ask(service.port, "GET", "/metrics", None, {"Authorization": f"Bearer {token}"})
            if b'state="landed"} 1' in text and b"runlog_sink_runs{" in text:
                return metrics_in(text.decode())
            time.sleep(0.2)
        raise SystemExit(f"nothing was collected and delivered in a minute: {text!r} {service.log.read_text()}")
    finally:
        service.stop()


def expressions() -> list[tuple[str, str]]:
    """Every expression, and where it is used."""
    found = []
    for group in yaml.safe_load((DEPLOY / "prometheus/rules.yaml").read_text())["groups"]:
        found.extend((f"rule {rule.get('alert', rule.get('record'))}", rule["expr"]) for rule in group["rules"])
    dashboard = json.loads((DEPLOY / "grafana/runlog.json").read_text())
    for panel in dashboard["panels"]:
        found.extend((f"panel {panel['title']}", target["expr"]) for target in panel.get("targets", []))
    found.extend(("a variable of the dashboard", it["query"]["query"]) for it in dashboard["templating"]["list"] if it["type"] == "query")
    return found


def check_expressions(metrics: dict[str, set[str]], routes: set[str]) -> None:
    paths = {route.split(" ", 1)[1] for route in routes}
    seen = set()
    for place, expression in expressions():
        named = re.findall(r"\b(runlog_\w+)(?:\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\})?", expression)
        expect(bool(named) or "runlog:" in expression or "up{" in expression, f"{place} contains no metric")
        for name, matchers in named:
            seen.add(name)
            if name not in metrics:
                expect(False, f"{place} uses {name}, which /metrics does not contain")
                continue
            for label, operator, value in re.findall(r'(\w+)(=~|!~|!=|=)"((?:[^"\\]|\\.)*)"', matchers):
                expect(label in metrics[name], f"{place} uses the label {label}, which {name} does not have")
                if label == "route":
                    matching = [path for path in paths if (re.fullmatch(value, path) if "~" in operator else value == path)]
                    expect(bool(matching), f"{place} matches no route with {value}")
        # Metrics that are grouped by a label must have it.
        for label in re.findall(r"by \(([^)]*)\)", expression):
            for one in (it.strip() for it in label.split(",")):
                has = [name for name, _ in named if one in metrics.get(name, set()) or one == "instance"]
                expect(bool(has), f"{place} groups by {one}, a label that none of its metrics has")
    assert len(seen) > 10, seen


# --- alerts ---------------------------------------------------------------------------------------------------------

def alerts() -> dict[str, dict]:
    """Every alert by its name."""
    groups = yaml.safe_load((DEPLOY / "prometheus/rules.yaml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def check_actions() -> None:
    """The commands in the actions of alerts exist, accept the flags, and terminate."""
    for name, rule in alerts().items():
        for command in re.findall(r"`runlog ([^`]+)`", rule["annotations"]["action"]):
            words = re.match(r"[a-z-]+(?: [a-z]+)*", command)[0].split()
            flags, text = re.findall(r"--[a-z-]+", command), help_of(*words)
            expect("Usage:" in text, f"{name} recommends `runlog {command}`, which does not exist")
            for flag in flags:
                expect(f"{flag} " in text or f"{flag}\n" in text, f"{name} recommends {flag}, which `runlog {command}` does not accept")
            expect(words[0] not in ("collect", "deliver", "serve") or "--once" in flags, f"{name} recommends `runlog {command}`, which does not terminate")


def check_push_routes(description: dict) -> None:
    """The alert on rejected pushes covers every route that accepts pushes."""
    expression = alerts()["RunlogTurnsPushersAway"]["expr"]
    methods, routes = (re.search(rf'{label}=~"([^"]+)"', expression)[1] for label in ("method", "route"))
    push_routes = 0
    for path, operations in description["paths"].items():
        for method in operations.keys() & {"post", "put"}:
            if "push" in operations[method]["tags"]:
                push_routes += 1
                seen = re.fullmatch(methods, method.upper()) and re.fullmatch(routes, path)
                expect(bool(seen), f"RunlogTurnsPushersAway does not cover {method.upper()} {path}")
    assert push_routes >= 5, push_routes


def main() -> None:
    folder = Path(sys.argv[1])
    service = harness.Service(folder / "data", [])
    try:
        assert service.wait(), service.log.read_text()
        status, about = harness.ask(service.port, "GET", "/")
        assert status == 200, about
        routes = set(json.loads(about)["paths"])
        check_settings()
        check_chart(folder, routes)
        check_compose()
        check_actions()
        status, description = harness.ask(service.port, "GET", "/openapi.json")
        assert status == 200, description
        check_push_routes(json.loads(description))
        check_expressions(metrics_of_program(service), routes)
    finally:
        service.stop()
    for problem in problems:
        print(problem)
    print(f"deploy: {len(problems)} problems")
    sys.exit(bool(problems))


main()
