from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StepKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STEP_PROGRESS: _ClassVar[StepKind]
    STEP_REFUSED: _ClassVar[StepKind]
    STEP_SUCCEEDED: _ClassVar[StepKind]
    STEP_FAILED: _ClassVar[StepKind]
STEP_PROGRESS: StepKind
STEP_REFUSED: StepKind
STEP_SUCCEEDED: StepKind
STEP_FAILED: StepKind

class Empty(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ClusterRequest(_message.Message):
    __slots__ = ("cluster",)
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    def __init__(self, cluster: _Optional[str] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ("cluster",)
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    def __init__(self, cluster: _Optional[str] = ...) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("json", "revision")
    JSON_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    json: bytes
    revision: int
    def __init__(self, json: _Optional[bytes] = ..., revision: _Optional[int] = ...) -> None: ...

class ApplyRequest(_message.Message):
    __slots__ = ("spec_json", "dry_run")
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    spec_json: bytes
    dry_run: bool
    def __init__(self, spec_json: _Optional[bytes] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class ApplyReply(_message.Message):
    __slots__ = ("changed", "changes")
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    changed: bool
    changes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, changed: _Optional[bool] = ..., changes: _Optional[_Iterable[str]] = ...) -> None: ...

class SwitchoverRequest(_message.Message):
    __slots__ = ("cluster", "to", "request_id")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    to: str
    request_id: str
    def __init__(self, cluster: _Optional[str] = ..., to: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class FailoverRequest(_message.Message):
    __slots__ = ("cluster", "request_id", "force")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    request_id: str
    force: bool
    def __init__(self, cluster: _Optional[str] = ..., request_id: _Optional[str] = ..., force: _Optional[bool] = ...) -> None: ...

class OperationStep(_message.Message):
    __slots__ = ("operation", "kind", "name", "text", "since_start_ms", "refusals", "outage")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SINCE_START_MS_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    OUTAGE_FIELD_NUMBER: _ClassVar[int]
    operation: str
    kind: StepKind
    name: str
    text: str
    since_start_ms: int
    refusals: _containers.RepeatedCompositeFieldContainer[Refusal]
    outage: Outage
    def __init__(self, operation: _Optional[str] = ..., kind: _Optional[_Union[StepKind, str]] = ..., name: _Optional[str] = ..., text: _Optional[str] = ..., since_start_ms: _Optional[int] = ..., refusals: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ..., outage: _Optional[_Union[Outage, _Mapping]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("member", "reason", "text")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    member: str
    reason: str
    text: str
    def __init__(self, member: _Optional[str] = ..., reason: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class Outage(_message.Message):
    __slots__ = ("known", "outage_ms", "uncertainty_ms")
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    OUTAGE_MS_FIELD_NUMBER: _ClassVar[int]
    UNCERTAINTY_MS_FIELD_NUMBER: _ClassVar[int]
    known: bool
    outage_ms: int
    uncertainty_ms: int
    def __init__(self, known: _Optional[bool] = ..., outage_ms: _Optional[int] = ..., uncertainty_ms: _Optional[int] = ...) -> None: ...

class HistoryRequest(_message.Message):
    __slots__ = ("cluster", "limit")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    limit: int
    def __init__(self, cluster: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class HistoryReply(_message.Message):
    __slots__ = ("incidents_json",)
    INCIDENTS_JSON_FIELD_NUMBER: _ClassVar[int]
    incidents_json: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, incidents_json: _Optional[_Iterable[bytes]] = ...) -> None: ...
