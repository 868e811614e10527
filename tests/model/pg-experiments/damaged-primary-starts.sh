#!/bin/bash
# E29: a primary whose disk has lost WAL below its flush LSN, started again in place: does PostgreSQL notice, and what is acknowledged?
# (With wal_log_hints the read after the start writes past the old end first; then the standby breaks and commits wait.)
. ./lib.sh
mk p 5611; printf "restart_after_crash=off\nwal_log_hints=off\nwal_level=replica\n" >> $D/p/postgresql.conf; start p; q 5611 "create table t(n int)" >/dev/null
clone s 5612 p 5611; echo "primary_conninfo='host=127.0.0.1 port=5611 user=postgres application_name=b'
wal_receiver_status_interval=1" >> $D/s/postgresql.conf; start s
q 5611 "alter system set synchronous_standby_names='ANY 1 (b)'" >/dev/null; q 5611 "select pg_reload_conf()" >/dev/null; sleep 1
q 5611 checkpoint; q 5611 "insert into t values(1)"; L=$(q 5611 "select pg_current_wal_lsn()"); q 5611 "insert into t values(2)"; q 5611 "insert into t values(3)"
echo "acknowledged: $(q 5611 "select string_agg(n::text,',') from t"), flushed $(q 5611 "select pg_current_wal_flush_lsn()")"
W=$(q 5611 "select pg_walfile_name('$L')"); O=$(q 5611 "select file_offset from pg_walfile_name_offset('$L')")
kill -9 $(head -1 $D/p/postmaster.pid); sleep 2
printf '\377\377\377\377' | dd of=$D/p/pg_wal/$W bs=1 seek=$((O+28)) conv=notrunc 2>/dev/null   # four bytes of the second commit
start p; echo "after the start in place: $(q 5611 "select string_agg(n::text,',') from t"), flushed $(q 5611 "select pg_current_wal_flush_lsn()"), timeline $(q 5611 "select timeline_id from pg_control_checkpoint()")"
timeout 15 psql -h 127.0.0.1 -p 5611 -U postgres -d postgres -AtXc "insert into t values(4)"; echo "insert 4: rc $? (0: acknowledged)"; sleep 1
echo "p: $(q 5611 "select string_agg(n::text,',') from t"); s: $(q 5612 "select string_agg(n::text,',') from t"), received $(q 5612 "select pg_last_wal_receive_lsn()"), replayed $(q 5612 "select pg_last_wal_replay_lsn()")"
grep incorrect $D/s.log | tail -1
stop p immediate; stop s immediate
