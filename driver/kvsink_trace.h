/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints: the life of a job as the driver sees it. Waiting in the scheduler is traced by gpu_scheduler.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvsink

/* The macros have a layout of their own. */
/* clang-format off */

#if !defined(KVSINK_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define KVSINK_TRACE_H

#include <linux/tracepoint.h>

#include "kvsink_job.h"

TRACE_EVENT(kvsink_submit,
	TP_PROTO(struct kvsink_job *job, u32 cmds),
	TP_ARGS(job, cmds),
	TP_STRUCT__entry(
		__string(dev, dev_name(job->kdev->base.dev))
		__field(u64, client)
		__field(u64, fence)
		__field(u32, cmds)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->client = job->file ? job->file->client_id : 0;
		__entry->fence = job->finished->seqno;
		__entry->cmds = cmds;
	),
	TP_printk("%s client=%llu fence=%llu cmds=%u", __get_str(dev), __entry->client, __entry->fence,
		  __entry->cmds)
);

DECLARE_EVENT_CLASS(kvsink_job,
	TP_PROTO(struct kvsink_job *job, u32 ring, int error),
	TP_ARGS(job, ring, error),
	TP_STRUCT__entry(
		__string(dev, dev_name(job->kdev->base.dev))
		__field(u64, client)
		__field(u64, seqno)
		__field(u32, ring)
		__field(int, error)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->client = job->file ? job->file->client_id : 0;
		__entry->seqno = job->desc.seqno;
		__entry->ring = ring;
		__entry->error = error;
	),
	TP_printk("%s client=%llu ring=%u seqno=%llu error=%d", __get_str(dev), __entry->client,
		  __entry->ring, __entry->seqno, __entry->error)
);

DEFINE_EVENT(kvsink_job, kvsink_done,
	TP_PROTO(struct kvsink_job *job, u32 ring, int error),
	TP_ARGS(job, ring, error)
);

TRACE_EVENT(kvsink_run,
	TP_PROTO(struct kvsink_job *job, u32 ring),
	TP_ARGS(job, ring),
	TP_STRUCT__entry(
		__string(dev, dev_name(job->kdev->base.dev))
		__field(u64, client)
		__field(u64, fence)
		__field(u32, ring)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->client = job->file ? job->file->client_id : 0;
		__entry->fence = job->finished->seqno;
		__entry->ring = ring;
	),
	TP_printk("%s client=%llu fence=%llu ring=%u", __get_str(dev), __entry->client, __entry->fence,
		  __entry->ring)
);

TRACE_EVENT(kvsink_timeout,
	TP_PROTO(struct kvsink_job *job, u32 ring),
	TP_ARGS(job, ring),
	TP_STRUCT__entry(
		__string(dev, dev_name(job->kdev->base.dev))
		__field(u64, client)
		__field(u64, seqno)
		__field(u32, ring)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->client = job->file ? job->file->client_id : 0;
		__entry->seqno = job->desc.seqno;
		__entry->ring = ring;
	),
	TP_printk("%s client=%llu ring=%u seqno=%llu", __get_str(dev), __entry->client, __entry->ring,
		  __entry->seqno)
);

TRACE_EVENT(kvsink_reset,
	TP_PROTO(struct kvsink_device *kdev, u32 generation, int error),
	TP_ARGS(kdev, generation, error),
	TP_STRUCT__entry(
		__string(dev, dev_name(kdev->base.dev))
		__field(u32, generation)
		__field(int, error)
	),
	TP_fast_assign(
		__assign_str(dev);
		__entry->generation = generation;
		__entry->error = error;
	),
	TP_printk("%s generation=%u error=%d", __get_str(dev), __entry->generation, __entry->error)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE kvsink_trace
#include <trace/define_trace.h>
