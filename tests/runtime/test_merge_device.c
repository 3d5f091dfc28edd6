// SPDX-License-Identifier: MIT
/*
 * kvs_merge() of what a device gives: gated outputs over two parts of a context, each a stream of its own,
 * against split attention over both together. The merged certificate must hold.
 */
#include <math.h>
#include <string.h>

#include "rig.h"
#include "tap.h"

#define D 32u
#define HEADS 3u /* query heads of the one KV head */
#define CASES 60u
#define EPSILON 0x3dcccccdu /* 0.1 */
#define V (1u << 20)
#define Q (2u << 20)
#define PART 4096u /* distance of the parts' outputs and stats */

static struct rig rig;

static float value(uint32_t pattern)
{
	float f;

	memcpy(&f, &pattern, sizeof(f));
	return f;
}

static struct kvs_stream *part(float scale, uint32_t first, uint32_t count)
{
	struct drm_kvsink_layer layer = {0};
	struct kvs_geometry geometry = {.size = sizeof(geometry),
					.layers = 1,
					.q_heads = HEADS,
					.kv_heads = 1,
					.d_k = D,
					.d_v = D,
					.format = KVSINK_FORMAT_F32,
					.max_tokens = 512,
					.layer = &layer};
	struct kvs_stream *stream;
	uint64_t at = 4ull * first * D;

	memcpy(&layer.scale, &scale, sizeof(scale));
	rig_must(&rig, "stream", kvs_stream_create(rig.device, &geometry, &stream));
	rig_must(&rig, "append",
		 kvs_batch_append(rig.batch, stream, 0, 0, count, rig_at(&rig, at), rig_at(&rig, V + at)));
	rig_must(&rig, "step", kvs_batch_step_end(rig.batch, stream, count));
	rig_must(&rig, "append", rig_run(&rig, NULL));
	return stream;
}

static void gate(struct kvs_stream *stream, uint32_t criterion, uint32_t buffer)
{
	uint64_t id = kvs_stream_id(stream);

	rig_must(&rig, "gate",
		 kvs_config_set(rig.device, id, KVSINK_GROUP_ALL, KVSINK_PARAM_GATE, criterion));
	rig_must(&rig, "gate",
		 kvs_config_set(rig.device, id, KVSINK_GROUP_ALL, KVSINK_PARAM_EPSILON, EPSILON));
	rig_must(&rig, "gate",
		 kvs_config_set(rig.device, id, KVSINK_GROUP_ALL, KVSINK_PARAM_GATE_BUFFER, buffer));
}

static void attend(struct kvs_stream *stream, uint32_t mode, uint32_t tokens, uint32_t index)
{
	struct drm_kvsink_attend_item item = {kvs_stream_id(stream), 0, tokens - 1, 1, 0};

	rig_must(&rig, "attend",
		 kvs_batch_attend(rig.batch, &item, 1, mode, rig_at(&rig, Q),
				  rig_at(&rig, RIG_OUT + index * PART),
				  rig_at(&rig, RIG_STATS + index * PART), (struct kvs_place){0}));
	rig_must(&rig, "attend", rig_run(&rig, NULL));
}

static float *out(uint32_t index, uint32_t head)
{
	return (float *)(rig.memory + RIG_OUT + index * PART) + head * D;
}

static struct drm_kvsink_attend_stat *stat(uint32_t index, uint32_t head)
{
	return (struct drm_kvsink_attend_stat *)(rig.memory + RIG_STATS + index * PART) + head;
}

struct sums {
	uint32_t beyond, wrong_lse, gated;
	double worst;
};

static void look(struct sums *s)
{
	for (uint32_t head = 0; head < HEADS; head++) {
		double error = 0, bound;

		s->gated += value(stat(0, head)->skipped) > 0 && value(stat(1, head)->skipped) > 0;
		kvs_merge(out(0, head), stat(0, head), out(1, head), stat(1, head), D);
		for (uint32_t e = 0; e < D; e++)
			error += pow((double)out(0, head)[e] - out(2, head)[e], 2);
		error = sqrt(error);
		bound = value(stat(0, head)->bound);
		/* the rounding of both modes comes on top: 8e-6 sum a |v|, |v| below 6 */
		s->beyond += !(error <= bound + 2 * 8e-6 * 6);
		s->wrong_lse += !(fabs(value(stat(0, head)->lse) - value(stat(2, head)->lse)) < 1e-5);
		if (bound > 1e-3 && error / bound > s->worst)
			s->worst = error / bound;
	}
}

static void merges(uint32_t criterion, const char *name)
{
	struct sums s = {0};

	for (uint32_t i = 0; i < CASES; i++) {
		uint32_t a = 20 + rig_random(&rig) % 200, b = 20 + rig_random(&rig) % 200;
		float scale = 0.1f + (float)(rig_random(&rig) % 1000) * 0.0004f;
		struct kvs_stream *stream[3];

		rig_fill(&rig, 0, (a + b) * D, 1.7f);
		rig_fill(&rig, V, (a + b) * D, 1);
		rig_fill(&rig, Q, HEADS * D, 1.7f);
		stream[0] = part(scale, 0, a);
		stream[1] = part(scale, a, b);
		stream[2] = part(scale, 0, a + b);
		gate(stream[0], criterion, i % 2);
		gate(stream[1], criterion, i % 2);
		attend(stream[0], DRM_KVSINK_ATTEND_GATED, a, 0);
		attend(stream[1], DRM_KVSINK_ATTEND_GATED, b, 1);
		attend(stream[2], DRM_KVSINK_ATTEND_SPLIT, a + b, 2);
		look(&s);
		for (uint32_t part = 0; part < 3; part++)
			kvs_stream_free(stream[part]);
	}
	tap_ok(!s.beyond && !s.wrong_lse && s.gated > CASES / 2,
	       "%s: certificates of %u merged outputs hold (%u with rows unread in both parts)", name,
	       CASES * HEADS, s.gated);
	tap_diag("worst error / bound %.3f", s.worst);
}

int main(void)
{
	rig_open(&rig, "sim:");
	merges(KVSINK_GATE_MASS, "MASS");
	merges(KVSINK_GATE_ABS, "ABS");
	merges(KVSINK_GATE_REL, "REL");
	rig_close(&rig);
	return tap_done();
}
