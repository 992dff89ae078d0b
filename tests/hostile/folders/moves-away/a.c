// SPDX-License-Identifier: GPL-2.0-only
/* A module that does nothing: what is hostile is how it is built. */
#include <linux/module.h>

MODULE_LICENSE("GPL");
