/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What others ask of the QUERY path.
 */
#ifndef KVSINK_QUERY_H
#define KVSINK_QUERY_H

#include "kvsink_device.h"

/* Under answer_lock: refresh what fdinfo tells of a stream's SRAM. */
void kvsink_query_streams(struct drm_file *drm_file, u64 id);

#endif
