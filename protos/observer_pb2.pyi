from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class HeardRequest(_message.Message):
    __slots__ = ("cluster", "member")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    member: str
    def __init__(self, cluster: _Optional[str] = ..., member: _Optional[str] = ...) -> None: ...

class HeardReply(_message.Message):
    __slots__ = ("node", "known", "heard_age_ms", "boot_id", "sequence", "flags", "listening_ms")
    NODE_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    HEARD_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    LISTENING_MS_FIELD_NUMBER: _ClassVar[int]
    node: str
    known: bool
    heard_age_ms: int
    boot_id: int
    sequence: int
    flags: int
    listening_ms: int
    def __init__(self, node: _Optional[str] = ..., known: _Optional[bool] = ..., heard_age_ms: _Optional[int] = ..., boot_id: _Optional[int] = ..., sequence: _Optional[int] = ..., flags: _Optional[int] = ..., listening_ms: _Optional[int] = ...) -> None: ...
