#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Two processes load, with the real modprobe, two modules that share a
# dependency. Both must succeed, every time.

DIR="$(dirname "$(readlink -f "$0")")"
# shellcheck source=/dev/null
. "$DIR"/../kselftest/ktap_helpers.sh

ROUNDS=50
[ "$(nproc)" -le 16 ] || ROUNDS=10

ktap_print_header

if ! modprobe -n test_dedup_user_a 2> /dev/null; then
	ktap_skip_all "test_dedup_user_a is not installed below /lib/modules"
	exit "$KSFT_SKIP"
fi

ktap_set_plan 2

both_succeed() {
	for round in $(seq "$ROUNDS"); do
		modprobe test_dedup_user_a &
		a=$!
		modprobe test_dedup_user_b &
		b=$!
		wait "$a" || { ktap_print_msg "round $round: a failed"; return 1; }
		wait "$b" || { ktap_print_msg "round $round: b failed"; return 1; }
		for module in test_dedup_base test_dedup_user_a test_dedup_user_b; do
			if [ "$(cat /sys/module/$module/initstate)" != live ]; then
				ktap_print_msg "round $round: $module is not live"
				return 1
			fi
		done
		modprobe -r test_dedup_user_a test_dedup_user_b || return 1
	done
}

# Sixteen processes that all want the same one.
all_succeed() {
	pids=
	for _ in $(seq 16); do
		modprobe test_dedup_user_a &
		pids="$pids $!"
	done
	for pid in $pids; do
		wait "$pid" || return 1
	done
	modprobe -r test_dedup_user_a
}

ktap_test_result "two_modules_with_a_shared_dependency" both_succeed
ktap_test_result "one_module_with_a_dependency" all_succeed

ktap_finished
