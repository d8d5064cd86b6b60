/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/cmd/cmd.h"

const struct cmd *const cmd_all[] = {
	&cmd_pull,  &cmd_images,  &cmd_inspect, &cmd_push,   &cmd_unpack, &cmd_index,  &cmd_fill,
	&cmd_rmi,   &cmd_prepare, &cmd_view,	&cmd_mounts, &cmd_mount,  &cmd_umount, &cmd_commit,
	&cmd_diff,  &cmd_rm,	  &cmd_ls,	&cmd_stat,   &cmd_label,  &cmd_usage,  &cmd_tree,
	&cmd_run,   &cmd_bundle,  &cmd_unshare, &cmd_fsck,   &cmd_gc,	  &cmd_df,     &cmd_doctor,
	&cmd_serve, &cmd_als,	  NULL,
};
