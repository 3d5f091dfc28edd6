// SPDX-License-Identifier: MIT
/*
 * Helpers of the driver's tests. Nothing here checks anything: it returns what the kernel said.
 */
#include "kvt.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The node of the which-th device that is bound to kvsink. */
static const char *find_node(unsigned int which)
{
	static char path[64];
	char link[PATH_MAX];
	glob_t found;

	path[0] = 0;
	if (glob("/sys/class/accel/accel*", 0, NULL, &found))
		return path;
	for (size_t i = 0; i < found.gl_pathc && !path[0]; i++) {
		char name[PATH_MAX];
		ssize_t n;

		snprintf(name, sizeof(name), "%s/device/driver", found.gl_pathv[i]);
		n = readlink(name, link, sizeof(link) - 1);
		link[n > 0 ? n : 0] = 0;
		if (n > 0 && !strcmp(strrchr(link, '/') + 1, "kvsink") && !which--)
			snprintf(path, sizeof(path), "/dev/accel/%s", strrchr(found.gl_pathv[i], '/') + 1);
	}
	globfree(&found);
	return path;
}

const char *kvt_path(void)
{
	return find_node(0);
}

static int open_node(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int kvt_open(void)
{
	return open_node(find_node(0));
}

int kvt_open_second(void)
{
	return open_node(find_node(1));
}

int kvt_ioctl(int fd, unsigned long request, void *arg)
{
	int ret;

	do
		ret = ioctl(fd, request, arg);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

void kvt_set(void *args, const struct kvt_bad *bad)
{
	memcpy((char *)args + bad->offset, &bad->value, bad->bytes);
}

struct kvt_bo kvt_bo(int fd, uint64_t size)
{
	struct drm_kvsink_bo_create create = {.size = size};
	struct drm_kvsink_bo_mmap_offset offset = {0};
	struct kvt_bo bo = {0};

	if (kvt_ioctl(fd, DRM_IOCTL_KVSINK_BO_CREATE, &create))
		return bo;
	bo.handle = create.handle;
	bo.size = create.size;
	offset.handle = create.handle;
	if (kvt_ioctl(fd, DRM_IOCTL_KVSINK_BO_MMAP_OFFSET, &offset))
		return bo;
	bo.map = mmap(NULL, bo.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset.offset);
	if (bo.map == MAP_FAILED)
		bo.map = NULL;
	return bo;
}

void kvt_bo_free(int fd, struct kvt_bo *bo)
{
	struct drm_gem_close close = {.handle = bo->handle};

	if (bo->map)
		munmap(bo->map, bo->size);
	kvt_ioctl(fd, DRM_IOCTL_GEM_CLOSE, &close);
	*bo = (struct kvt_bo){0};
}

struct drm_kvsink_stream_create kvt_stream_args(void)
{
	static struct drm_kvsink_layer layers[KVT_LAYERS];

	for (int i = 0; i < KVT_LAYERS; i++)
		layers[i] = (struct drm_kvsink_layer){.scale = 0x3f000000}; /* 0.5 */
	return (struct drm_kvsink_stream_create){
		.layers = {sizeof(layers[0]), KVT_LAYERS, (uintptr_t)layers},
		.format = DRM_KVSINK_FORMAT_F32,
		.q_heads = KVT_Q_HEADS,
		.kv_heads = KVT_KV_HEADS,
		.d_k = KVT_DK,
		.d_v = KVT_DV,
		.page_tokens = KVT_PAGE,
		.max_tokens = KVT_MAX,
		.reserve_tokens = KVT_MAX,
		.score_groups = 1,
		.group_end = {KVT_LAYERS},
	};
}

uint64_t kvt_stream(int fd)
{
	struct drm_kvsink_stream_create args = kvt_stream_args();

	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &args) ? 0 : args.stream;
}

int kvt_destroy(int fd, uint64_t stream)
{
	struct drm_kvsink_stream_destroy args = {.stream = stream};

	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_STREAM_DESTROY, &args);
}

int kvt_submit_raw(int fd, struct drm_kvsink_submit *submit)
{
	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_SUBMIT, submit);
}

