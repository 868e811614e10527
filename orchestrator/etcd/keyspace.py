"""Which key holds what. The only place that spells a path (interfaces.md, "etcd")."""

from __future__ import annotations

import re

from common.errors import BadConfig
from common.ids import cluster_name
from orchestrator.ports import Shard, Shelf

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")


class Keyspace:
    def __init__(self, fleet: str) -> None:
        if not _NAME.match(fleet):
            raise BadConfig([f"fleet {fleet!r}: use letters, digits, '.', '_' or '-' (at most 128)"])
        self.prefix = f"/primacy/v1/{fleet}/"

    def election(self, shard: Shard) -> str:
        return f"{self.prefix}election/{_part(shard)}"

    @property
    def control_nodes(self) -> str:
        return f"{self.prefix}control/"

    def control_node(self, name: str) -> str:
        return f"{self.control_nodes}{_part(name)}"

    @property
    def clusters(self) -> str:
        return f"{self.prefix}clusters/"

    def cluster(self, cluster: str) -> str:
        return f"{self.clusters}{cluster_name(cluster)}/"

    def spec(self, cluster: str) -> str:
        return f"{self.cluster(cluster)}spec"

    def record(self, cluster: str) -> str:
        return f"{self.cluster(cluster)}record"

    def shelf(self, shelf: Shelf, cluster: str) -> str:
        return f"{self.cluster(cluster)}{shelf.value}/"

    def note(self, shelf: Shelf, cluster: str, note_id: str) -> str:
        return f"{self.shelf(shelf, cluster)}{_part(note_id)}"

    def cluster_of_spec(self, key: str) -> str | None:
        """The cluster whose specification `key` is; None for any other key."""
        if not key.startswith(self.clusters):
            return None
        cluster, _, rest = key.removeprefix(self.clusters).partition("/")
        return cluster if rest == "spec" else None


def _part(text: str) -> str:
    """One step of a path: nothing that could lead elsewhere."""
    if not _NAME.match(text):
        raise ValueError(f"{text!r}: use letters, digits, '.', '_' or '-' (at most 128)")
    return text
