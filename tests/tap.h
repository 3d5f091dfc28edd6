/* SPDX-License-Identifier: MIT */
/*
 * TAP for the C tests that run on the host. A test names the behaviour that it holds; a failed one says
 * where and what. Every program ends with `return tap_done();`, which fails it when a test failed, when
 * none ran, or when the number differs from the plan given before.
 */
#ifndef KVSINK_TAP_H
#define KVSINK_TAP_H

#include <stdarg.h>
#include <stdio.h>

static int tap_planned, tap_ran, tap_failed;

/* Say how many tests will run. Without it the plan is printed at the end. */
__attribute__((unused)) static void tap_plan(int tests)
{
	tap_planned = tests;
	printf("1..%d\n", tests);
}

/* A diagnostic line. */
__attribute__((format(printf, 1, 2), unused)) static void tap_diag(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("# ");
	vprintf(format, args);
	printf("\n");
	va_end(args);
}

/* One test: `ok` decides, the rest names the behaviour. Returns `ok`. */
#define tap_ok(ok, ...) tap_result(!!(ok), #ok, __FILE__, __LINE__, __VA_ARGS__)

__attribute__((format(printf, 5, 6), unused)) static int
tap_result(int ok, const char *condition, const char *file, int line, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("%sok %d - ", ok ? "" : "not ", ++tap_ran);
	vprintf(format, args);
	printf("\n");
	va_end(args);
	if (!ok) {
		tap_failed++;
		tap_diag("%s:%d: false: %s", file, line, condition);
	}
	fflush(stdout);
	return ok;
}

/* A test that cannot run here, and why. */
__attribute__((unused)) static void tap_skip(const char *name, const char *why)
{
	printf("ok %d - %s # SKIP %s\n", ++tap_ran, name, why);
}

/* Exit status of the program. */
__attribute__((unused)) static int tap_done(void)
{
	if (!tap_planned)
		printf("1..%d\n", tap_ran);
	if (tap_failed)
		tap_diag("%d of %d failed", tap_failed, tap_ran);
	return tap_failed || !tap_ran || (tap_planned && tap_planned != tap_ran);
}

#endif
