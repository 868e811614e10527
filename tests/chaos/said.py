"""What a status says, as patterns: the texts are those that `play` makes of the statuses that were pushed."""

from __future__ import annotations

SILENT = r"member \w+ is \w+, silent"
ATTACHING = r"member \w+ is \w+, attaching"
REBUILDING = r"member \w+ is \w+, rebuilding"
SUPERSEDED = r"member \w+ is \w+, superseded"
ANOTHER_TERM = r"in term (\d+),[\s\S]* in term (?!\1,)\d+,"
NAMES = r"names: .*(can't be reached|did not answer|answered 0 of)"
UNREACHABLE = "no control node could be reached"
RELAYED = r"control_path_cut \w+ silent .*; \w+ passes its beats on"
NO_UDP = r"member \w+: UDP is not answered by \w+; its beats go over the stream"
NO_ETCD = "nobody who does: etcd does not answer, which takes a majority"
