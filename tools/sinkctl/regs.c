// SPDX-License-Identifier: MIT
/*
 * regs list, read, dump, decode. Names, offsets, fields and who may read a register come from the
 * tables of kvsink_hw.h; values come through REG_READ, never from a mapped BAR.
 */
#include "sinkctl.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

/* Who may read it: the visibilities of kvsink_hw.h. */
enum visibility { PUBLIC, ADMIN, KERNEL };

static const char *const visibility_names[] = {"public", "admin", "kernel"};

struct row {
	const char *name; /* without prefix */
	uint32_t offset;  /* in the block; for a counter, in the register space */
	const char *access;
	enum visibility visibility;
	const char *doc;
};

static const struct row device_rows[] = {
#define X(name, offset, access, visibility, doc) {#name, offset, #access, visibility, doc},
	KVSINK_REGS(X)
#undef X
};

static const struct row ring_rows[] = {
#define X(name, offset, access, visibility, doc) {#name, offset, #access, visibility, doc},
	KVSINK_RING_REGS(X)
#undef X
};

static const struct row counter_rows[] = {
#define X(name, unit, doc)                                                                                   \
	{#name, KVSINK_COUNTER_BASE + 8 * KVSINK_COUNTER_##name, "RO", ADMIN, doc " (" unit ")"},
	KVSINK_COUNTERS(X)
#undef X
};

static const struct {
	const char *reg, *name;
	unsigned shift, width;
} fields[] = {
#define X(reg, field, shift, width, doc) {#reg, #field, shift, width},
	KVSINK_FIELDS(X)
#undef X
};

#define ROWS(table) ((unsigned)(sizeof(table) / sizeof(*(table))))

/* One register of the whole space. */
struct reg {
	char name[40]; /* with prefix: ring0.HEAD, counter.STEPS */
	uint32_t offset;
	unsigned width; /* bits */
	const struct row *row;
};

/* Register number `index` of a device with that many rings; false behind the last. */
static bool reg_at(unsigned index, unsigned rings, struct reg *reg)
{
	unsigned ring;

	reg->width = 32;
	if (index < ROWS(device_rows)) {
		reg->row = &device_rows[index];
		reg->offset = reg->row->offset;
		snprintf(reg->name, sizeof(reg->name), "%s", reg->row->name);
		return true;
	}
	index -= ROWS(device_rows);
	if (index < rings * ROWS(ring_rows)) {
		ring = index / ROWS(ring_rows);
		reg->row = &ring_rows[index % ROWS(ring_rows)];
		reg->offset = KVSINK_RING_BASE + ring * KVSINK_RING_STRIDE + reg->row->offset;
		snprintf(reg->name, sizeof(reg->name), "ring%u.%s", ring, reg->row->name);
		return true;
	}
	index -= rings * ROWS(ring_rows);
	if (index >= ROWS(counter_rows))
		return false;
	reg->row = &counter_rows[index];
	reg->offset = reg->row->offset;
	reg->width = 64;
	snprintf(reg->name, sizeof(reg->name), "counter.%s", reg->row->name);
	return true;
}

static bool reg_find(const char *text, struct reg *reg)
{
	uint64_t offset;
	bool number = sc_parse_u64(text, UINT32_MAX, &offset);

	for (unsigned i = 0; reg_at(i, KVSINK_MAX_RINGS, reg); i++)
		if (number ? reg->offset == offset : !strcasecmp(reg->name, text))
			return true;
	return false;
}

static int need_reg(struct sc_run *run, const char *text, struct reg *reg)
{
	if (reg_find(text, reg))
		return 0;
	return sc_usage(run, "no register '%s'; a name or an offset of 'sinkctl regs list' is allowed", text);
}

/* The key of field i: its name in lower case. */
static const char *field_key(unsigned i, char key[24])
{
	unsigned n = 0;

	for (; n < 23 && fields[i].name[n]; n++)
		key[n] = tolower(fields[i].name[n]);
	key[n] = 0;
	return key;
}

/* The fields of a value; an empty object if the register has none. */
json_object *sc_fields(const char *reg, uint64_t value)
{
	json_object *object = json_object_new_object();
	char key[24];

	for (unsigned i = 0; i < ROWS(fields); i++)
		if (!strcmp(fields[i].reg, reg))
			sc_put_u64(object, field_key(i, key),
				   value >> fields[i].shift & ((1ull << fields[i].width) - 1));
	return object;
}

static json_object *describe(const struct reg *reg)
{
	json_object *record = json_object_new_object();

	sc_put_text(record, "name", reg->name);
	sc_put_u64(record, "offset", reg->offset);
	sc_put_text(record, "access", reg->row->access);
	sc_put_text(record, "visibility", visibility_names[reg->row->visibility]);
	sc_put_u64(record, "width", reg->width);
	sc_put_text(record, "description", reg->row->doc);
	return record;
}

static void add_value(json_object *list, const struct reg *reg, uint64_t value)
{
	json_object *record = describe(reg);

	sc_put_value(record, reg->name, reg->width, value);
	json_object_array_add(list, record);
}

/* ---- commands -------------------------------------------------------------------------------- */

/* Field name -> its bits as "high:low". */
static json_object *describe_fields(const char *reg)
{
	json_object *object = json_object_new_object();
	char bits[24], key[24];

	for (unsigned i = 0; i < ROWS(fields); i++) {
		if (strcmp(fields[i].reg, reg))
			continue;
		snprintf(bits, sizeof(bits), "%u:%u", fields[i].shift + fields[i].width - 1, fields[i].shift);
		sc_put_text(object, field_key(i, key), bits);
	}
	return object;
}

int sc_regs_list(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, device, "registers"), *record;
	struct reg reg;

	for (unsigned i = 0; reg_at(i, 1, &reg); i++) {
		bool ring = !strncmp(reg.name, "ring0.", 6);

		if (ring)
			reg.name[4] = 'N';
		record = describe(&reg);
		sc_put_u64(record, "count", ring ? KVSINK_MAX_RINGS : 1);
		sc_put_u64(record, "stride", ring ? KVSINK_RING_STRIDE : 0);
		sc_put(record, "bits", describe_fields(reg.name));
		json_object_array_add(list, record);
	}
	return 0;
}

