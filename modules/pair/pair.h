/* SPDX-License-Identifier: GPL-2.0 */
/* What pair_base exports. */
#ifndef PAIR_H
#define PAIR_H

/* A number that nobody got before: 1, 2, 3, ... */
int pair_ticket(void);

#endif
