/* SPDX-License-Identifier: MIT */
/*
 * --hold: the stream stays open and is stepped on request, so that sinkctl can act on it between steps.
 * One line of JSON on standard output when it is ready, and one for each line of standard input:
 *
 *   step [N]   decode N tokens (1)
 *   stats      what the counters say so far
 *   quit       end (so does the end of input)
 */
#ifndef KVSINK_LLM_HOLD_H
#define KVSINK_LLM_HOLD_H

#include "session.h"

int hold(struct session *session);

#endif
