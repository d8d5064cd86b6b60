/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "overlay/overlay.h"

/*
 * params - the option string of a mount (`-o ...`): one table of every option
 * that is known, what the user asked for, and one place that decides whether
 * that can be had.
 *
 *	struct ovl_config c = OVL_CONFIG_INIT;
 *	r = ovl_params_parse(&c, "lowerdir=A:B,upperdir=U,workdir=W", &err);    each -o, in order
 *	r = ovl_params_verify(&c, &err);                                       once
 *	r = ovl_params_resolve(&c, &err);                                      once, touches the
 *disk ovl_config_release(&c);                                                in any case
 *
 * Options are separated by commas; empty ones are fine. A backslash takes the
 * meaning from the character behind it: `\,` anywhere, `\:` between lower
 * directories, `\\`. A later option replaces an earlier one of the same name.
 *
 * An option that would change what is seen and is not there yet is refused by
 * its name; so is an unknown one. What mount(8), fuse-overlayfs, podman and
 * containerd pass and what has no meaning here is accepted.
 */

/* -EINVAL (@err names the option), -EOPNOTSUPP for one that this version does not have, -ENOMEM. */
int ovl_params_parse(struct ovl_config *c, const char *options, struct err *err)
	__attribute__((warn_unused_result));

/* Do the options make sense together? -EINVAL. */
int ovl_params_verify(struct ovl_config *c, struct err *err) __attribute__((warn_unused_result));

/*
 * Replaces every path by its absolute form without symlinks, so that it keeps
 * its meaning when the working directory changes. -errno of the look-up;
 * -EINVAL when upper and work are the same or inside each other.
 */
int ovl_params_resolve(struct ovl_config *c, struct err *err) __attribute__((warn_unused_result));

/* What `--help` says of the options: borrowed, several lines. */
const char *ovl_params_help(void);
