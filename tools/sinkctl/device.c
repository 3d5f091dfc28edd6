// SPDX-License-Identifier: MIT
/*
 * Which devices a run is about, and what can be said about one: list and info. Nodes, their PCI
 * address and driver come from sysfs, all else from the library.
 */
#include "sinkctl.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEVICES 64
#define NODE_PREFIX "drm:/dev/accel/"

/* ---- what sysfs knows about a node ----------------------------------------------------------- */

/* The last part of where a link below /sys/class/accel/NODE leads; false if there is none. */
static bool sysfs_name(const char *node, const char *link, char *name, size_t size)
{
	char path[PATH_MAX], target[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/class/accel/%s/%s", node, link);
	if (!realpath(path, target) || !strrchr(target, '/'))
		return false;
	return (size_t)snprintf(name, size, "%s", strrchr(target, '/') + 1) < size;
}

/* accelN, or NULL for a device that has no node. */
static const char *node_of(const char *name)
{
	return strncmp(name, "drm:/", 5) || !strrchr(name, '/')[1] ? NULL : strrchr(name, '/') + 1;
}

void sc_identify(struct sc_device *device, const char *name)
{
	char pci[64], driver[64];
	const char *node;

	if (device->kvs)
		name = kvs_device_name(device->kvs);
	node = node_of(name);
	device->label = node ? node : name;
	sc_put_text(device->record, "name", name);
	sc_put_text(device->record, "node", node);
	if (node && sysfs_name(node, "device", pci, sizeof(pci)))
		sc_put_text(device->record, "pci", pci);
	if (node && sysfs_name(node, "device/driver", driver, sizeof(driver)))
		sc_put_text(device->record, "driver", driver);
}

/* Reading an administrator's register succeeds for administrators alone. */
bool sc_is_admin(struct sc_device *device)
{
	uint64_t value;

	return !kvs_register_read(device->kvs, KVSINK_REG_TAGS_VALID, &value);
}

/* ---- choosing -------------------------------------------------------------------------------- */

static bool is_pci(const char *text)
{
	return strspn(text, "0123456789abcdefABCDEF:.") == strlen(text) && strchr(text, ':') &&
	       strchr(text, '.');
}

/* 0000:01:00.0, also without its domain. */
static bool has_pci(const char *name, const char *wanted)
{
	const char *node = node_of(name);
	char pci[64];

	if (!node || !sysfs_name(node, "device", pci, sizeof(pci)))
		return false;
	return !strcasecmp(pci, wanted) || (strlen(wanted) == 7 && !strcasecmp(pci + 5, wanted));
}

/* The library's name for what -d says; NULL if there is no such device. */
static char *resolve(const char *text, char **names, int count)
{
	uint64_t index;
	char *name = NULL;

	if (!strncmp(text, "drm:", 4) || !strncmp(text, "sim:", 4))
		return strdup(text);
	if (text[0] == '/')
		return asprintf(&name, "drm:%s", text) < 0 ? NULL : name;
	if (!strncmp(text, "accel", 5) && isdigit((unsigned char)text[5]))
		return asprintf(&name, NODE_PREFIX "%s", text) < 0 ? NULL : name;
	if (sc_parse_u64(text, INT_MAX, &index))
		return (int)index < count ? strdup(names[index]) : NULL;
	for (int i = 0; i < count; i++)
		if (has_pci(names[i], text))
			return strdup(names[i]);
	return NULL;
}

static bool is_device_name(const char *text)
{
	uint64_t index;

	return !strncmp(text, "drm:", 4) || !strncmp(text, "sim:", 4) || text[0] == '/' ||
	       (!strncmp(text, "accel", 5) && isdigit((unsigned char)text[5])) ||
	       sc_parse_u64(text, INT_MAX, &index) || is_pci(text);
}

static void free_names(char **names, int count)
{
	for (int i = 0; i < count; i++)
		free(names[i]);
}

static int select_named(struct sc_run *run, char **names, int count)
{
	char *name = resolve(run->device, names, count), *message = NULL;
	int result;

	free_names(names, count);
	if (name) {
		names[0] = name;
		return 1;
	}
	if (asprintf(&message, "no device '%s' among the %d there are", run->device, count) < 0)
		return -ENOMEM;
	result = sc_error(run, NULL, -ENODEV, NULL, run->command->name, message);
	free(message);
	return result;
}

static int check_count(struct sc_run *run, char **names, int count)
{
	if (!count && run->command->scope != SC_LISTS)
		return sc_error(run, NULL, -ENODEV, NULL, run->command->name, "no kvsink device");
	if (count > 1 && sc_changes(run)) {
		free_names(names, count);
		sc_usage(run,
			 "%s changes one device and there are %d: name it with -d; 'sinkctl list' shows them",
			 run->command->name, count);
		return -EINVAL;
	}
	return count;
}

static int is_node(const struct dirent *entry)
{
	char driver[64];

	return !strncmp(entry->d_name, "accel", 5) &&
	       sysfs_name(entry->d_name, "device/driver", driver, sizeof(driver)) &&
	       !strcmp(driver, "kvsink");
}

/*
 * kvsink's nodes in the order of their numbers. sysfs also shows those that the caller may not open,
 * which kvs_list() leaves out: they shall be reported, not look absent.
 */
static int find_nodes(char **names)
{
	struct dirent **entries;
	int found = scandir("/sys/class/accel", &entries, is_node, versionsort), count = 0;

	for (int i = 0; i < found; i++) {
		if (count < MAX_DEVICES && asprintf(&names[count], NODE_PREFIX "%s", entries[i]->d_name) > 0)
			count++;
		free(entries[i]);
	}
	if (found >= 0)
		free(entries);
	return count;
}

int sc_select(struct sc_run *run, char ***names)
{
	int count;

	*names = calloc(MAX_DEVICES, sizeof(**names));
	if (!*names)
		return sc_error(run, NULL, -ENOMEM, NULL, run->command->name, NULL);
	if (run->device && !is_device_name(run->device)) {
		sc_usage(run,
			 "-d '%s': accelN, /dev/accel/accelN, a PCI address, a number or a name that begins"
			 " with drm: or sim: is allowed",
			 run->device);
		return -EINVAL;
	}
	count = find_nodes(*names);
	return run->device ? select_named(run, *names, count) : check_count(run, *names, count);
}

/* ---- commands -------------------------------------------------------------------------------- */

static void put_info(json_object *record, const struct drm_kvsink_dev_info *info)
{
	char version[24];

	snprintf(version, sizeof(version), "%u.%u", info->hw_version >> 16, info->hw_version & 0xffff);
	sc_put_text(record, "hw_version", version);
	sc_put_u64(record, "caps", info->caps);
	sc_put(record, "caps_fields", sc_fields("CAPS", info->caps));
	sc_put_u64(record, "sram_bytes", info->sram_bytes);
	sc_put_u64(record, "hbm_bytes", info->hbm_bytes);
	sc_put_u64(record, "generation", info->generation);
	sc_put_u64(record, "tag_count", info->tags);
	sc_put_u64(record, "stream_count", info->streams);
	sc_put_u64(record, "ring_count", info->rings);
	sc_put_u64(record, "ring_slots", info->ring_slots);
	sc_put_u64(record, "gart_pages", info->gart_pages);
	sc_put_u64(record, "burst_bytes", info->burst_bytes);
}

static int get_info(struct sc_run *run, struct sc_device *device, struct drm_kvsink_dev_info *info)
{
	int error = kvs_device_info(device->kvs, info);

	return error ? sc_error(run, device, error, NULL, run->command->name, NULL) : 0;
}

int sc_list_devices(struct sc_run *run, struct sc_device *device)
{
	struct drm_kvsink_dev_info info = {0};

	if (get_info(run, device, &info))
		return -1;
	sc_put_u64(device->record, "sram_bytes", info.sram_bytes);
	sc_put_u64(device->record, "hbm_bytes", info.hbm_bytes);
	return 0;
}

int sc_info(struct sc_run *run, struct sc_device *device)
{
	struct drm_kvsink_dev_info info = {0};

	if (get_info(run, device, &info))
		return -1;
	put_info(device->record, &info);
	sc_put(device->record, "admin", json_object_new_boolean(sc_is_admin(device)));
	return 0;
}
