"""What an agent is told as it comes, and again when somebody applied something else: its timings and its peers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from common.codec import encode
from common.ids import ClusterName, MemberName
from common.profile import DEFAULT, PROFILES, Profile
from orchestrator.core.spec import ClusterSpec
from orchestrator.shell.case import Case
from protos import agent_pb2

Wanted = tuple[Profile, tuple[str, ...]]
"""The profile as specified now, and the addresses of the cluster's other members."""


class Welcomes:
    def __init__(self, name: str, cases: Mapping[ClusterName, Case], term: Callable[[], int]) -> None:
        self._name, self._cases, self._term = name, cases, term
        self._known: dict[tuple[ClusterName, MemberName], tuple[ClusterSpec, Wanted]] = {}

    def wanted(self, cluster: ClusterName, member: MemberName) -> Wanted:
        """The same object for as long as nobody applied anything else: asked with every report of thousands."""
        spec = self._spec(cluster)
        if spec is None:
            return DEFAULT, ()
        known = self._known.get((cluster, member))
        if known is not None and known[0] is spec:
            return known[1]
        wanted = PROFILES.get(spec.profile, DEFAULT), spec.peers_of(member)
        self._known[cluster, member] = spec, wanted
        return wanted

    def welcome(self, wanted: Wanted) -> agent_pb2.Welcome:
        profile, peers = wanted
        return agent_pb2.Welcome(
            leader=self._name, term=self._term(), profile=encode(profile).decode(), peers=peers
        )

    def _spec(self, cluster: ClusterName) -> ClusterSpec | None:
        case = self._cases.get(cluster)
        return None if case is None else case.spec
