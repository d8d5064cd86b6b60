/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/err.h"

/* Starts a process that takes our mounts out of this mount namespace when the calling one ends. */
int userns_start_keeper(struct err *err) __attribute__((warn_unused_result));
