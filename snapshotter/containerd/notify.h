/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Tells the service manager (sd_notify(3)) when NOTIFY_SOCKET is set: "READY=1", "STOPPING=1". */
void notify_manager(const char *state);
