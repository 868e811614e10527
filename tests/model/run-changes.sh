#!/bin/bash
# Usage: ./run-changes.sh exhaustive | mutate | old | walk | liveness        primacy.cpp with combined.patch and changes.patch: protocol.md with what was changed since
set -u; cd "$(dirname "$0")"; D=$(mktemp -d); cp primacy.cpp "$D"; patch -s "$D/primacy.cpp" combined.patch && patch -s "$D/primacy.cpp" changes.patch || exit 1
if [ -n "${BIN:-}" ]; then cp "$BIN" "$D/changes"; else g++ -O2 -std=c++17 -o "$D/changes" "$D/primacy.cpp" || exit 1; fi   # BIN=… built before
ulimit -v "${KB:-7000000}"; SHOW=${SHOW:-2}
run(){ n="$1"; shift; echo "### $n :: $*"; timeout "${T:-400}" nice -n 10 "$D/changes" quiet pg=poison "$@" 2>&1 | grep -v "^  *[a-d]: \|^ *record\|^ *entries\|^NOT" | head -"$SHOW"; [ "${PIPESTATUS[0]}" = 124 ] && echo "stopped by its time limit, no violation until then"; }
S="crash=0 changes=0 rule0=1bc rules=1b,1c,1a,solo"
case "${1:-}" in
exhaustive) F="sym max=150000000 check=I7,I8,I11"
  run told-two        $F M=2 E=3 N=4 crash=0 changes=0 wipes=1 rule0=1b
  run damage          $F M=3 E=3 N=4 crash=0 changes=0 damage=1 rule0=1bc rules=1b,1c,1a
  run alike           $F,alike M=3 E=4 N=4 start=2 crash=0 changes=0 rule0=1b rules=1b,1c,solo
  run alike-two       $F,alike M=2 E=4 N=4 crash=0 changes=0 rule0=1b
  run damage-told     $F M=3 E=2 N=3 crash=0 changes=0 wipes=1 damage=1 rule0=2bc rnew=2
  run damage-told-crash $F M=3 E=2 N=3 crash=1 changes=0 wipes=1 damage=1 rule0=2bc rnew=2
  run damage-change   $F M=2 E=2 N=4 crash=1 changes=1 damage=1 rule0=1b
  run handover        $F M=3 E=2 N=3 crash=1 changes=0 rule0=1bc rnew=2 handover
  run no-change-e3    $F M=3 E=3 N=4 crash=0 changes=0 rule0=1bc rnew=2
  run told-three      $F M=3 E=3 N=3 crash=0 changes=0 wipes=1 rule0=1bc rules=1b,1c,1a ;;
mutate) F="max=40000000"
  run R1-lost-state-seals-as-a-standby      $F M=3 E=3 N=5 crash=0 changes=0 wipes=1 rule0=1bc rules=1b,1c,1a mut=lostpromo
  run R1-the-same-with-two-members          $F M=2 E=3 N=4 crash=0 changes=0 wipes=1 rule0=1b mut=lostpromo
  run R1-the-same-by-I8                     $F M=3 E=3 N=4 $S wipes=1 check=I8 mut=lostpromo
  run R13-damaged-attached-as-it-was        $F M=3 E=3 N=4 $S damage=1 mut=dmgattach
  run R13-only-a-primary-s-mark-is-compared $F M=3 E=3 N=4 $S damage=1 mut=dmgcode
  run R8-damaged-primary-starts-in-place    $F M=2 E=2 N=4 crash=0 changes=0 damage=1 rule0=1b mut=dmgstart
  run R8-the-same-by-I1                     $F M=3 E=2 N=4 crash=0 changes=0 damage=1 rule0=1b rules=1b,1c nocheck=I4 mut=dmgstart
  run R2-a-damaged-primary-that-forgot      $F M=3 E=2 N=3 crash=1 changes=0 wipes=1 damage=1 rule0=2bc rnew=2 mut=adoptdead
  run R4-alike-the-lower-bound-is-kept      $F M=3 E=4 N=4 start=2 crash=0 changes=0 rule0=1b rules=1b,1c,solo mut=mergelow
  run R4-the-same-by-comparison             $F M=3 E=4 N=4 start=2 crash=0 changes=0 rule0=1b rules=1b,1c,solo check=alike mut=mergelow
  run R4-other-rules-taken-for-alike        $F M=3 E=4 N=4 crash=0 changes=0 rule0=1b rules=1b,1c,solo mut=mergerules
  run R1-seal-leaves-a-promotion-alive      $F M=3 E=3 N=5 $S mut=promrace ;;
old) # the mutations of run-combined.sh: still found?
  sed -n '/^mutate)/,/;;/p' run-combined.sh | sed 's/^mutate)//; s/;;.*//' > "$D/old.sh"; . "$D/old.sh" ;;
walk) for s in 41 42; do
  run four   M=4 E=5 N=11 crash=3 changes=3 wipes=2 damage=2 rule0=2bcd check=I7,I8,I11,alike handover walk=100000 seed=$s
  run three  M=3 E=5 N=11 crash=2 changes=3 wipes=2 damage=2 check=I7,I8,I11,alike handover walk=100000 seed=$s; done ;;
liveness) SHOW=40
  run live          M=3 E=2 N=3 changes=0 crash=1 damage=1 wipes=1 rule0=1bc rules=1bc,1ac,1ab,1a,1b,1c heal=300 max=60000
  L="M=3 E=1 N=2 changes=1 crash=0 wipes=2 forget=0 rule0=1b rules=1b,1bc,1c,1a,1ab,1ac stuck heal=20 max=8000"
  run never-ends               $L
  run never-ends-epoch-is-kept $L mut=noleave ;;
*) sed -n 2p "$0"; exit 2;; esac
rm -r "$D"
