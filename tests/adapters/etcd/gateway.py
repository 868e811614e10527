"""What only an administrator of etcd does, through etcd's HTTP gateway: our client has no words for it."""

from __future__ import annotations

import json
from http.client import HTTPConnection

from tests.adapters.etcd.scratch_etcd import EtcdMember


def ask(member: EtcdMember, path: str, body: dict[str, object]) -> dict[str, object]:
    connection = HTTPConnection("127.0.0.1", member.client_port, timeout=5)
    try:
        connection.request("POST", f"/v3/{path}", json.dumps(body))
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        found = json.loads(text)
        assert isinstance(found, dict)
        return found
    finally:
        connection.close()


def compact(member: EtcdMember, revision: int) -> None:
    ask(member, "kv/compaction", {"revision": revision, "physical": True})


def demand_login(member: EtcdMember, user: str, password: str) -> None:
    ask(member, "auth/user/add", {"name": user, "password": password})
    ask(member, "auth/role/add", {"name": "root"})
    ask(member, "auth/user/grant", {"user": user, "role": "root"})
    ask(member, "auth/enable", {})