int kvt_kill(void (*work)(int ready, bool variant), bool variant, unsigned int after_us)
{
	int ready[2], status;
	char byte;
	pid_t pid;

	if (pipe(ready))
		return -1;
	pid = fork();
	if (!pid)
		work(ready[1], variant);
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		return -2;
	close(ready[0]);
	usleep(after_us);
	if (kill(pid, SIGKILL) || waitpid(pid, &status, 0) != pid)
		return -3;
	return WIFSIGNALED(status) ? 0 : WEXITSTATUS(status);
}

uint32_t kvt_syncobj(int fd)
{
	struct drm_syncobj_create create = {0};

	return kvt_ioctl(fd, DRM_IOCTL_SYNCOBJ_CREATE, &create) ? 0 : create.handle;
}

int kvt_wait_point(int fd, uint32_t syncobj, uint64_t point, int64_t seconds)
{
	struct drm_syncobj_timeline_wait wait = {
		.handles = (uintptr_t)&syncobj,
		.points = (uintptr_t)&point,
		.count_handles = 1,
		.flags = DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT,
	};
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	wait.timeout_nsec = (now.tv_sec + seconds) * 1000000000ll + now.tv_nsec;
	return kvt_ioctl(fd, DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, &wait);
}

static void kvt_syncobj_free(int fd, uint32_t handle)
{
	struct drm_syncobj_destroy destroy = {.handle = handle};

	kvt_ioctl(fd, DRM_IOCTL_SYNCOBJ_DESTROY, &destroy);
}

int kvt_run(int fd, struct kvt_bo *status_bo, const struct drm_kvsink_op *ops, uint32_t count,
	    uint64_t generation, struct drm_kvsink_job_status *status)
{
	struct drm_kvsink_sync sync = {
		.flags = DRM_KVSINK_SYNC_SIGNAL | DRM_KVSINK_SYNC_TIMELINE,
		.handle = kvt_syncobj(fd),
		.value = 1,
	};
	struct drm_kvsink_job job = {
		.ops = {sizeof(*ops), count, (uintptr_t)ops},
		.syncs = {sizeof(sync), 1, (uintptr_t)&sync},
		.status = {.handle = status_bo->handle},
	};
	struct drm_kvsink_submit submit = {.generation = generation,
					   .jobs = {sizeof(job), 1, (uintptr_t)&job}};
	int err = kvt_submit_raw(fd, &submit);

	err = err ? err : kvt_wait_point(fd, sync.handle, 1, 60);
	kvt_syncobj_free(fd, sync.handle);
	memcpy(status, status_bo->map, sizeof(*status));
	return err;
}

/* Small, distinct, with a token that stands out. */
float kvt_value(uint32_t token, uint32_t layer, uint32_t head, uint32_t element, bool v)
{
	uint32_t hash =
		(token * 2654435761u) ^ (layer * 40503u) ^ (head * 9176u) ^ (element * 69069u) ^ (v * 12345u);

	hash ^= hash >> 13;
	hash *= 1274126177u;
	return (float)(int32_t)(hash >> 8 & 0xffff) / 32768.0f - 1.0f;
}

struct drm_kvsink_op kvt_append(uint64_t stream, uint32_t layer, uint32_t first, uint32_t count,
				uint32_t handle, uint64_t k, uint64_t v)
{
	return (struct drm_kvsink_op){
		.type = DRM_KVSINK_OP_APPEND,
		.append =
			{
				.stream = stream,
				.layer = layer,
				.first = first,
				.count = count,
				.k = {.handle = handle, .offset = k},
				.v = {.handle = handle, .offset = v},
			},
	};
}

struct drm_kvsink_op kvt_step_end(uint64_t stream, uint32_t count)
{
	return (struct drm_kvsink_op){
		.type = DRM_KVSINK_OP_STEP_END,
		.step_end = {.stream = stream, .count = count},
	};
}

