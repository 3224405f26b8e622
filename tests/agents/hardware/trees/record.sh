#!/bin/sh
# Prints the control groups of the process that runs it, as a tree for the tests: `sh record.sh > new.tree`.
# Runs anywhere, in a container without Python too. It reads only; ids of other processes are left out.
show() {
    [ -f "$1" ] && [ -r "$1" ] || return 0
    echo "== $1"
    cat "$1" 2>/dev/null
}

show /proc/self/cgroup
echo "== /proc/self/mountinfo"
grep ' - cgroup' /proc/self/mountinfo
echo "== /proc/vmstat"
grep '^oom_kill ' /proc/vmstat
for name in cpu memory; do show "/proc/pressure/$name"; done

while IFS=: read -r number controllers path; do
    grep ' - cgroup' /proc/self/mountinfo | while read -r _ _ _ root at rest; do
        case "$number $rest" in
            "0 "*" - cgroup2 "*) ;;
            "0 "*) continue ;;
            *" - cgroup2 "*) continue ;;
            *[\ ,]"${controllers%%,*}"|*[\ ,]"${controllers%%,*}",*) ;;
            *) continue ;;
        esac
        [ "$root" = / ] && root=
        directory=$at${path#"$root"}
        directory=${directory%/}
        [ -d "$directory" ] || directory=$at
        while :; do
            for file in "$directory"/*; do
                case "${file##*/}" in
                    cgroup.type|cgroup.controllers|release_agent|io.stat|*.pressure) show "$file" ;;
                    cpu.max|cpu.stat|cpu.cfs_quota_us|cpu.cfs_period_us|cpuacct.usage) show "$file" ;;
                    cpuset.cpus|cpuset.cpus.effective|cpuset.effective_cpus) show "$file" ;;
                    memory.current|memory.max|memory.high|memory.stat|memory.events|memory.events.local) show "$file" ;;
                    memory.usage_in_bytes|memory.limit_in_bytes|memory.failcnt|memory.oom_control) show "$file" ;;
                esac
            done
            [ "$directory" = "$at" ] && break
            directory=${directory%/*}
        done
    done
done < /proc/self/cgroup
