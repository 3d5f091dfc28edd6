/* SPDX-License-Identifier: MIT */
/* A file's text in memory. */
#ifndef KVSINK_LLM_TEXT_H
#define KVSINK_LLM_TEXT_H

#include <stddef.h>

/* text_read - all of a regular file, to be freed; NULL with a line printed */
char *text_read(const char *path, size_t *bytes);

#endif
