"""What docs/detection.md says in words: nothing here was measured."""

from __future__ import annotations

from typing import Final

HOW: Final = """\
A mistake here costs an outage, never a row: whether a failover is *safe* is decided by replication quorums \
([protocol.md](protocol.md)). Detection only decides when to try. Too slow is a long outage; too quick is the shepherd who \
cries wolf.

## How it works

**A primary that says it is down** needs no silence. Its agent sees the postmaster end, and says so in the same moment. \
Where PostgreSQL stands still under a live agent, the agent's own small commits, which it makes all the time, are not \
flushed; after a limit the agent says so, and the primary counts as one that can't write.

**A primary that speaks, and whom nothing reaches**, is one around which TCP is filtered and UDP is not, or so much is \
lost that TCP stands still: its commits wait for standbys, and none of its reports, which come once a second over TCP, \
arrived for as long as a standby may be gone, two seconds at least. Its rule can't be changed then, since it would have to \
confirm that; so it is replaced. Where beats are lost too (four gaps in the last fifteen seconds), \
TCP is slow and not cut off, and the reports are waited for six times as long; so are standbys, before the rule goes on \
without them (thirty times as long where commits need not wait for one, and it is well by its own report).

**A lost host says nothing**, and that takes four steps.

1. *Beats.* A primary's agent sends a small datagram to every control node, many times a second; a standby's does it more \
seldom. Every control node listens, whether it leads or not, so a new leader need not learn first.
2. *Suspicion.* The leader keeps two averages of each member: the usual gap between two beats, and how much later than \
that they tend to be (a beat that comes early says nothing bad, and does not count). A new gap counts for an eighth. \
Silence is suspicious when it is longer than 4 x (gap + 4 x lateness). Everyday picture: somebody who speaks ten times a \
second is missed after most of a second; somebody who mumbles irregularly is given a little longer. But never less than \
the profile's *floor*, and never more than its *ceiling*. With beats that come in time the floor is what counts.
3. *Self-doubt.* A leader that hears no member of the cluster at all suspects itself, not the primary. It asks the other \
control nodes; where one of them hears a member, it gives up the election.
4. *Witnesses.* The leader asks the other control nodes what they heard, and the primary's PostgreSQL, over a connection \
that is open already, whether it answers; and it looks whether a standby received anything from the primary clearly (150 ms) \
after its last word. That counts while the standby is heard itself, and for three seconds from what it received: it may \
be lost with the primary, or hang. One yes is enough: then no failover, and the status says which path is cut or that only \
the agent is gone. Whoever does not answer is waited for as long as the profile says. Only then is the epoch left: the \
record says SEALING.

So a lost host is given up after about the floor, less the part of a beat's period that had passed, and the time for the \
witnesses, because the PostgreSQL of a lost host does not answer. A false failover needs all of these at once: silence that \
passes the threshold, at every control node, no answer by SQL, and no standby that is heard and receives \
anything. A standby whose seal is needed must be heard too, so it would be such a witness if it streamed.

Nothing is done where nobody could take over: then the failover is due, and the history says why it can't be.
"""

THEORY: Final = """\
Packets that are lost one by one hardly ever make a suspicion: with a fifth of them lost, six in a row are lost once in \
15,000, and the gaps before have raised the threshold. What makes silence is a host, or a control node, that does not run \
for a while: a virtual machine that is moved, a hypervisor that is short of processors, a full queue on the way.
"""

CHOOSING: Final = """\
- **`default`**: hosts in one place, or in places some milliseconds apart. It is what all other figures in these pages are \
of.
- **`fast`**: where half a second of outage is worth more than a failover for nothing now and then: machines of one's own, \
one quiet network, no moves of virtual machines, disks that never stand still. A commit that is not flushed for its limit \
costs a failover, and so does a pause of the host that is longer than floor and witnesses together. A standby that is not \
seen for its limit is left out of the rule, so commits may depend on fewer copies now and then.
- **`patient`**: where hosts stand still for a second or two and come back: virtual machines that are moved or saved, \
oversubscribed hosts, members far apart; and where packets are lost all the time, because a standby whose stream stands \
still for a moment stays in the rule. An outage lasts some seconds longer, and after a failover a client that is still \
connected to the old primary may read old rows for longer (the lease).

How quick a profile is for these hosts shows in the metric `primacy_decision_reasons_total` with \
`reason="primary_suspected"`: it grows with every suspicion, also with one that comes to nothing. Now and then is what the \
witnesses are for; many times a day is a profile that is too quick.
"""

SWITCHING: Final = """\
`profile` in the cluster's file, then `primacy cluster apply FILE`. Nothing is started anew: the leader goes by the new \
timings at once, and tells every agent when its next report comes, at most a second later; an agent keeps them over a \
restart. In that second a primary still beats at its old pace: from `patient` to `fast`, two beats lost in a row may \
then make a suspicion, and the witnesses are asked as always. A deadline that was granted under a longer lease stays.
"""
