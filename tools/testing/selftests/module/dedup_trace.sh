#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Guarantee 13 of Documentation/admin-guide/module-dedup.rst: programs that people
# use can use the tracepoints.

DIR="$(dirname "$(readlink -f "$0")")"
# shellcheck source=/dev/null
. "$DIR"/../kselftest/ktap_helpers.sh

N=20

cd "$DIR" || exit
ktap_print_header

if [ ! -d /sys/kernel/tracing/events/module_dedup ]; then
	ktap_skip_all "this kernel has no such tracepoints"
	exit "$KSFT_SKIP"
fi

ktap_set_plan 2

# Of a storm one leads, all others join, and all of them end.
all_there() {
	text=$(cat)
	for event in lead:1 join:$((N - 1)) done:$N; do
		found=$(echo "$text" | grep -c "module_dedup_${event%:*}: *load test_dedup_big.ko ")
		if [ "$found" != "${event#*:}" ]; then
			ktap_print_msg "$found of ${event#*:} events ${event%:*}"
			return 1
		fi
	done
	echo "$text" | grep -q "result=0 followers=$((N - 1)) waited_ns=0"
}

with_perf() {
	perf record -q -a -e 'module_dedup:*' -o /tmp/dedup_trace \
		./dedup_storm -n "$N" > /dev/null &&
		perf script -i /tmp/dedup_trace | all_there
}

with_trace_cmd() {
	trace-cmd record -q -e module_dedup -o /tmp/dedup_trace \
		./dedup_storm -n "$N" > /dev/null &&
		trace-cmd report -i /tmp/dedup_trace | all_there
}

for program in perf trace-cmd; do
	name=$(echo "with_$program" | tr - _)
	if command -v "$program" > /dev/null; then
		ktap_test_result "$name" "$name"
	else
		ktap_print_msg "there is no $program"
		ktap_test_skip "$name"
	fi
done
rm -f /tmp/dedup_trace

ktap_finished
