/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* overlay/snapfs.c, built once more with its main() under this name. */
int snapfs_main(int argc, char **argv);
