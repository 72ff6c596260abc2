"""The fields of KEDA's ``ScaledObject`` (keda.sh/v1alpha1) as its documentation has them.

KEDA's own schema comes with its repository alone, which the tests do without: these are the fields
that our files may use, each as strict as there, and no others.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=0, strict=True)]
Text = Annotated[str, Field(min_length=1, strict=True)]


class _KedaModel(BaseModel):
    model_config = ConfigDict(extra="forbid")


class KedaScaleTarget(_KedaModel):
    """The workload that is scaled."""

    name: Text
    kind: Text | None = None
    apiVersion: Text | None = None  # noqa: N815 - Kubernetes' name, as those below
    envSourceContainerName: Text | None = None  # noqa: N815


class KedaFallback(_KedaModel):
    """A count for when a trigger cannot be asked."""

    failureThreshold: Count  # noqa: N815
    replicas: Count
    behavior: Literal["static", "currentReplicas", "currentReplicasIfHigher"] | None = None


class KedaAuthentication(_KedaModel):
    """By which secrets a trigger is asked."""

    name: Text
    kind: Literal["TriggerAuthentication", "ClusterTriggerAuthentication"] | None = None


class KedaTrigger(_KedaModel):
    """A figure by which is scaled; all that is told of it is text."""

    type: Text
    metadata: dict[str, Annotated[str, Field(strict=True)]]
    name: Text | None = None
    metricType: Literal["Value", "AverageValue", "Utilization"] | None = None  # noqa: N815
    useCachedMetrics: bool | None = None  # noqa: N815
    authenticationRef: KedaAuthentication | None = None  # noqa: N815

    @model_validator(mode="after")
    def _asked(self) -> Self:
        """A trigger has what its scaler asks for."""
        needed = {"prometheus": {"serverAddress", "query", "threshold"}, "cpu": {"value"}}
        if missing := needed.get(self.type, set()) - self.metadata.keys():
            raise ValueError(f"{self.type} needs {sorted(missing)}")
        return self


class KedaScalingPolicy(_KedaModel):
    """A pace."""

    type: Literal["Pods", "Percent"]
    value: Annotated[int, Field(gt=0, strict=True)]
    periodSeconds: Annotated[int, Field(gt=0, le=1_800, strict=True)]  # noqa: N815


class KedaScalingRules(_KedaModel):
    """Rules for one direction."""

    stabilizationWindowSeconds: Annotated[int, Field(ge=0, le=3_600)] | None = None  # noqa: N815
    selectPolicy: Literal["Max", "Min", "Disabled"] | None = None  # noqa: N815
    policies: list[KedaScalingPolicy] = []


class KedaScalingBehavior(_KedaModel):
    """Rules for both directions."""

    scaleUp: KedaScalingRules | None = None  # noqa: N815
    scaleDown: KedaScalingRules | None = None  # noqa: N815


class KedaAutoscalerConfig(_KedaModel):
    """Options for the autoscaler of Kubernetes."""

    name: Text | None = None
    behavior: KedaScalingBehavior | None = None


class KedaAdvanced(_KedaModel):
    """Options that few need."""

    restoreToOriginalReplicaCount: bool | None = None  # noqa: N815
    horizontalPodAutoscalerConfig: KedaAutoscalerConfig | None = None  # noqa: N815


class KedaScaledSpec(_KedaModel):
    """The workload, its least and greatest count, and the figures by which it is scaled."""

    scaleTargetRef: KedaScaleTarget  # noqa: N815
    triggers: Annotated[list[KedaTrigger], Field(min_length=1)]
    pollingInterval: Count | None = None  # noqa: N815
    cooldownPeriod: Count | None = None  # noqa: N815
    initialCooldownPeriod: Count | None = None  # noqa: N815
    idleReplicaCount: Count | None = None  # noqa: N815
    minReplicaCount: Count | None = None  # noqa: N815
    maxReplicaCount: Count | None = None  # noqa: N815
    fallback: KedaFallback | None = None
    advanced: KedaAdvanced | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        """KEDA takes no more at the least than at the most."""
        if (self.minReplicaCount or 0) > (self.maxReplicaCount or 100):
            raise ValueError("minReplicaCount is above maxReplicaCount")
        return self


class KedaMetadata(BaseModel):
    """A name; Kubernetes' own schema knows the rest."""

    name: Text


class ScaledObject(_KedaModel):
    """A deployment that KEDA scales."""

    apiVersion: Literal["keda.sh/v1alpha1"]  # noqa: N815
    kind: Literal["ScaledObject"]
    metadata: KedaMetadata
    spec: KedaScaledSpec