/* Rows of tokens [as, as + tokens), behind `first` tokens; with `end` they become a step. */
static int append_rows(int fd, uint64_t stream, uint32_t first, uint32_t as, uint32_t tokens, bool end)
{
	struct drm_kvsink_op ops[KVT_LAYERS + 1];
	struct drm_kvsink_job_status status;
	struct kvt_bo rows = kvt_bo(fd, KVT_LAYERS * KVT_MAX * KVT_KV_HEADS * KVT_ROW_BYTES);
	struct kvt_bo result = kvt_bo(fd, sizeof(status));
	float *at = rows.map;
	int err;

	if (!rows.map || !result.map)
		return -ENOMEM;
	for (uint32_t l = 0; l < KVT_LAYERS; l++) {
		uint64_t k = (uint64_t)((char *)at - (char *)rows.map), v;

		for (uint32_t i = 0; i < tokens * KVT_KV_HEADS * KVT_DK; i++)
			*at++ = kvt_value(as + i / (KVT_KV_HEADS * KVT_DK), l, i / KVT_DK % KVT_KV_HEADS,
					  i % KVT_DK, false);
		v = (uint64_t)((char *)at - (char *)rows.map);
		for (uint32_t i = 0; i < tokens * KVT_KV_HEADS * KVT_DV; i++)
			*at++ = kvt_value(as + i / (KVT_KV_HEADS * KVT_DV), l, i / KVT_DV % KVT_KV_HEADS,
					  i % KVT_DV, true);
		ops[l] = kvt_append(stream, l, first, tokens, rows.handle, k, v);
	}
	ops[KVT_LAYERS] = kvt_step_end(stream, tokens);
	err = kvt_run(fd, &result, ops, KVT_LAYERS + end, 0, &status);
	kvt_bo_free(fd, &rows);
	kvt_bo_free(fd, &result);
	return err ? err : (int)status.code;
}

int kvt_grow(int fd, uint64_t stream, uint32_t first, uint32_t tokens)
{
	return append_rows(fd, stream, first, first, tokens, true);
}

int kvt_draft(int fd, uint64_t stream, uint32_t first, uint32_t as, uint32_t tokens)
{
	return append_rows(fd, stream, first, as, tokens, false);
}

int kvt_fill(int fd, uint64_t stream, uint32_t tokens)
{
	return kvt_grow(fd, stream, 0, tokens);
}

int kvt_attend(int fd, uint64_t stream, uint32_t tokens, float out[KVT_OUT])
{
	struct drm_kvsink_attend_item item = {.stream = stream, .first = tokens - 1, .count = 1};
	struct drm_kvsink_job_status status;
	struct kvt_bo data = kvt_bo(fd, 8192), result = kvt_bo(fd, sizeof(status));
	struct drm_kvsink_op op = {
		.type = DRM_KVSINK_OP_ATTEND,
		.attend = {.items = {sizeof(item), 1, (uintptr_t)&item},
			   .mode = DRM_KVSINK_ATTEND_CANONICAL,
			   .q.handle = data.handle,
			   .out = {.handle = data.handle, .offset = 4096}},
	};
	int err;

	if (!data.map || !result.map)
		return -ENOMEM;
	for (int i = 0; i < KVT_Q_HEADS * KVT_DK; i++)
		((float *)data.map)[i] = (float)i / 16;
	err = kvt_run(fd, &result, &op, 1, 0, &status);
	memcpy(out, (char *)data.map + 4096, KVT_OUT * sizeof(*out));
	kvt_bo_free(fd, &data);
	kvt_bo_free(fd, &result);
	return err ? err : (int)status.code;
}

int kvt_swap(int fd, unsigned long request, uint64_t stream, uint32_t handle, uint64_t bytes,
	     struct drm_kvsink_swap *args)
{
	*args = (struct drm_kvsink_swap){.stream = stream, .image.handle = handle, .bytes = bytes};
	return kvt_ioctl(fd, request, args);
}

int kvt_record(int fd, uint64_t stream, struct kvsink_stream_rec *rec)
{
	struct {
		struct drm_kvsink_list_head head;
		struct kvsink_stream_rec rec;
	} answer = {0};
	int err = kvt_query(fd, DRM_KVSINK_QUERY_STREAMS, stream, &answer, sizeof(answer));

	*rec = answer.rec;
	return err;
}

int kvt_is_out(int fd, uint64_t stream)
{
	struct kvsink_stream_rec rec;
	int err = kvt_record(fd, stream, &rec);

	return err ? err : (int)rec.swapped;
}

int kvt_window(int fd, unsigned long request, uint64_t stream, uint32_t tokens)
{
	struct drm_kvsink_window args = {.stream = stream, .tokens = tokens};

	return kvt_ioctl(fd, request, &args);
}

