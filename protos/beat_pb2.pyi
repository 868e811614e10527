from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Beat(_message.Message):
    __slots__ = ("cluster", "member", "boot_id", "sequence", "sent_us", "obeyed_epoch", "obeyed_revision", "incarnation", "system_identifier", "flags", "timeline", "flushed_lsn", "replayed_lsn", "insert_lsn", "write_age_ms", "received_age_ms", "oldest_voter_reply_age_ms", "free_mib")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SENT_US_FIELD_NUMBER: _ClassVar[int]
    OBEYED_EPOCH_FIELD_NUMBER: _ClassVar[int]
    OBEYED_REVISION_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    TIMELINE_FIELD_NUMBER: _ClassVar[int]
    FLUSHED_LSN_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_LSN_FIELD_NUMBER: _ClassVar[int]
    INSERT_LSN_FIELD_NUMBER: _ClassVar[int]
    WRITE_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_VOTER_REPLY_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    FREE_MIB_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    member: str
    boot_id: int
    sequence: int
    sent_us: int
    obeyed_epoch: int
    obeyed_revision: int
    incarnation: str
    system_identifier: int
    flags: int
    timeline: int
    flushed_lsn: int
    replayed_lsn: int
    insert_lsn: int
    write_age_ms: int
    received_age_ms: int
    oldest_voter_reply_age_ms: int
    free_mib: int
    def __init__(self, cluster: _Optional[str] = ..., member: _Optional[str] = ..., boot_id: _Optional[int] = ..., sequence: _Optional[int] = ..., sent_us: _Optional[int] = ..., obeyed_epoch: _Optional[int] = ..., obeyed_revision: _Optional[int] = ..., incarnation: _Optional[str] = ..., system_identifier: _Optional[int] = ..., flags: _Optional[int] = ..., timeline: _Optional[int] = ..., flushed_lsn: _Optional[int] = ..., replayed_lsn: _Optional[int] = ..., insert_lsn: _Optional[int] = ..., write_age_ms: _Optional[int] = ..., received_age_ms: _Optional[int] = ..., oldest_voter_reply_age_ms: _Optional[int] = ..., free_mib: _Optional[int] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("sequence", "sent_us", "leader", "term", "epoch", "lease_ms")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SENT_US_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    sent_us: int
    leader: str
    term: int
    epoch: int
    lease_ms: int
    def __init__(self, sequence: _Optional[int] = ..., sent_us: _Optional[int] = ..., leader: _Optional[str] = ..., term: _Optional[int] = ..., epoch: _Optional[int] = ..., lease_ms: _Optional[int] = ...) -> None: ...
