from protos import beat_pb2 as _beat_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Up(_message.Message):
    __slots__ = ("hello", "facts", "beat")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    BEAT_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    facts: bytes
    beat: _beat_pb2.Beat
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., facts: _Optional[bytes] = ..., beat: _Optional[_Union[_beat_pb2.Beat, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("cluster", "member", "incarnation", "version", "software")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    member: str
    incarnation: str
    version: int
    software: str
    def __init__(self, cluster: _Optional[str] = ..., member: _Optional[str] = ..., incarnation: _Optional[str] = ..., version: _Optional[int] = ..., software: _Optional[str] = ...) -> None: ...

class Down(_message.Message):
    __slots__ = ("welcome", "assignment", "ack")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    assignment: bytes
    ack: _beat_pb2.Ack
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., assignment: _Optional[bytes] = ..., ack: _Optional[_Union[_beat_pb2.Ack, _Mapping]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("leader", "term", "profile", "peers")
    LEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    leader: str
    term: int
    profile: str
    peers: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, leader: _Optional[str] = ..., term: _Optional[int] = ..., profile: _Optional[str] = ..., peers: _Optional[_Iterable[str]] = ...) -> None: ...