int sc_regs_read_prepare(struct sc_run *run)
{
	struct reg reg;
	int exit = 0;

	for (int i = 0; i < run->arg_count && !exit; i++)
		exit = need_reg(run, run->args[i], &reg);
	return exit;
}

static int read_one(struct sc_run *run, struct sc_device *device, const char *text, json_object *list)
{
	struct reg reg;
	uint64_t value;
	char what[64];
	int error;

	reg_find(text, &reg);
	snprintf(what, sizeof(what), "regs read %s", reg.name);
	if (reg.row->visibility == KERNEL)
		return sc_error(run, device, -EPERM, NULL, what, "the driver alone may read this register");
	error = kvs_register_read(device->kvs, reg.offset, &value);
	if (error)
		return sc_error(run, device, error, NULL, what,
				error == -EACCES ? "for administrators (CAP_SYS_ADMIN)" : NULL);
	add_value(list, &reg, value);
	return 0;
}

int sc_regs_read(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, device, "registers");
	int result = 0;

	for (int i = 0; i < run->arg_count; i++) {
		if (read_one(run, device, run->args[i], list))
			result = -1;
		else
			run->partial = true;
	}
	return result;
}

int sc_regs_dump(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, device, "registers");
	struct drm_kvsink_dev_info info = {0};
	int error = kvs_device_info(device->kvs, &info);
	unsigned hidden = 0;
	struct reg reg;
	uint64_t value;

	if (error)
		return sc_error(run, device, error, NULL, "regs dump", NULL);
	for (unsigned i = 0; reg_at(i, info.rings, &reg); i++) {
		if (reg.row->visibility == KERNEL)
			continue;
		error = kvs_register_read(device->kvs, reg.offset, &value);
		if (error == -EACCES && reg.row->visibility == ADMIN) {
			hidden++;
			continue;
		}
		if (error)
			return sc_error(run, device, error, NULL, "regs dump", reg.name);
		add_value(list, &reg, value);
	}
	sc_put_u64(device->record, "hidden", hidden);
	/* They are read one after the other while the device works. */
	sc_put(device->record, "consistent", json_object_new_boolean(false));
	if (hidden)
		sc_note(run, "%s: %u registers are for administrators (CAP_SYS_ADMIN) and left out",
			device->label, hidden);
	return 0;
}

int sc_regs_decode_prepare(struct sc_run *run)
{
	struct reg reg;
	int exit = need_reg(run, run->args[0], &reg);
	uint64_t max;

	if (exit)
		return exit;
	max = reg.width == 64 ? UINT64_MAX : UINT32_MAX;
	if (!sc_parse_u64(run->args[1], max, &run->value))
		return sc_usage(run, "value '%s' of %s: an integer from 0 to 0x%llx is allowed", run->args[1],
				reg.name, (unsigned long long)max);
	return 0;
}

int sc_regs_decode(struct sc_run *run, struct sc_device *device)
{
	struct reg reg;

	reg_find(run->args[0], &reg);
	add_value(sc_list(run, device, "registers"), &reg, run->value);
	return 0;
}
