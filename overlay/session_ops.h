/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "overlay/fs.h"

/* session_ops - the FUSE requests: each is decoded, handed to overlay/ops.h and answered exactly
 * once. */
struct fuse_lowlevel_ops;
extern const struct fuse_lowlevel_ops ovl_session_ops; /* userdata: struct ovl_fs */
