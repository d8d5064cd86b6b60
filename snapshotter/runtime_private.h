/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/json.h"

/* The value of linux.seccomp (runtime specification, config-linux.md). */
void runtime_config_seccomp(struct json_writer *w);
