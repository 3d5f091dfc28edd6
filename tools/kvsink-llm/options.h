/* SPDX-License-Identifier: MIT */
/* What the command line says, checked for form; each command checks that it has what it needs. */
#ifndef KVSINK_LLM_OPTIONS_H
#define KVSINK_LLM_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct options {
	const char *model;    /* GGUF file */
	const char *prompt;   /* text file */
	const char *state;    /* state file */
	const char *device;   /* name for kvs_open() */
	const char *logits;   /* file of logits to write */
	const char *trace;    /* file of decode's Q, K, V to write */
	const char *json;     /* file for the result; NULL: standard output */
	const char *groups;   /* score groups; NULL: all layers in one */
	const char *mode;     /* score mode */
	const char *attend;   /* attention mode; with drafts canonical unless given, else split */
	const char *gate;     /* criterion of gated attention */
	const char *format;   /* of stored rows */
	const char *seal_k;   /* of sealed K rows; NULL: as they were appended */
	const char *seal_v;   /* of sealed V rows */
	const char *policy;   /* placement policy; NULL: nothing in SRAM */
	const char *against;  /* file of logits to compare with */
	const char *requests; /* trace of requests */
	uint32_t tokens;      /* 0: the command's default */
	uint32_t local_window;
	uint32_t protect; /* tokens at the beginning that are not quantised */
	uint32_t chunk;	  /* tokens of one evaluation; 0: one */
	uint32_t draft;	  /* tokens of a draft at most; 0: no drafts */
	uint32_t sram;	  /* bytes that the policy may use; 0: all */
	/* of serve */
	uint32_t count;			 /* requests of the trace */
	uint32_t parallel;		 /* requests at once */
	uint32_t scale;			 /* divides prompts and blocks */
	uint32_t scale_output;		 /* divides outputs */
	uint32_t max_prompt, max_output; /* tokens */
	uint32_t step_ms;		 /* of the trace's time that a step takes */
	uint32_t dwell;			 /* steps of contracts; 0: none */
	uint32_t compute;		 /* modelled ns between two layers */
	uint32_t every;			 /* steps between two samples */
	uint32_t prefixes;		 /* at once; 0: nothing is shared */
	float t_sink, epsilon;
	int threads; /* 0: the command's default */
	bool hold, one_pass, check, apart;
	const char *files[3]; /* arguments without an option */
	int file_count;
};

int command_prefill(const struct options *options);
int command_decode(const struct options *options);
int command_stock(const struct options *options);
int command_compare(const struct options *options);
int command_convert(const struct options *options);
int command_probe(const struct options *options);
int command_quality(const struct options *options);
int command_drafts(const struct options *options);
int command_report(const struct options *options);
int command_serve(const struct options *options);

#endif
