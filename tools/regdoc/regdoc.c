// SPDX-License-Identifier: MIT
/*
 * Prints docs/registers.md from the tables of uapi/kvsink_hw.h: what the chip looks like to software.
 *
 * `make docs` runs it; tests/docs/registers.t holds that the file in the tree is what it prints.
 */
#include <stdio.h>
#include <string.h>

#include "kvsink_hw.h"

struct reg {
	const char *name;
	unsigned offset;
	const char *access, *visibility, *doc;
};

static const struct reg regs[] = {
#define X(name, offset, access, vis, doc) {#name, offset, #access, #vis, doc},
	KVSINK_REGS(X)
#undef X
};

static const struct reg ring_regs[] = {
#define X(name, offset, access, vis, doc) {#name, offset, #access, #vis, doc},
	KVSINK_RING_REGS(X)
#undef X
};

static const struct {
	const char *reg, *field;
	unsigned shift, width;
	const char *doc;
} fields[] = {
#define X(reg, field, shift, width, doc) {#reg, #field, shift, width, doc},
	KVSINK_FIELDS(X)
#undef X
};

static const struct {
	const char *name, *unit, *doc;
} counters[] = {
#define X(name, unit, doc) {#name, unit, doc},
	KVSINK_COUNTERS(X)
#undef X
};

static const struct {
	const char *name;
	unsigned value;
	const char *err, *doc;
} codes[] = {
#define X(name, value, err, doc) {#name, value, #err, doc},
	KVSINK_CODES(X)
#undef X
};

static const struct {
	const char *name;
	unsigned index;
	const char *kind, *scope;
	unsigned long long initial;
	const char *doc;
} params[] = {
#define X(name, index, kind, scope, def, doc) {#name, index, #kind, #scope, def, doc},
	KVSINK_PARAMS(X)
#undef X
};

struct numbered {
	const char *name;
	unsigned value;
	const char *doc;
};

static const struct numbered opcodes[] = {
#define X(name, value, doc) {#name, value, doc},
	KVSINK_OPCODES(X)
#undef X
};

static const struct numbered events[] = {
#define X(name, value, doc) {#name, value, doc},
	KVSINK_EVENTS(X)
#undef X
};

static const struct numbered reasons[] = {
#define X(name, value, doc) {#name, value, doc},
	KVSINK_REASONS(X)
#undef X
};

