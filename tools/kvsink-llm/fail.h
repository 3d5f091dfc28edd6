/* SPDX-License-Identifier: MIT */
/*
 * One line about what went wrong: what, where, which value. Every function of this program that can
 * fail says its line itself, once, and returns a negative value; callers only pass that on.
 */
#ifndef KVSINK_LLM_FAIL_H
#define KVSINK_LLM_FAIL_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_REFUSED = 3 };

/* Returned instead of -1 where the model is at fault: main() turns it into EXIT_REFUSED. */
#define REFUSED (-2)
/* Returned where the command line, or a file that it names, says what cannot be done: EXIT_USAGE. */
#define USAGE (-3)

__attribute__((format(printf, 1, 2))) static inline int fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "%s: ", program_invocation_short_name);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	return -1;
}

/* Progress for people: long parts say what they do. */
__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("  ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	fflush(stderr);
}

#endif
