// SPDX-License-Identifier: MIT
/* See model.h. */
#include <stdlib.h>
#include <string.h>

#include "model.h"

#define MASS_AT (7u << 20)

void model_open(struct model *model, const char *device)
{
	struct kvs_geometry geometry = {
		.size = sizeof(geometry),
		.layers = MODEL_LAYERS,
		.q_heads = MODEL_HEADS,
		.kv_heads = MODEL_HEADS,
		.d_k = MODEL_D_K,
		.d_v = MODEL_D_V,
		.format = KVSINK_FORMAT_F32,
		.max_tokens = MODEL_TOKENS,
		.score_groups = MODEL_GROUPS,
		.group_end = {2, 4},
		.scale = 1,
	};

	memset(model, 0, sizeof(*model));
	rig_open(&model->rig, device);
	rig_must(&model->rig, "stream", kvs_stream_create(model->rig.device, &geometry, &model->stream));
	model->id = kvs_stream_id(model->stream);
	/* far below the default, so that short runs have sinks */
	rig_must(
		&model->rig, "config",
		kvs_config_set(model->rig.device, model->id, KVSINK_GROUP_ALL, KVSINK_PARAM_LOCAL_WINDOW, 4));
}

void model_close(struct model *model)
{
	kvs_policy_close(model->policy);
	kvs_stream_free(model->stream);
	rig_close(&model->rig);
}

void model_policy(struct model *model, const char *name, const struct kvs_policy_options *options)
{
	kvs_policy_close(model->policy);
	rig_must(&model->rig, name,
		 kvs_policy_open(model->rig.device, model->id, name, options, &model->policy));
}

static float draw(struct model *model)
{
	return (float)((double)(rig_random(&model->rig) >> 40) / (1 << 24) * model->random_heat);
}

/* Rows of tokens [model->length, + count) of a layer at `offset`: K, then V. */
static void fill_rows(struct model *model, uint32_t layer, uint32_t count, uint64_t offset)
{
	float *k = (float *)(model->rig.memory + offset);

	for (uint32_t i = 0; i < count; i++)
		for (uint32_t h = 0; h < MODEL_HEADS; h++)
			for (unsigned topic = 0; topic < 2; topic++)
				*k++ = model->heat[topic][layer][model->length + i] + draw(model);
	rig_fill(&model->rig, offset + 4ull * count * MODEL_HEADS * MODEL_D_K,
		 count * MODEL_HEADS * MODEL_D_V, 1);
}

static void append(struct model *model, uint32_t count)
{
	uint64_t k_bytes = 4ull * count * MODEL_HEADS * MODEL_D_K,
		 v_bytes = 4ull * count * MODEL_HEADS * MODEL_D_V;

	for (uint32_t l = 0; l < MODEL_LAYERS; l++) {
		uint64_t at = l * (k_bytes + v_bytes);

		fill_rows(model, l, count, at);
		rig_must(&model->rig, "append",
			 kvs_batch_append(model->rig.batch, model->stream, l, model->length, count,
					  rig_at(&model->rig, at), rig_at(&model->rig, at + k_bytes)));
	}
	rig_must(&model->rig, "append", rig_run(&model->rig, NULL));
}

static void fill_queries(struct model *model, uint32_t count)
{
	float *q = (float *)model->rig.memory;

	for (uint32_t i = 0; i < count * MODEL_HEADS; i++, q += MODEL_D_K) {
		q[0] = model->topic == 0;
		q[1] = model->topic == 1;
	}
}

static void end_step(struct model *model, uint32_t count)
{
	rig_must(&model->rig, "step", kvs_batch_step_end(model->rig.batch, model->stream, count));
	rig_must(&model->rig, "step", rig_run(&model->rig, NULL));
	model->length += count;
}

static void barrier(struct model *model)
{
	rig_must(&model->rig, "barrier", kvs_batch_barrier(model->rig.batch, model->stream));
	rig_must(&model->rig, "barrier", rig_run(&model->rig, NULL));
}

void model_prefill(struct model *model, uint32_t tokens)
{
	append(model, tokens);
	end_step(model, tokens);
	fill_queries(model, tokens);
	for (uint32_t l = 0; l < MODEL_LAYERS; l++)
		rig_must(&model->rig, "score",
			 kvs_batch_score(model->rig.batch, model->stream, l, 0, tokens,
					 rig_at(&model->rig, 0), rig_at(&model->rig, RIG_OUT)));
	rig_must(&model->rig, "score", rig_run(&model->rig, NULL));
	if (model->policy)
		rig_must(&model->rig, "prefilled", kvs_policy_prefilled(model->policy));
	barrier(model);
}