static const struct numbered formats[] = {
#define X(name, value, bits, group, minimum, doc) {#name, value, doc},
	KVSINK_FORMATS(X)
#undef X
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A table's cell may not hold a bare bar. */
static void cell(const char *text)
{
	putchar(' ');
	for (; *text; text++) {
		if (*text == '|')
			putchar('\\');
		putchar(*text);
	}
	fputs(" |", stdout);
}

static void print_regs(const struct reg *reg, size_t n)
{
	puts("| offset | name | access | readable by | meaning |\n|---|---|---|---|---|");
	for (; n--; reg++) {
		printf("| 0x%03x | `%s` | %s | %s |", reg->offset, reg->name, reg->access, reg->visibility);
		cell(reg->doc);
		putchar('\n');
	}
}

static void print_fields(void)
{
	size_t i;

	puts("| register | bits | field | meaning |\n|---|---|---|---|");
	for (i = 0; i < COUNT(fields); i++) {
		printf("| `%s` | ", fields[i].reg);
		if (fields[i].width > 1)
			printf("%u:", fields[i].shift + fields[i].width - 1);
		printf("%u | `%s` |", fields[i].shift, fields[i].field);
		cell(fields[i].doc);
		putchar('\n');
	}
}

static void print_counters(void)
{
	size_t i;

	puts("| offset | name | unit | meaning |\n|---|---|---|---|");
	for (i = 0; i < COUNT(counters); i++) {
		printf("| 0x%04zx | `%s` | %s |", KVSINK_COUNTER_BASE + 8 * i, counters[i].name,
		       counters[i].unit);
		cell(counters[i].doc);
		putchar('\n');
	}
}

static void print_codes(void)
{
	size_t i;

	puts("| value | name | errno | meaning |\n|---|---|---|---|");
	for (i = 0; i < COUNT(codes); i++) {
		printf("| %u | `%s` | %s |", codes[i].value, codes[i].name,
		       strcmp(codes[i].err, "0") ? codes[i].err : "–");
		cell(codes[i].doc);
		putchar('\n');
	}
}

static void print_params(void)
{
	size_t i;

	puts("| index | name | kind | scope | default | meaning |\n|---|---|---|---|---|---|");
	for (i = 0; i < COUNT(params); i++) {
		printf("| %u | `%s` | %s | %s | 0x%llx |", params[i].index, params[i].name, params[i].kind,
		       params[i].scope, params[i].initial);
		cell(params[i].doc);
		putchar('\n');
	}
}

static void print_numbered(const struct numbered *row, size_t n)
{
	puts("| value | name | meaning |\n|---|---|---|");
	for (; n--; row++) {
		printf("| %u | `%s` |", row->value, row->name);
		cell(row->doc);
		putchar('\n');
	}
}

static void print_sizes(void)
{
	puts("| record | bytes |\n|---|---|");
#define X(record) printf("| `" #record "` | %zu |\n", sizeof(record));
	X(struct kvsink_job_desc)
	X(struct kvsink_cmd)
	X(union kvsink_item)
	X(struct kvsink_completion)
	X(struct kvsink_list_head)
	X(struct kvsink_stream_rec)
	X(struct kvsink_tag_rec)
	X(struct kvsink_score_rec)
	X(struct kvsink_sink_rec)
	X(struct kvsink_verdict_rec)
	X(struct kvsink_profile_rec)
	X(struct kvsink_event_rec)
	X(struct kvsink_span_rec)
	X(struct kvsink_attend_stat)
#undef X
}

static void print_intro(void)
{
	printf("# Registers, commands and records of the kvsink chip\n\n"
	       "Printed by `make docs` from `uapi/kvsink_hw.h`; edit that file, not this one. Everything is "
	       "little\n"
	       "endian. Command structures and their fields are explained in the header.\n\n"
	       "PCI %04x:%04x, class 0x%04x. BAR%d: %d KiB of 32-bit registers; BAR%d: the SRAM, for the "
	       "driver\n"
	       "only; BAR%d: MSI-X. RW read and write, RO read only, WO reads as zero, W1C write ones to "
	       "clear.\n"
	       "\"Readable by\" says who gets the register through the REG_READ ioctl: PUBLIC everyone, "
	       "ADMIN\n"
	       "CAP_SYS_ADMIN, KERNEL nobody.\n",
	       KVSINK_PCI_VENDOR, KVSINK_PCI_DEVICE, KVSINK_PCI_CLASS, KVSINK_BAR_REGS,
	       KVSINK_REGS_BYTES / 1024, KVSINK_BAR_SRAM, KVSINK_BAR_MSIX);
}

int main(void)
{
	print_intro();
	puts("\n## Registers\n");
	print_regs(regs, COUNT(regs));
	puts("\n## Fields\n");
	print_fields();
	printf("\n## Registers of a ring\n\nRing r has its own at 0x%x + r * 0x%x, at most %d rings.\n\n",
	       KVSINK_RING_BASE, KVSINK_RING_STRIDE, KVSINK_MAX_RINGS);
	print_regs(ring_regs, COUNT(ring_regs));
	puts("\n## Counters\n\n64 bits each; reading the low half latches the high half. Readable by the "
	     "administrator;\n"
	     "QUERY gives the same set for a stream. Modelled time is modelled, not measured.\n");
	print_counters();
	puts("\n## Parameters\n\nSet by CONFIG, for a stream or as the device's default. F32 is the bit "
	     "pattern of a\n"
	     "non-negative finite binary32 number. Scope: DEVICE there is one for all, STREAM one for each "
	     "stream, GROUP\n"
	     "one for each score group of a stream.\n");
	print_params();
	puts("\n## Commands\n");
	print_numbered(opcodes, COUNT(opcodes));
	printf("\n## Number formats\n\nAPPEND stores rows in the first %d, SEAL turns whole pages into the "
	       "others.\n\n",
	       KVSINK_APPEND_FORMATS);
	print_numbered(formats, COUNT(formats));
	puts("\n## Result codes\n");
	print_codes();
	puts("\n## Events\n");
	print_numbered(events, COUNT(events));
	puts("\n## Reasons\n\nWhy an event happened.\n");
	print_numbered(reasons, COUNT(reasons));
	puts("\n## Sizes of what the chip fetches and writes\n");
	print_sizes();
	if (fflush(stdout) || ferror(stdout)) {
		perror("kvsink-regdoc: standard output");
		return 1;
	}
	return 0;
}
