// SPDX-License-Identifier: GPL-2.0
#include "bench_module.h"