static void attend(struct model *model, uint32_t layer)
{
	const struct drm_kvsink_attend_item item = {
		.stream = model->id, .layer = layer, .first = model->length, .count = 1};
	bool mass = model->policy && kvs_policy_wants_mass(model->policy);
	struct kvs_place none = {0};

	rig_must(&model->rig, "attend",
		 kvs_batch_attend(model->rig.batch, &item, 1, DRM_KVSINK_ATTEND_SPLIT, rig_at(&model->rig, 0),
				  rig_at(&model->rig, RIG_OUT), none,
				  mass ? rig_at(&model->rig, MASS_AT) : none));
	rig_must(&model->rig, "attend", rig_run(&model->rig, NULL));
	memcpy(model->out[layer], model->rig.memory + RIG_OUT, sizeof(model->out[layer]));
	if (model->policy)
		rig_must(&model->rig, "layer",
			 kvs_policy_layer(model->policy, layer, model->length + 1,
					  mass ? (const float *)(model->rig.memory + MASS_AT) : NULL));
}

void model_step(struct model *model)
{
	append(model, 1);
	fill_queries(model, 1);
	for (uint32_t l = 0; l < MODEL_LAYERS; l++)
		attend(model, l);
	end_step(model, 1);
	if (model->policy)
		rig_must(&model->rig, "policy step", kvs_policy_step(model->policy));
	barrier(model);
}

uint64_t model_counter(struct model *model, enum kvsink_counter counter)
{
	uint64_t counters[KVSINK_COUNTER_COUNT];

	rig_must(&model->rig, "counters", kvs_counters(model->rig.device, model->id, counters));
	return counters[counter];
}

/* Records of QUERY TAGS, to be freed. */
static struct kvsink_tag_rec *tags(struct model *model, int *count)
{
	struct kvsink_tag_rec *list;
	size_t bytes;

	*count = kvs_query(model->rig.device, DRM_KVSINK_QUERY_TAGS, model->id, 0, (void **)&list, &bytes);
	rig_must(&model->rig, "tags", *count);
	if (*count && bytes != sizeof(*list))
		rig_must(&model->rig, "tags", -1);
	return list;
}

uint32_t model_residents(struct model *model, uint32_t layer, bool *resident)
{
	uint32_t found = 0;
	int count;
	struct kvsink_tag_rec *list = tags(model, &count);

	memset(resident, 0, MODEL_TOKENS * sizeof(*resident));
	for (int i = 0; i < count; i++) {
		const struct kvsink_tag_rec *tag = &list[i];

		if ((tag->flags & KVSINK_TAG_TAIL) || layer < tag->layer_begin || layer >= tag->layer_end)
			continue;
		found += !resident[tag->token];
		resident[tag->token] = true;
	}
	free(list);
	return found;
}

bool model_holds(struct model *model, uint32_t begin, uint32_t end)
{
	bool resident[MODEL_TOKENS], exactly = true;

	for (uint32_t l = 0; l < MODEL_LAYERS; l++) {
		model_residents(model, l, resident);
		for (uint32_t t = 0; t < MODEL_TOKENS; t++)
			exactly &= resident[t] == (t >= begin && t < end);
	}
	return exactly;
}

uint32_t model_tail(struct model *model)
{
	uint32_t tails = 0, tokens = 0;
	int count;
	struct kvsink_tag_rec *list = tags(model, &count);

	for (int i = 0; i < count; i++) {
		if (!(list[i].flags & KVSINK_TAG_TAIL))
			continue;
		if (tails++ && list[i].tokens != tokens)
			tokens = UINT32_MAX;
		else
			tokens = list[i].tokens;
	}
	free(list);
	return tails && tails != MODEL_GROUPS ? UINT32_MAX : tokens;
}

uint32_t model_sram(struct model *model)
{
	struct kvsink_stream_rec *rec;
	uint32_t bytes;
	size_t size;

	rig_must(&model->rig, "streams",
		 kvs_query(model->rig.device, DRM_KVSINK_QUERY_STREAMS, model->id, 0, (void **)&rec, &size));
	bytes = rec->sram_bytes;
	free(rec);
	return bytes;
}