uint64_t kvt_hog(int fd)
{
	struct drm_kvsink_stream_create args = kvt_stream_args();
	struct drm_kvsink_stream_reserve reserve = {0};
	uint64_t taken;

	args.kv_heads = args.q_heads = 32;
	args.d_k = args.d_v = 512;
	args.max_tokens = KVSINK_MAX_TOKENS;
	args.reserve_tokens = 0;
	if (kvt_ioctl(fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &args))
		return 0;
	reserve.stream = args.stream;
	for (uint32_t step = 1024; step >= KVT_PAGE; step /= 2)
		for (;;) {
			reserve.tokens += step;
			if (!kvt_ioctl(fd, DRM_IOCTL_KVSINK_STREAM_RESERVE, &reserve))
				continue;
			reserve.tokens -= step;
			break;
		}
	taken = reserve.tokens * 1024ull;
	while (kvt_stream(fd))
		taken++;
	return taken;
}

uint64_t kvt_all_hbm(void)
{
	int fd = kvt_open();
	uint64_t taken = kvt_hog(fd);

	close(fd);
	return taken;
}

struct drm_kvsink_place kvt_rows(uint32_t token)
{
	return (struct drm_kvsink_place){
		.token = token, .layer_end = KVT_LAYERS, .head_mask = (1 << KVT_KV_HEADS) - 1};
}

struct drm_kvsink_array kvt_places(const struct drm_kvsink_place *places, uint32_t count)
{
	return (struct drm_kvsink_array){
		.stride = sizeof(*places), .count = count, .array = (uintptr_t)places};
}

int kvt_evict(int fd, uint64_t stream, uint32_t token, struct drm_kvsink_evict *out)
{
	struct drm_kvsink_place place = kvt_rows(token);

	place.head_mask = ~0ull;
	*out = (struct drm_kvsink_evict){.stream = stream, .places = kvt_places(&place, 1)};
	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_EVICT, out);
}

int kvt_promote(int fd, uint64_t stream, uint32_t token, struct drm_kvsink_promote *out)
{
	struct drm_kvsink_place place = kvt_rows(token);

	*out = (struct drm_kvsink_promote){.stream = stream, .places = kvt_places(&place, 1)};
	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_PROMOTE, out);
}

int kvt_query(int fd, uint32_t type, uint64_t stream, void *buf, uint32_t size)
{
	struct drm_kvsink_query args = {
		.type = type, .stream = stream, .size = size, .pointer = (uintptr_t)buf};

	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_QUERY, &args);
}

int kvt_events(int fd, uint64_t stream, uint32_t code, uint32_t reason)
{
	static struct {
		struct drm_kvsink_list_head head;
		/* the log, the ring of broken promises beside it, and LOST in front */
		struct kvsink_event_rec recs[4 * KVSINK_EVENT_SLOTS];
	} events;
	int n = 0;

	if (kvt_query(fd, DRM_KVSINK_QUERY_EVENTS, 0, &events, sizeof(events)))
		return -1;
	for (uint32_t i = 0; i < events.head.written; i++)
		n += events.recs[i].stream == stream && events.recs[i].code == code &&
		     events.recs[i].reason == reason;
	return n;
}

int kvt_total(int fd, uint32_t type)
{
	struct drm_kvsink_list_head head;
	int err = kvt_query(fd, type, 0, &head, sizeof(head));

	return err ? err : (int)head.total;
}

uint64_t kvt_generation(int fd)
{
	struct drm_kvsink_dev_info info = {0};
	struct drm_kvsink_dev_query query = {.size = sizeof(info), .pointer = (uintptr_t)&info};

	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_DEV_QUERY, &query) ? 0 : info.generation;
}

long kvt_fdinfo(int fd, const char *key)
{
	char path[64], line[256];
	long value = -1;
	FILE *info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = fopen(path, "r");
	while (info && fgets(line, sizeof(line), info))
		if (!strncmp(line, key, strlen(key)))
			value = strtol(line + strlen(key), NULL, 10);
	if (info)
		fclose(info);
	return value;
}

int kvt_as_nobody(int (*check)(int fd, uint64_t stream), uint64_t stream)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		int fd;

		if (setgroups(0, NULL) || setgid(KVT_NOBODY) || setuid(KVT_NOBODY))
			_exit(101);
		fd = kvt_open();
		_exit(fd < 0 ? 102 : check(fd, stream));
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 103;
}
