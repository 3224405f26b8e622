"""Pods as an API server gives them: whole objects in its JSON, version after version of a scripted life.

Shapes follow the API reference and what `kubectl get pod -o json` shows of a kubelet of 1.3x: conditions with their
last change, container statuses with state and lastState, managedFields with the kubelet's writes.
"""

from __future__ import annotations

import copy
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]
NO_NODE = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
T0 = datetime(2026, 11, 20, 10, 0, 0, tzinfo=UTC)


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def us(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


class ScriptedPod:
    """A pod of a Deployment (or StatefulSet) whose life a test scripts; `json` is its current version.

    Moments are seconds after `begin`. Methods are what happens to a pod, in the words of Kubernetes.
    """

    def __init__(
        self,
        name: str,
        begin: datetime = T0,
        *,
        labels: dict[str, str] | None = None,
        containers: tuple[str, ...] = ("server",),
        init: tuple[str, ...] = (),
        sidecars: tuple[str, ...] = (),
        gates: tuple[str, ...] = (),
        namespace: str = "models",
        owner: tuple[str, str] = ("ReplicaSet", "llm-7d9fc5b8"),
    ) -> None:
        self.begin = begin
        self.containers = containers
        self.init = init
        self.json: Json = {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {
                "name": name,
                "generateName": "llm-7d9fc5b8-",
                "namespace": namespace,
                "uid": str(uuid.uuid4()),
                "resourceVersion": "1",
                "creationTimestamp": stamp(begin),
                "labels": {"app": "llm", "pod-template-hash": "7d9fc5b8", **(labels or {})},
                "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": owner[0], "name": owner[1], "uid": str(uuid.uuid4()),
                     "controller": True, "blockOwnerDeletion": True}
                ],
                "managedFields": [
                    {"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
                     "time": stamp(begin), "fieldsType": "FieldsV1",
                     "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:containers": {}}}}
                ],
            },
            "spec": {
                "volumes": [{"name": "kube-api-access-x2x9q", "projected": {"sources": [], "defaultMode": 420}}],
                "initContainers": [
                    *({"name": each, "image": "registry.example/loader:1", "resources": {}} for each in init),
                    *({"name": each, "image": "registry.example/side:1", "restartPolicy": "Always", "resources": {}}
                      for each in sidecars),
                ],
                "containers": [
                    {"name": each, "image": "registry.example/llm:7", "resources": {"limits": {"nvidia.com/gpu": "1"}},
                     "readinessProbe": {"httpGet": {"path": "/health", "port": 8000, "scheme": "HTTP"},
                                        "timeoutSeconds": 1, "periodSeconds": 5, "failureThreshold": 3}}
                    for each in containers
                ],
                "readinessGates": [{"conditionType": each} for each in gates],
                "restartPolicy": "Always",
                "terminationGracePeriodSeconds": 30,
                "serviceAccountName": "default",
                "schedulerName": "default-scheduler",
            },
            "status": {"phase": "Pending", "qosClass": "Burstable"},
        }  # fmt: skip
        if not self.json["spec"]["initContainers"]:
            del self.json["spec"]["initContainers"]

    @property
    def name(self) -> str:
        return self.json["metadata"]["name"]

    def at(self, second: float) -> datetime:
        return self.begin + timedelta(seconds=second)

    def version(self) -> Json:
        """Return a copy of the current version."""
        return copy.deepcopy(self.json)

    # What happens to it

    def unschedulable(
        self, second: float, message: str = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    ) -> None:
        self._condition("PodScheduled", "False", second, "Unschedulable", message)
        self._written("kube-scheduler", second)

    def scheduled(self, second: float) -> None:
        self.json["spec"]["nodeName"] = "gpu-node-3"
        self._condition("PodScheduled", "True", second)

    def taken_on(self, second: float) -> None:
        """The kubelet has accepted it; images must be pulled."""
        status = self.json["status"]
        status |= {"startTime": stamp(self.at(second)), "hostIP": "10.0.0.7"}
        self._condition("Initialized", "False" if self.init else "True", second)
        self._condition("Ready", "False", second, "ContainersNotReady", self._unready_message())
        self._condition("ContainersReady", "False", second, "ContainersNotReady", self._unready_message())
        waiting = "PodInitializing" if self.init else "ContainerCreating"
        for name in self.containers:
            self._status(name)["state"] = {"waiting": {"reason": waiting}}
        for name in self.init:
            self._status(name, init=True)["state"] = {"waiting": {"reason": "PodInitializing"}}
        self._written("kubelet", second)

    def waits(self, second: float, reason: str, message: str = "", name: str | None = None) -> None:
        """A container waits, with a reason such as ImagePullBackOff."""
        name = name or self.containers[0]
        waiting = {"reason": reason} | ({"message": message} if message else {})
        self._status(name, init=name in self.init)["state"] = {"waiting": waiting}
        self._written("kubelet", second)

    def init_runs(self, second: float, name: str) -> None:
        self._status(name, init=True)["state"] = {"running": {"startedAt": stamp(self.at(second))}}
        self._written("kubelet", second)

    def init_done(self, second: float, name: str, code: int = 0) -> None:
        status = self._status(name, init=True)
        began = status["state"]["running"]["startedAt"]
        status["state"] = {"terminated": self._ended(began, second, code, "")}
        status["ready"] = code == 0
        if name == self.init[-1] and code == 0:
            self._condition("Initialized", "True", second)
        self._written("kubelet", second)

    def runs(self, second: float, name: str | None = None, written: float | None = None) -> None:
        """A container runs: for the first time, or again."""
        status = self._status(name or self.containers[0])
        ended = status["state"].get("terminated")
        if status["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff":
            ended = status["lastState"]["terminated"]
        if ended:
            status["lastState"] = {"terminated": ended}
            status["restartCount"] += 1
        status["state"] = {"running": {"startedAt": stamp(self.at(second))}}
        status["started"] = True
        self.json["status"]["phase"] = "Running"
        self._written("kubelet", second if written is None else written)

    def ready(self, second: float) -> None:
        for name in self.containers:
            self._status(name)["ready"] = True
        self._condition("ContainersReady", "True", second)
        if not self.json["spec"]["readinessGates"]:
            self._condition("Ready", "True", second)
        else:
            gates = [f'corresponding condition of pod readiness gate "{each["conditionType"]}" does not exist.'
                     for each in self.json["spec"]["readinessGates"]]  # fmt: skip
            self._condition("Ready", "False", second, "ReadinessGatesNotReady", "; ".join(gates))
        self._written("kubelet", second)

    def gate_opens(self, second: float) -> None:
        for gate in self.json["spec"]["readinessGates"]:
            self._condition(gate["conditionType"], "True", second)
        self._condition("Ready", "True", second)

    def unready(self, second: float, reason: str = "ContainersNotReady") -> None:
        for name in self.containers:
            self._status(name)["ready"] = False
        self._condition("Ready", "False", second, reason, self._unready_message())
        self._condition("ContainersReady", "False", second, "ContainersNotReady", self._unready_message())
        self._written("kubelet", second)

    def crashes(self, second: float, code: int = 1, reason: str = "Error", name: str | None = None) -> None:
        """A container ends; it will be started again."""
        status = self._status(name or self.containers[0])
        began = status["state"]["running"]["startedAt"]
        status["state"] = {"terminated": self._ended(began, second, code, reason)}
        status |= {"ready": False, "started": False}
        self.unready(second)

    def backs_off(self, second: float, name: str | None = None) -> None:
        """It waits before the container is started again."""
        status = self._status(name or self.containers[0])
        status["lastState"] = {"terminated": status["state"]["terminated"]}
        message = f"back-off 10s restarting failed container={status['name']} pod={self.name}_models"
        status["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
        self._written("kubelet", second)

    def deletion_asked(self, second: float, grace: int = 30) -> None:
        metadata = self.json["metadata"]
        metadata["deletionTimestamp"] = stamp(self.at(second + grace))
        metadata["deletionGracePeriodSeconds"] = grace

    def let_go(self, second: float) -> None:
        """The kubelet removes it: the server moves the deletion time to now, since it would be in the past."""
        metadata = self.json["metadata"]
        metadata["deletionTimestamp"] = stamp(self.at(second))
        metadata["deletionGracePeriodSeconds"] = 0

    def disrupted(self, second: float, reason: str, message: str) -> None:
        self._condition("DisruptionTarget", "True", second, reason, message)

    def all_ended(self, second: float, code: int = 0) -> None:
        """Its containers have ended for good, as after a deletion."""
        for name in self.containers:
            status = self._status(name)
            began = status["state"]["running"]["startedAt"]
            reason = "Completed" if code == 0 else "Error"
            status["state"] = {"terminated": self._ended(began, second, code, reason)}
            status |= {"ready": False, "started": False}
        self.json["status"]["phase"] = "Succeeded" if code == 0 else "Failed"
        self._condition("Ready", "False", second, "PodCompleted" if code == 0 else "PodFailed")
        self._written("kubelet", second)

    def evicted(self, second: float) -> None:
        status = self.json["status"]
        message = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 74Mi. "
        status |= {"phase": "Failed", "reason": "Evicted", "message": message}
        self.disrupted(second, "TerminationByKubelet", message)
        for name in self.containers:
            last = self._status(name)
            began = last["state"]["running"]["startedAt"]
            last["state"] = {"terminated": self._ended(began, second + 1, 137, "Error")}
            last |= {"ready": False, "started": False}
        self._condition("Ready", "False", second + 1, "PodFailed")
        self._written("kubelet", second + 1)

    def kubelet_lost(self, second: float) -> None:
        """The node lifecycle controller marks the pod: its node no longer responds."""
        self._condition("Ready", "False", second)
        self._written("kube-controller-manager", second)

    # How the server notes it

    def _condition(self, kind: str, status: str, second: float, reason: str = "", message: str = "") -> None:
        conditions: list[Json] = self.json["status"].setdefault("conditions", [])
        found = next((each for each in conditions if each["type"] == kind), None)
        if found is None:
            found = {"type": kind, "status": "", "lastProbeTime": None}
            conditions.append(found)
        if found["status"] != status:
            found["lastTransitionTime"] = stamp(self.at(second))
        found["status"] = status
        found.pop("reason", None), found.pop("message", None)
        found |= {key: value for key, value in (("reason", reason), ("message", message)) if value}

    def _status(self, name: str, *, init: bool = False) -> Json:
        statuses: list[Json] = self.json["status"].setdefault(
            "initContainerStatuses" if init else "containerStatuses", []
        )
        found = next((each for each in statuses if each["name"] == name), None)
        if found is None:
            found = {"name": name, "state": {}, "lastState": {}, "ready": False, "restartCount": 0,
                     "image": "registry.example/llm:7", "imageID": "", "started": False}  # fmt: skip
            statuses.append(found)
        return found

    def _ended(self, began: str, second: float, code: int, reason: str) -> Json:
        return {"exitCode": code, "reason": reason or ("Completed" if code == 0 else "Error"), "startedAt": began,
                "finishedAt": stamp(self.at(second)), "containerID": "containerd://0c1f"}  # fmt: skip

    def _unready_message(self) -> str:
        return f"containers with unready status: [{' '.join(self.containers)}]"

    def _written(self, manager: str, second: float) -> None:
        fields: list[Json] = self.json["metadata"]["managedFields"]
        found = next((each for each in fields if each["manager"] == manager), None)
        if found is None:
            found = {"manager": manager, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
                     "fieldsV1": {"f:status": {"f:phase": {}}}, "subresource": "status"}  # fmt: skip
            fields.append(found)
        found["time"] = stamp(self.at(second))
