# covers: S82 S79
# A switchover that can't be done is refused with the reason of each member, and changes nothing.
# (Strict, so that the rule stays as it is while its voter is away.)
fleet strict
lose c
run 9s
show rule
cut a b
run 3600ms
switchover
run 300ms
switchover c
run 300ms
switchover a
run 300ms
switchover x
run 300ms
show rule
----
rule ANY 1 (b)
refused: no member can take over: a: it is the member to be replaced; c: last heard N ms ago; b: a does not see it streaming
  a: is_primary: it is the member to be replaced
  b: not_streaming: a does not see it streaming
  c: silent: last heard N ms ago
refused: c can't take over: c: last heard N ms ago
  a: is_primary: it is the member to be replaced
  b: not_the_one_meant: c was asked for
  c: silent: last heard N ms ago
refused: a is the primary already
refused: x is not a member of c1; its members are a, b, c
rule ANY 1 (b)
