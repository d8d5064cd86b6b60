/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Binds @from to @to by an idmapped mount: @map has lines "STORED SHOWN COUNT", for users and
 * groups. As root. 0, or -1 with errno.
 */
int idmap_bind(const char *from, const char *to, const char *map);
